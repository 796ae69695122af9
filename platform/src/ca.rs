//! The built-in certificate authority of a cluster.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use littoral_model::time::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PublicKeyData, SanType, SerialNumber, SubjectPublicKeyInfo,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateSigningRequestDer, PrivatePkcs8KeyDer, ServerName};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate, X509CertificationRequest};
use zeroize::Zeroizing;

use crate::files::{self, FileError};
use crate::identity::{Identity, IdentityError, PeerIdentity};
use crate::pin::{BadPin, CaPin};
use crate::spiffe::{ClusterName, Kind, SpiffeId};
use crate::{pem, random};

/// Ten years: longer than a deployment keeps its hardware, and CAs can be rotated before.
const CA_VALIDITY: Duration = Duration::from_secs(3653 * 24 * 3600);
/// Certificates begin a little in the past: clocks of a fleet differ by minutes.
const BACKDATE: Duration = Duration::from_secs(5 * 60);
/// 31 December 9999, the last day that X.509 can write.
const LAST_DATE_MILLIS: u64 = 253_402_214_400_000;
/// Requests of P-256 keys are about 300 bytes; RSA ones, which are refused, a few KiB.
const MAX_CSR: usize = 16 * 1024;
const MAX_CA_FILE: usize = 64 * 1024;

#[derive(Debug, thiserror::Error)]
pub enum CaError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("the CA's file does not hold a CA certificate with its private key: {0}")]
    NotACa(&'static str),
    #[error("the certificate request cannot be read: {0}")]
    BadRequest(&'static str),
    #[error("{id} is not of this CA's cluster, {cluster}")]
    OtherCluster { id: Box<SpiffeId>, cluster: ClusterName },
    #[error("`{0}` cannot be written into a certificate as a server name")]
    ServerName(String),
    #[error("could not make a certificate")]
    Issue(#[source] rcgen::Error),
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error(transparent)]
    Pin(#[from] BadPin),
}

/// What a certificate shall say; the request contributes its public key and nothing else.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    pub id: &'a SpiffeId,
    /// Host names and addresses, for servers.
    pub names: &'a [ServerName<'static>],
    /// The first moment of validity; the certificate begins five minutes before it.
    pub not_before: Timestamp,
    /// Never later than the CA's own end.
    pub not_after: Timestamp,
}

/// A certificate that was made: the leaf, and the CA's certificate behind it.
#[derive(Clone, Debug)]
pub struct Issued {
    pub chain_pem: String,
    pub leaf: PeerIdentity,
}

/// A CA certificate with its key, which is never printed.
pub struct CertificateAuthority {
    cluster: ClusterName,
    certificate: CertificateDer<'static>,
    not_after: Timestamp,
    issuer: Issuer<'static, KeyPair>,
}

impl CertificateAuthority {
    /// A new CA, valid for ten years from `now`.
    ///
    /// # Errors
    /// When the key or the certificate cannot be made.
    pub fn create(cluster: &ClusterName, now: Timestamp) -> Result<Self, CaError> {
        let key = KeyPair::generate().map_err(CaError::Issue)?;
        let serial = random::bytes::<4>();
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        // A number of its own, so that verifiers tell two CAs of one cluster apart during a rotation.
        let short: String = cluster.as_str().chars().take(40).collect();
        let name = format!("Littoral CA {short} {}", hex::encode(serial));
        params.distinguished_name.push(DnType::CommonName, name);
        params.subject_alt_names = vec![uri(&format!("spiffe://{cluster}"))?];
        params.serial_number = Some(serial_number());
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        set_validity(&mut params, now, now.plus(CA_VALIDITY));
        let certificate = params.self_signed(&key).map_err(CaError::Issue)?;
        Self::from_parts(certificate.der().clone(), key)
    }

    /// # Errors
    /// When the file cannot be read or does not hold a CA of ours.
    pub fn load(path: &Path) -> Result<Self, CaError> {
        let text = Zeroizing::new(files::read_capped(path, MAX_CA_FILE)?);
        let certificate =
            CertificateDer::from_pem_slice(&text).map_err(|_| CaError::NotACa("no certificate"))?;
        let key = PrivatePkcs8KeyDer::from_pem_slice(&text)
            .map_err(|_| CaError::NotACa("no PKCS#8 private key"))?;
        let key = KeyPair::try_from(key.secret_pkcs8_der()).map_err(|_| CaError::NotACa("unreadable key"))?;
        Self::from_parts(certificate, key)
    }

    /// Writes certificate and key into one file (0600), atomically.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), FileError> {
        let key = pem::encode("PRIVATE KEY", self.issuer.key().serialized_der());
        let certificate = self.certificate_pem();
        let mut text = Zeroizing::new(String::with_capacity(certificate.len() + key.len()));
        text.push_str(&certificate);
        text.push_str(&key);
        files::write_atomic(path, text.as_bytes())
    }

    pub fn cluster(&self) -> &ClusterName {
        &self.cluster
    }

    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    pub fn certificate_pem(&self) -> String {
        pem::encode("CERTIFICATE", &self.certificate).to_string()
    }

    /// End of the CA's own validity.
    pub fn not_after(&self) -> Timestamp {
        self.not_after
    }

    /// What join tokens carry.
    ///
    /// # Errors
    /// When the CA's certificate cannot be parsed, which `create` and `load` have ruled out.
    pub fn pin(&self) -> Result<CaPin, CaError> {
        Ok(CaPin::of_certificate(&self.certificate)?)
    }

    /// Issues a certificate for the key of a request (PEM or DER), after checking that the requester holds the
    /// key. Names, usages and every other wish in the request are ignored.
    ///
    /// # Errors
    /// `BadRequest` for what the requester got wrong, `OtherCluster` for an id that is not this CA's to give.
    pub fn issue_from_csr(&self, csr: &[u8], subject: &Subject<'_>) -> Result<Issued, CaError> {
        let public_key = requested_key(csr)?;
        let leaf = self.issue(&public_key, subject)?;
        Ok(Issued {
            chain_pem: format!("{}{}", *pem::encode("CERTIFICATE", &leaf), self.certificate_pem()),
            leaf: PeerIdentity::of_certificate(&leaf)?,
        })
    }

    /// Makes a key and a certificate in one step, for a control plane's own listener.
    ///
    /// # Errors
    /// As [`Self::issue_from_csr`].
    pub fn issue_server(&self, subject: &Subject<'_>) -> Result<Identity, CaError> {
        let key = KeyPair::generate().map_err(CaError::Issue)?;
        let leaf = self.issue(&key, subject)?;
        let chain = vec![leaf, self.certificate.clone()];
        Ok(Identity::new(chain, Zeroizing::new(key.serialize_der()))?)
    }

    fn issue(
        &self,
        public_key: &impl PublicKeyData,
        subject: &Subject<'_>,
    ) -> Result<CertificateDer<'static>, CaError> {
        if subject.id.cluster() != &self.cluster {
            let id = Box::new(subject.id.clone());
            return Err(CaError::OtherCluster { id, cluster: self.cluster.clone() });
        }
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, common_name(subject.id));
        params.subject_alt_names = vec![uri(&subject.id.to_string())?];
        for name in subject.names {
            params.subject_alt_names.push(server_name(name)?);
        }
        params.serial_number = Some(serial_number());
        params.is_ca = IsCa::ExplicitNoCa;
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        if matches!(subject.id.kind(), Kind::ControlPlane(_)) {
            params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
        }
        set_validity(&mut params, subject.not_before, subject.not_after.min(self.not_after));
        let certificate = params.signed_by(public_key, &self.issuer).map_err(CaError::Issue)?;
        Ok(certificate.der().clone())
    }

    fn from_parts(certificate: CertificateDer<'static>, key: KeyPair) -> Result<Self, CaError> {
        let (cluster, not_after) = inspect_ca(&certificate, &key)?;
        let issuer = Issuer::from_ca_cert_der(&certificate, key).map_err(CaError::Issue)?;
        Ok(Self { cluster, certificate, not_after, issuer })
    }
}

impl fmt::Debug for CertificateAuthority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CertificateAuthority").field("cluster", &self.cluster).finish_non_exhaustive()
    }
}

/// Reads cluster and end of validity from a CA certificate, and checks that `key` is its key.
fn inspect_ca(certificate: &CertificateDer<'_>, key: &KeyPair) -> Result<(ClusterName, Timestamp), CaError> {
    let (_, parsed) =
        X509Certificate::from_der(certificate).map_err(|_| CaError::NotACa("unreadable certificate"))?;
    if !parsed.is_ca() {
        return Err(CaError::NotACa("the certificate is not a CA's"));
    }
    if parsed.public_key().raw != key.subject_public_key_info() {
        return Err(CaError::NotACa("the key is not the certificate's"));
    }
    let names = parsed.subject_alternative_name().map_err(|_| CaError::NotACa("unreadable names"))?;
    let cluster = names
        .iter()
        .flat_map(|extension| &extension.value.general_names)
        .find_map(|name| if let GeneralName::URI(uri) = name { uri.strip_prefix("spiffe://") } else { None })
        .and_then(|name| name.parse().ok())
        .ok_or(CaError::NotACa("it names no cluster (spiffe://CLUSTER)"))?;
    let seconds = u64::try_from(parsed.validity().not_after.timestamp()).unwrap_or(0);
    Ok((cluster, Timestamp::from_millis(seconds.saturating_mul(1000))))
}

/// The public key of a request whose signature shows that the requester holds the private one.
fn requested_key(csr: &[u8]) -> Result<SubjectPublicKeyInfo, CaError> {
    if csr.len() > MAX_CSR {
        return Err(CaError::BadRequest("it is larger than 16 KiB"));
    }
    let der = if csr.starts_with(b"-----BEGIN") {
        CertificateSigningRequestDer::from_pem_slice(csr)
            .map_err(|_| CaError::BadRequest("it is not PEM of a certificate request"))?
    } else {
        CertificateSigningRequestDer::from(csr)
    };
    let (rest, request) = X509CertificationRequest::from_der(&der)
        .map_err(|_| CaError::BadRequest("it is not a PKCS#10 request"))?;
    if !rest.is_empty() {
        return Err(CaError::BadRequest("it has bytes after its end"));
    }
    request
        .verify_signature()
        .map_err(|_| CaError::BadRequest("its signature is not of the key that it asks for"))?;
    let key = SubjectPublicKeyInfo::from_der(request.certification_request_info.subject_pki.raw)
        .map_err(|_| CaError::BadRequest("its key is of an unsupported kind: use ECDSA P-256 or Ed25519"))?;
    let accepted = [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ECDSA_P384_SHA384, &rcgen::PKCS_ED25519];
    if !accepted.contains(&key.algorithm()) {
        return Err(CaError::BadRequest("its key is of an unsupported kind: use ECDSA P-256 or Ed25519"));
    }
    Ok(key)
}

fn set_validity(params: &mut CertificateParams, not_before: Timestamp, not_after: Timestamp) {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let since_epoch = |at: Timestamp| Duration::from_millis(at.as_millis().min(LAST_DATE_MILLIS));
    params.not_before = epoch + since_epoch(not_before.minus(BACKDATE));
    params.not_after = epoch + since_epoch(not_after);
}

/// Sixteen random bytes, positive: serial numbers must not be guessable, nor repeat.
fn serial_number() -> SerialNumber {
    let mut bytes = random::bytes::<16>();
    bytes[0] = (bytes[0] & 0x7f) | 0x40;
    SerialNumber::from_slice(&bytes)
}

/// For people who read certificates; nothing decides by it. X.520 allows 64 characters.
fn common_name(id: &SpiffeId) -> String {
    id.kind().to_string().chars().take(64).collect()
}

fn uri(text: &str) -> Result<SanType, CaError> {
    Ok(SanType::URI(text.try_into().map_err(CaError::Issue)?))
}

fn server_name(name: &ServerName<'static>) -> Result<SanType, CaError> {
    match name {
        ServerName::DnsName(dns) => Ok(SanType::DnsName(dns.as_ref().try_into().map_err(CaError::Issue)?)),
        ServerName::IpAddress(address) => Ok(SanType::IpAddress((*address).into())),
        other => Err(CaError::ServerName(format!("{other:?}"))),
    }
}

#[cfg(test)]
mod tests;
