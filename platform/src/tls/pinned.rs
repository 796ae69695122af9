//! Believing a server by the pin of its CA, before any other trust exists.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme};

use crate::pin::{CaPin, PinMismatch};

/// Makes the presented CA certificate with the right key the only trust anchor, and verifies the server against
/// it as usual.
#[derive(Debug)]
pub(super) struct PinnedVerifier {
    expected: CaPin,
    provider: Arc<CryptoProvider>,
}

impl PinnedVerifier {
    pub(super) fn new(expected: CaPin, provider: Arc<CryptoProvider>) -> Self {
        Self { expected, provider }
    }

    fn pinned_ca<'a>(&self, presented: &'a [CertificateDer<'a>]) -> Result<&'a CertificateDer<'a>, Error> {
        let mut seen = Vec::new();
        for certificate in presented {
            let Ok(pin) = CaPin::of_certificate(certificate) else { continue };
            if pin == self.expected {
                return Ok(certificate);
            }
            seen.push(pin);
        }
        let mismatch = PinMismatch { expected: self.expected, seen };
        Err(CertificateError::Other(OtherError(Arc::new(mismatch))).into())
    }
}

impl ServerCertVerifier for PinnedVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let ca = self.pinned_ca(intermediates)?;
        let mut roots = RootCertStore::empty();
        roots.add(ca.clone())?;
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&self.provider))
            .build()
            .map_err(|error| Error::General(error.to_string()))?
            .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.2 is not spoken here".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
