//! TLS 1.3 with one provider (ring), for servers and clients whose certificates are renewed while they run.
//!
//! Sessions are never resumed: a resumed session carries the client certificate of the first handshake past its
//! expiry and past a renewal. A full handshake costs a fraction of a millisecond and connections live for hours.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rustls::client::danger::ServerCertVerifier;
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::UnixTime;
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::time_provider::TimeProvider;
use rustls::version::TLS13;
use rustls::{ClientConfig, ServerConfig, SignatureScheme};

use crate::clock::{self, PersistedClock};
use crate::identity::Identity;
use crate::pin::CaPin;
use crate::trust::{TrustBundle, TrustError};

mod pinned;

/// gRPC speaks HTTP/2 and nothing else.
const ALPN: &[u8] = b"h2";

#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error(transparent)]
    Trust(#[from] TrustError),
    #[error("the TLS settings were refused")]
    Settings(#[source] rustls::Error),
    #[error("the identity's key cannot be used")]
    Key(#[source] rustls::Error),
}

/// The only source of cryptography for TLS; passed to every configuration, never installed as a global.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// The identity that a program presents. Clones share it: a renewed identity, once set, is used by every new
/// connection, while running ones go on with the old.
#[derive(Clone)]
pub struct IdentityHandle {
    current: Arc<RwLock<Arc<CertifiedKey>>>,
}

impl IdentityHandle {
    /// # Errors
    /// When the key cannot be used for signing.
    pub fn new(identity: &Identity) -> Result<Self, TlsError> {
        let key = identity.certified_key().map_err(TlsError::Key)?;
        Ok(Self { current: Arc::new(RwLock::new(Arc::new(key))) })
    }

    /// Presents `identity` from the next connection on.
    ///
    /// # Errors
    /// When its key cannot be used; the old identity then stays.
    pub fn set(&self, identity: &Identity) -> Result<(), TlsError> {
        let key = Arc::new(identity.certified_key().map_err(TlsError::Key)?);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = key;
        Ok(())
    }

    fn current(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl fmt::Debug for IdentityHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IdentityHandle").finish_non_exhaustive()
    }
}

impl ResolvesServerCert for IdentityHandle {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current())
    }
}

impl ResolvesClientCert for IdentityHandle {
    // The server's hints are ignored: a certificate that it does not know is refused with an alert that says so,
    // which helps more than "no certificate".
    fn resolve(&self, _hints: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.current())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// What a listener needs. A client certificate is optional at the handshake, and refused there when it is
/// expired or of an unknown CA. Clones share everything.
#[derive(Clone, Debug)]
pub struct ServerTls {
    identity: IdentityHandle,
    config: Arc<RwLock<Arc<ServerConfig>>>,
}

impl ServerTls {
    /// The chain of `identity` holds the leaf and its CA, so that a joining node can check the CA's pin.
    ///
    /// # Errors
    /// When the trust bundle cannot be used.
    pub fn new(identity: IdentityHandle, trust: &TrustBundle) -> Result<Self, TlsError> {
        let config = server_config(&identity, trust)?;
        Ok(Self { identity, config: Arc::new(RwLock::new(config)) })
    }

    /// Believes the CAs of `trust`, and no others, from the next connection on.
    ///
    /// # Errors
    /// When the trust bundle cannot be used; the old one then stays.
    pub fn set_trust(&self, trust: &TrustBundle) -> Result<(), TlsError> {
        let config = server_config(&self.identity, trust)?;
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = config;
        Ok(())
    }

    pub fn identity(&self) -> &IdentityHandle {
        &self.identity
    }

    pub(crate) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config.read().unwrap_or_else(PoisonError::into_inner))
    }
}

fn server_config(identity: &IdentityHandle, trust: &TrustBundle) -> Result<Arc<ServerConfig>, TlsError> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .map_err(TlsError::Settings)?
        .with_client_cert_verifier(trust.client_verifier()?)
        .with_cert_resolver(Arc::new(identity.clone()));
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.time_provider = Arc::new(MachineTime);
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

/// What a client needs to connect. Clones share everything.
#[derive(Clone, Debug)]
pub struct ClientTls {
    config: Arc<ClientConfig>,
}

impl ClientTls {
    /// Believes servers of the bundle's CAs that answer to the name they were called by, and presents `identity`
    /// if there is one.
    ///
    /// # Errors
    /// When the trust bundle cannot be used.
    pub fn new(trust: &TrustBundle, identity: Option<IdentityHandle>) -> Result<Self, TlsError> {
        Self::build(trust.server_verifier()?, identity)
    }

    /// For joining: believes only a server whose chain holds the CA with this pin and whose own certificate that
    /// CA issued for the name it was called by. Nothing of the application is sent before.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn pinned(pin: CaPin) -> Result<Self, TlsError> {
        Self::build(Arc::new(pinned::PinnedVerifier::new(pin, provider())), None)
    }

    /// Judges certificates by this clock, for machines that lose the time with their power.
    #[must_use]
    pub fn with_clock(self, clock: PersistedClock) -> Self {
        let mut config = Arc::unwrap_or_clone(self.config);
        config.time_provider = Arc::new(clock);
        Self { config: Arc::new(config) }
    }

    fn build(
        verifier: Arc<dyn ServerCertVerifier>,
        identity: Option<IdentityHandle>,
    ) -> Result<Self, TlsError> {
        let builder = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])
            .map_err(TlsError::Settings)?
            // "Dangerous" for the sake of the pin; the other verifier is rustls' own.
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let mut config = match identity {
            Some(identity) => builder.with_client_cert_resolver(Arc::new(identity)),
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.time_provider = Arc::new(MachineTime);
        config.resumption = Resumption::disabled();
        Ok(Self { config: Arc::new(config) })
    }

    pub(crate) fn config(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.config)
    }
}

#[derive(Debug)]
struct MachineTime;

impl TimeProvider for MachineTime {
    fn current_time(&self) -> Option<UnixTime> {
        Some(unix_time(clock::now().as_millis()))
    }
}

impl TimeProvider for PersistedClock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(unix_time(self.now().as_millis()))
    }
}

fn unix_time(millis: u64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_millis(millis))
}

#[cfg(test)]
mod tests;
