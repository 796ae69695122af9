//! Asks a program on this machine whether it is ready: for health checks where there is neither a shell nor curl.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

/// For connecting, and again for the answer: the other side is on this machine and looks at memory alone.
const TIMEOUT: Duration = Duration::from_secs(3);
/// A status line, some headers and one sentence.
const MAX_ANSWER: u64 = 4 * 1024;

#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    #[error("nothing answers at {address}")]
    Silent {
        address: SocketAddr,
        #[source]
        source: io::Error,
    },
    /// In the program's own words.
    #[error("{0}")]
    NotReady(String),
}

/// Completes when `/readyz` at `address` says so. An address that stands for all addresses is asked on loopback. Blocks.
///
/// # Errors
/// What is missing, or that nobody answers.
pub fn ready(address: SocketAddr) -> Result<(), ProbeError> {
    let address = SocketAddr::new(reachable(address.ip()), address.port());
    let answer = ask(address).map_err(|source| ProbeError::Silent { address, source })?;
    let text = String::from_utf8_lossy(&answer);
    if text.split_whitespace().nth(1) == Some("200") {
        return Ok(());
    }
    let said = text.split("\r\n\r\n").nth(1).unwrap_or_default().trim();
    let unknown = || format!("what listens at {address} does not answer as a program of Littoral does");
    Err(ProbeError::NotReady(if said.is_empty() { unknown() } else { said.to_owned() }))
}

fn reachable(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    }
}

fn ask(address: SocketAddr) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    write!(stream, "GET /readyz HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER).read_to_end(&mut answer)?;
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::admin_http::AdminHttp;
    use crate::tasks::Tasks;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_program_is_ready_when_it_says_so() {
        let listener = tokio::net::TcpListener::bind("0.0.0.0:0").await.unwrap();
        let (address, tasks, up) =
            (listener.local_addr().unwrap(), Tasks::new(), Arc::new(AtomicBool::new(false)));
        let seen = Arc::clone(&up);
        let http = AdminHttp::new(String::new, move || {
            if seen.load(Ordering::Relaxed) { Ok(()) } else { Err("the worker is starting".to_owned()) }
        });
        tasks.spawn("http", http.serve(listener, tasks.clone()));
        let probe = move || tokio::task::spawn_blocking(move || ready(address));
        let said = probe().await.unwrap().unwrap_err().to_string();
        assert_eq!(said, "not ready: the worker is starting");
        up.store(true, Ordering::Relaxed);
        probe().await.unwrap().unwrap();
        tasks.shutdown(TIMEOUT).await.unwrap();
        assert!(matches!(probe().await.unwrap(), Err(ProbeError::Silent { .. })));
    }
}
