//! Bytes over TLS and nothing else: no HTTP/2, no messages.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// As much as one call of rustls gives.
const READ_BUFFER: usize = 64 << 10;
const CERTIFICATE: &str = "certificate.pem";
const KEY: &str = "key.pem";
const PAYLOAD: &str = "payload";
const PORT: &str = "port";

/// What a server needs, in a folder of its own.
pub(crate) fn prepare(folder: &Path, payload: &Path) -> Result<()> {
    std::fs::create_dir(folder)?;
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    std::fs::write(folder.join(CERTIFICATE), made.cert.pem())?;
    std::fs::write(folder.join(KEY), made.signing_key.serialize_pem())?;
    std::fs::copy(payload, folder.join(PAYLOAD)).context("could not copy the payload")?;
    Ok(())
}

/// Where the server listens, once it does.
pub(crate) fn port(folder: &Path) -> Option<u16> {
    std::fs::read_to_string(folder.join(PORT)).ok()?.parse().ok()
}

/// Sends the whole payload for each byte that comes.
pub(crate) fn serve(folder: &Path) -> Result<()> {
    let payload = std::fs::read(folder.join(PAYLOAD))?;
    let key = PrivateKeyDer::from_pem_file(folder.join(KEY))?;
    let config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .with_no_client_auth()
        .with_single_cert(vec![certificate(folder)?], key)?;
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port().to_string();
        std::fs::write(folder.join("port.new"), port)?;
        std::fs::rename(folder.join("port.new"), folder.join(PORT))?;
        loop {
            let (tcp, _) = listener.accept().await?;
            tcp.set_nodelay(true)?;
            let mut stream = acceptor.accept(tcp).await?;
            // An error means that the client has gone.
            while stream.read_u8().await.is_ok() {
                stream.write_all(&payload).await?;
                stream.flush().await?;
            }
        }
    })
}

pub(crate) async fn connect(folder: &Path, port: u16) -> Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate(folder)?)?;
    let config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let tcp = TcpStream::connect(("127.0.0.1", port)).await?;
    tcp.set_nodelay(true)?;
    let name = ServerName::try_from("localhost")?;
    Ok(TlsConnector::from(Arc::new(config)).connect(name, tcp).await?)
}

/// Asks for the payload and reads it to its end.
pub(crate) async fn fetch(stream: &mut TlsStream<TcpStream>, size: u64) -> Result<()> {
    stream.write_u8(1).await?;
    stream.flush().await?;
    let mut buffer = vec![0; READ_BUFFER];
    let mut left = size;
    while left > 0 {
        let read = stream.read(&mut buffer).await?;
        anyhow::ensure!(read > 0, "the server closed the connection");
        left = left.saturating_sub(read as u64);
    }
    Ok(())
}

fn certificate(folder: &Path) -> Result<CertificateDer<'static>> {
    Ok(CertificateDer::from_pem_file(folder.join(CERTIFICATE))?)
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}
