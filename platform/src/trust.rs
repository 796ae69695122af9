//! The CA certificates that are believed.

use std::sync::Arc;

use littoral_model::time::Timestamp;
use rustls::RootCertStore;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;

use crate::identity::{IdentityError, PeerIdentity};
use crate::pem;
use crate::pin::{BadPin, CaPin};
use crate::tls;

/// Old, new, and room for a rotation that was begun twice.
const MAX_CAS: usize = 8;

#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    #[error("the trust bundle has no CA certificate")]
    Empty,
    #[error("the trust bundle has more than {MAX_CAS} CA certificates")]
    TooMany,
    #[error("the trust bundle's PEM text cannot be read")]
    Pem(#[source] rustls::pki_types::pem::Error),
    #[error("a certificate of the trust bundle cannot serve as a CA")]
    Certificate(#[source] rustls::Error),
    #[error(transparent)]
    Pin(#[from] BadPin),
    #[error("the certificate was not issued by a trusted CA, or not for a client")]
    NotIssued(#[source] rustls::Error),
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error("no verifier can be built from the trust bundle")]
    Verifier(#[source] rustls::server::VerifierBuilderError),
}

/// One to eight CA certificates; more than one while CAs rotate (both trusted, then the new one alone).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustBundle {
    cas: Vec<CertificateDer<'static>>,
}

impl TrustBundle {
    /// # Errors
    /// When the list is empty, too long, or holds a certificate that cannot be read. Repetitions count once.
    pub fn new(certificates: impl IntoIterator<Item = CertificateDer<'static>>) -> Result<Self, TrustError> {
        let mut cas: Vec<CertificateDer<'static>> = Vec::new();
        for certificate in certificates {
            if cas.contains(&certificate) {
                continue;
            }
            if cas.len() == MAX_CAS {
                return Err(TrustError::TooMany);
            }
            cas.push(certificate);
        }
        if cas.is_empty() {
            return Err(TrustError::Empty);
        }
        let bundle = Self { cas };
        bundle.roots()?;
        Ok(bundle)
    }

    /// # Errors
    /// As [`TrustBundle::new`], and when the text is not PEM.
    pub fn from_pem(text: &[u8]) -> Result<Self, TrustError> {
        let certificates: Result<Vec<_>, _> =
            CertificateDer::pem_slice_iter(text).take(MAX_CAS + 1).collect();
        Self::new(certificates.map_err(TrustError::Pem)?)
    }

    pub fn to_pem(&self) -> String {
        self.cas.iter().map(|ca| pem::encode("CERTIFICATE", ca).to_string()).collect()
    }

    pub fn certificates(&self) -> &[CertificateDer<'static>] {
        &self.cas
    }

    /// # Errors
    /// When a certificate cannot be read.
    pub fn pins(&self) -> Result<Vec<CaPin>, TrustError> {
        self.cas.iter().map(|ca| CaPin::of_certificate(ca).map_err(TrustError::from)).collect()
    }

    /// Verifies that a trusted CA issued this certificate to a client and that it was valid at `at`, and reads it.
    ///
    /// For renewals, where `at` may lie before the present: the certificate's own last moment.
    ///
    /// # Errors
    /// `NotIssued` with the reason, or `Identity` when it does not name one identity.
    pub fn verify_client_at(
        &self,
        certificate: &CertificateDer<'_>,
        at: Timestamp,
    ) -> Result<PeerIdentity, TrustError> {
        let time = UnixTime::since_unix_epoch(std::time::Duration::from_millis(at.as_millis()));
        self.client_verifier()?.verify_client_cert(certificate, &[], time).map_err(TrustError::NotIssued)?;
        Ok(PeerIdentity::of_certificate(certificate)?)
    }

    /// Client certificates are optional at the handshake: methods that need one refuse without. One that is
    /// presented must be good.
    pub(crate) fn client_verifier(&self) -> Result<Arc<dyn ClientCertVerifier>, TrustError> {
        WebPkiClientVerifier::builder_with_provider(Arc::new(self.roots()?), tls::provider())
            .allow_unauthenticated()
            .build()
            .map_err(TrustError::Verifier)
    }

    pub(crate) fn server_verifier(&self) -> Result<Arc<dyn ServerCertVerifier>, TrustError> {
        let builder = rustls::client::WebPkiServerVerifier::builder_with_provider(
            Arc::new(self.roots()?),
            tls::provider(),
        );
        Ok(builder.build().map_err(TrustError::Verifier)?)
    }

    fn roots(&self) -> Result<RootCertStore, TrustError> {
        let mut roots = RootCertStore::empty();
        for ca in &self.cas {
            roots.add(ca.clone()).map_err(TrustError::Certificate)?;
        }
        Ok(roots)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TestCa;

    #[test]
    fn a_bundle_survives_pem_and_drops_repetitions() {
        let (one, other) = (TestCa::new("edge").certificate(), TestCa::new("edge").certificate());
        let bundle = TrustBundle::new([one.clone(), other.clone(), one.clone()]).unwrap();
        assert_eq!(bundle.certificates(), [one, other]);
        assert_eq!(TrustBundle::from_pem(bundle.to_pem().as_bytes()).unwrap(), bundle);
        assert_eq!(bundle.pins().unwrap().len(), 2);
    }

    #[test]
    fn nothing_is_not_a_bundle_and_neither_is_a_flood() {
        assert!(matches!(TrustBundle::from_pem(b""), Err(TrustError::Empty)));
        let many = std::iter::repeat_with(|| TestCa::new("edge").certificate()).take(MAX_CAS + 1);
        assert!(matches!(TrustBundle::new(many), Err(TrustError::TooMany)));
        let garbage = CertificateDer::from(vec![1, 2, 3]);
        assert!(matches!(TrustBundle::new([garbage]), Err(TrustError::Certificate(_))));
    }
}
