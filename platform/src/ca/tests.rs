use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::identity::KeyAndCsr;
use crate::testing::TestCa;
use crate::trust::{TrustBundle, TrustError};

const HOUR: Duration = Duration::from_secs(3600);

fn id(text: &str) -> SpiffeId {
    text.parse().unwrap()
}

fn names(certificate: &CertificateDer<'_>) -> String {
    let (_, parsed) = X509Certificate::from_der(certificate).unwrap();
    format!("{} {:?}", parsed.subject(), parsed.subject_alternative_name().unwrap().unwrap().value)
}

fn leaf_of(issued: &Issued) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(issued.chain_pem.as_bytes()).unwrap()
}

#[test]
fn survives_its_file_which_only_the_owner_reads() {
    let ca = TestCa::new("edge").authority;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ca.pem");
    ca.save(&path).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);

    let loaded = CertificateAuthority::load(&path).unwrap();
    assert_eq!(loaded.cluster(), ca.cluster());
    assert_eq!(loaded.pin().unwrap(), ca.pin().unwrap());
    let later = CaPin::of_certificate(loaded.certificate()).unwrap();
    assert_eq!(later, ca.pin().unwrap());
}

#[test]
fn a_request_contributes_its_key_and_no_names() {
    let test = TestCa::new("edge");
    let key = KeyPair::generate().unwrap();
    let mut wishes = CertificateParams::new(vec!["evil.example".to_owned()]).unwrap();
    wishes.distinguished_name.push(DnType::CommonName, "root");
    wishes.subject_alt_names.push(uri("spiffe://edge/user/root").unwrap());
    wishes.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    wishes.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let csr = wishes.serialize_request(&key).unwrap();

    let node = id("spiffe://edge/node/n-1");
    let issued = test.authority.issue_from_csr(csr.der(), &test.subject(&node)).unwrap();

    assert_eq!(issued.leaf.spiffe, node);
    let leaf = leaf_of(&issued);
    let text = names(&leaf);
    assert!(!text.contains("evil") && !text.contains("root"), "{text}");
    let (_, parsed) = X509Certificate::from_der(&leaf).unwrap();
    assert!(!parsed.is_ca());
    let usage = parsed.extended_key_usage().unwrap().unwrap().value;
    assert!(usage.client_auth && !usage.server_auth);
    assert_eq!(parsed.public_key().raw, key.subject_public_key_info());
}

#[test]
fn a_request_must_prove_that_it_holds_the_key() {
    let test = TestCa::new("edge");
    let request = KeyAndCsr::generate().unwrap();
    let node = id("spiffe://edge/node/n-1");
    test.authority.issue_from_csr(request.csr_pem().as_bytes(), &test.subject(&node)).unwrap();

    let mut forged = request.csr_der().to_vec();
    let last = forged.len() - 1;
    forged[last] ^= 1;
    for bad in [forged.as_slice(), b"", b"-----BEGIN CERTIFICATE REQUEST-----", &vec![0; MAX_CSR + 1]] {
        let error = test.authority.issue_from_csr(bad, &test.subject(&node)).unwrap_err();
        assert!(matches!(error, CaError::BadRequest(_)), "{error}");
    }
}

#[test]
fn ids_of_other_clusters_are_refused() {
    let test = TestCa::new("edge");
    let foreign = id("spiffe://other/node/n-1");
    let error = test.authority.issue_server(&test.subject(&foreign)).unwrap_err();
    assert_eq!(error.to_string(), "spiffe://other/node/n-1 is not of this CA's cluster, edge");
}

#[test]
fn validity_is_backdated_and_ends_with_the_ca() {
    let test = TestCa::new("edge");
    let node = id("spiffe://edge/node/n-1");
    let mut subject = test.subject(&node);
    subject.not_after = Timestamp::from_millis(u64::MAX);
    let leaf = test.authority.issue_server(&subject).unwrap().leaf().clone();
    assert_eq!(leaf.not_after, test.authority.not_after());
    let backdated = test.now.minus(BACKDATE).as_millis();
    assert_eq!(leaf.not_before.as_millis(), backdated - backdated % 1000);
}

#[test]
fn serial_numbers_differ() {
    let test = TestCa::new("edge");
    let (one, other) = (test.node("n-1"), test.node("n-1"));
    assert_ne!(one.leaf().serial, other.leaf().serial);
    assert_eq!(one.leaf().serial.len(), 32);
}

#[test]
fn a_lapsed_certificate_verifies_at_its_own_time_and_only_for_its_ca() {
    let test = TestCa::new("edge");
    let node = id("spiffe://edge/node/n-1");
    let mut subject = test.subject(&node);
    (subject.not_before, subject.not_after) = (test.now.minus(HOUR * 3), test.now.minus(HOUR));
    let lapsed = test.authority.issue_server(&subject).unwrap();
    let certificate = &lapsed.chain()[0];

    let trust = test.trust();
    assert!(matches!(trust.verify_client_at(certificate, test.now), Err(TrustError::NotIssued(_))));
    let peer = trust.verify_client_at(certificate, test.now.minus(HOUR * 2)).unwrap();
    assert_eq!(peer.spiffe, node);
    let foreign = TestCa::new("edge").trust();
    assert!(foreign.verify_client_at(certificate, test.now.minus(HOUR * 2)).is_err());
    assert!(
        TrustBundle::new([certificate.clone()]).unwrap().verify_client_at(certificate, test.now).is_err()
    );
}
