//! A program's own certificate and key, and what a peer's certificate says.

use std::fmt;
use std::path::Path;

use littoral_model::time::Timestamp;
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;
use sha2::{Digest, Sha256};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};
use zeroize::Zeroizing;

use crate::files::{self, FileError};
use crate::pem;
use crate::spiffe::{BadSpiffeId, SpiffeId};
use crate::tls;

/// A chain of a leaf and a few CA certificates with a key is about 3 KiB.
const MAX_PEM: usize = 64 * 1024;
/// A leaf, its CA, and one more while CAs rotate.
const MAX_CHAIN: usize = 4;

#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("the PEM text has no {0}")]
    Missing(&'static str),
    #[error("the PEM text has more than {MAX_CHAIN} certificates")]
    LongChain,
    #[error("the PEM text cannot be read")]
    Pem(#[source] rustls::pki_types::pem::Error),
    #[error("the certificate cannot be read")]
    Certificate,
    #[error(
        "the certificate and the private key do not belong together, or the key is of an unsupported kind"
    )]
    Key(#[source] rustls::Error),
    #[error("the certificate names {0} identities, and must name exactly one (a SPIFFE URI)")]
    NotOneName(usize),
    #[error(transparent)]
    Name(#[from] BadSpiffeId),
    #[error("could not make a key and a certificate request")]
    Generate(#[source] rcgen::Error),
}

/// A certificate chain (leaf first) and its private key, which is wiped on drop and never printed.
#[derive(Clone)]
pub struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key_pkcs8: Zeroizing<Vec<u8>>,
    peer: PeerIdentity,
}

impl Identity {
    /// # Errors
    /// When the key does not belong to the leaf or the leaf names no single identity.
    pub fn new(
        chain: Vec<CertificateDer<'static>>,
        key_pkcs8: Zeroizing<Vec<u8>>,
    ) -> Result<Self, IdentityError> {
        if chain.len() > MAX_CHAIN {
            return Err(IdentityError::LongChain);
        }
        let leaf = chain.first().ok_or(IdentityError::Missing("certificate"))?;
        let peer = PeerIdentity::of_certificate(leaf)?;
        let identity = Self { chain, key_pkcs8, peer };
        identity.certified_key().map_err(IdentityError::Key)?;
        Ok(identity)
    }

    /// Reads certificates (leaf first) and a PKCS#8 key from one PEM text, in any order of the two.
    ///
    /// # Errors
    /// When a part is missing or the parts do not fit.
    pub fn from_pem(text: &[u8]) -> Result<Self, IdentityError> {
        let key = PrivatePkcs8KeyDer::from_pem_slice(text).map_err(|error| match error {
            rustls::pki_types::pem::Error::NoItemsFound => IdentityError::Missing("PKCS#8 private key"),
            other => IdentityError::Pem(other),
        })?;
        Self::new(certificates(text)?, Zeroizing::new(key.secret_pkcs8_der().to_vec()))
    }

    /// Chain and key as one PEM text.
    pub fn to_pem(&self) -> Zeroizing<String> {
        let key = pem::encode("PRIVATE KEY", &self.key_pkcs8);
        let chain = self.chain_pem();
        let mut text = Zeroizing::new(String::with_capacity(chain.len() + key.len()));
        text.push_str(&chain);
        text.push_str(&key);
        text
    }

    /// The certificates alone, leaf first.
    pub fn chain_pem(&self) -> String {
        self.chain.iter().map(|certificate| pem::encode("CERTIFICATE", certificate).to_string()).collect()
    }

    /// # Errors
    /// When the file cannot be read or does not hold an identity.
    pub fn load(path: &Path) -> Result<Self, IdentityError> {
        Self::from_pem(&Zeroizing::new(files::read_capped(path, MAX_PEM)?))
    }

    /// Writes chain and key into one file (0600), so that a renewal replaces both or neither.
    ///
    /// # Errors
    /// When the file cannot be written; the old one is then untouched.
    pub fn save(&self, path: &Path) -> Result<(), FileError> {
        files::write_atomic(path, self.to_pem().as_bytes())
    }

    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    /// What the leaf says, as a peer will see it.
    pub fn leaf(&self) -> &PeerIdentity {
        &self.peer
    }

    /// Chain and key in the form that rustls signs with.
    pub(crate) fn certified_key(&self) -> Result<CertifiedKey, rustls::Error> {
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key_pkcs8.to_vec()));
        CertifiedKey::from_der(self.chain.clone(), key, &tls::provider())
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("leaf", &self.peer).finish_non_exhaustive()
    }
}

/// What a verified certificate says about its holder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerIdentity {
    pub spiffe: SpiffeId,
    /// Serial number in hexadecimal.
    pub serial: String,
    pub not_before: Timestamp,
    pub not_after: Timestamp,
    /// SHA-256 over the certificate (DER), in hexadecimal.
    pub fingerprint: String,
}

impl PeerIdentity {
    /// Reads a certificate; it verifies nothing.
    ///
    /// # Errors
    /// When it cannot be parsed, or does not hold exactly one URI name that is a SPIFFE id of ours.
    pub fn of_certificate(certificate: &CertificateDer<'_>) -> Result<Self, IdentityError> {
        let (_, parsed) = X509Certificate::from_der(certificate).map_err(|_| IdentityError::Certificate)?;
        let names = parsed.subject_alternative_name().map_err(|_| IdentityError::Certificate)?;
        let uris: Vec<&str> = names
            .iter()
            .flat_map(|extension| &extension.value.general_names)
            .filter_map(|name| if let GeneralName::URI(uri) = name { Some(*uri) } else { None })
            .collect();
        let [uri] = uris.as_slice() else { return Err(IdentityError::NotOneName(uris.len())) };
        let validity = parsed.validity();
        Ok(Self {
            spiffe: uri.parse()?,
            serial: hex::encode(parsed.raw_serial()),
            not_before: from_seconds(validity.not_before.timestamp()),
            not_after: from_seconds(validity.not_after.timestamp()),
            fingerprint: hex::encode(Sha256::digest(certificate)),
        })
    }
}

/// The identity of a connection's peer from the chain that the handshake has verified: `None` when the peer
/// presented no certificate.
///
/// # Errors
/// As [`PeerIdentity::of_certificate`].
pub fn peer_identity(verified_chain: &[CertificateDer<'_>]) -> Result<Option<PeerIdentity>, IdentityError> {
    verified_chain.first().map(PeerIdentity::of_certificate).transpose()
}

/// A fresh private key and a request for a certificate over it. The key never leaves the machine.
pub struct KeyAndCsr {
    key_pkcs8: Zeroizing<Vec<u8>>,
    csr_der: Vec<u8>,
}

impl KeyAndCsr {
    /// An ECDSA key on P-256. The request names nobody: who the certificate is for is the CA's decision.
    ///
    /// # Errors
    /// When the key cannot be generated.
    pub fn generate() -> Result<Self, IdentityError> {
        let key = KeyPair::generate().map_err(IdentityError::Generate)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        let csr = params.serialize_request(&key).map_err(IdentityError::Generate)?;
        Ok(Self { key_pkcs8: Zeroizing::new(key.serialize_der()), csr_der: csr.der().to_vec() })
    }

    /// PKCS#10 in DER, as sent.
    pub fn csr_der(&self) -> &[u8] {
        &self.csr_der
    }

    pub fn csr_pem(&self) -> String {
        pem::encode("CERTIFICATE REQUEST", &self.csr_der).to_string()
    }

    /// Joins the key with the chain that the CA answered with.
    ///
    /// # Errors
    /// When the chain is not for this key or names no single identity.
    pub fn into_identity(self, chain_pem: &[u8]) -> Result<Identity, IdentityError> {
        Identity::new(certificates(chain_pem)?, self.key_pkcs8)
    }
}

impl fmt::Debug for KeyAndCsr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyAndCsr").finish_non_exhaustive()
    }
}

/// All certificates of a PEM text, at least one and at most `MAX_CHAIN`.
fn certificates(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
    let mut chain = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(text).take(MAX_CHAIN + 1) {
        chain.push(certificate.map_err(IdentityError::Pem)?);
    }
    Ok(chain)
}

fn from_seconds(seconds: i64) -> Timestamp {
    Timestamp::from_millis(u64::try_from(seconds).unwrap_or(0).saturating_mul(1000))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::testing::{self, TestCa};

    #[test]
    fn an_identity_survives_its_file_which_only_the_owner_reads() {
        let identity = TestCa::new("edge").node("n-1");
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("identity.pem");
        identity.save(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let loaded = Identity::load(&path).unwrap();
        assert_eq!(loaded.leaf(), identity.leaf());
        assert_eq!(loaded.to_pem(), identity.to_pem());
        assert_eq!(loaded.leaf().spiffe.to_string(), "spiffe://edge/node/n-1");
    }

    #[test]
    fn a_key_of_somebody_else_is_refused() {
        let ca = TestCa::new("edge");
        let (one, other) = (ca.node("n-1"), ca.node("n-2"));
        let error = Identity::new(one.chain.clone(), other.key_pkcs8.clone()).unwrap_err();
        assert!(matches!(error, IdentityError::Key(_)), "{error}");
        assert!(matches!(Identity::from_pem(one.chain_pem().as_bytes()), Err(IdentityError::Missing(_))));
        assert!(Identity::from_pem(b"garbage").is_err());
    }

    #[test]
    fn a_private_key_is_never_printed() {
        let identity = TestCa::new("edge").node("n-1");
        let printed = format!("{identity:?}");
        assert!(printed.contains("n-1") && !printed.contains("key"), "{printed}");
    }

    #[test]
    fn exactly_one_uri_name_makes_an_identity() {
        for (uris, found) in [(vec![], 0), (vec!["spiffe://edge/node/a", "spiffe://edge/user/root"], 2)] {
            let certificate = testing::self_signed_with_uris(&uris);
            let error = PeerIdentity::of_certificate(&certificate).unwrap_err();
            assert!(matches!(error, IdentityError::NotOneName(n) if n == found), "{error}");
        }
        let certificate = testing::self_signed_with_uris(&["https://edge/node/a"]);
        assert!(matches!(PeerIdentity::of_certificate(&certificate), Err(IdentityError::Name(_))));
        assert!(peer_identity(&[]).unwrap().is_none());
    }
}
