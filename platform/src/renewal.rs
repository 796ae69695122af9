//! Proof that whoever renews a certificate holds the key of the old one.
//!
//! A TLS verifier refuses an expired client certificate, and a node that was offline for weeks has nothing else.
//! So a renewal is asked for without one: it carries the old certificate and a signature over the server's nonce.

use std::time::Duration;

use littoral_model::time::Timestamp;
use rustls::SignatureScheme;
use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::identity::{Identity, PeerIdentity};
use crate::tls;
use crate::trust::{TrustBundle, TrustError};

/// Begins every signed text, so that a signature made here is of use nowhere else.
const CONTEXT: &[u8] = b"littoral-renewal-v1\0";
/// All keys that programs generate for themselves are ECDSA P-256; Ed25519 may come from an operator's tools.
const SCHEMES: [SignatureScheme; 2] = [SignatureScheme::ECDSA_NISTP256_SHA256, SignatureScheme::ED25519];
/// Nonces are 32 bytes; a server must not be able to have long texts signed.
const MAX_NONCE: usize = 64;

#[derive(Debug, thiserror::Error)]
pub enum RenewalError {
    #[error("the old certificate was not accepted")]
    Trust(#[from] TrustError),
    #[error("the old certificate lapsed at {not_after}, more than {} days ago: the node must join again", window.as_secs() / 86_400)]
    LapsedTooLong { not_after: Timestamp, window: Duration },
    #[error("the signature over the nonce is not of the old certificate's key")]
    BadProof,
    #[error("the nonce is longer than {MAX_NONCE} bytes")]
    LongNonce,
    #[error("the identity's key cannot sign")]
    Sign(#[source] rustls::Error),
}

/// Signs a server's nonce with the key of `identity`, expired or not.
///
/// # Errors
/// When the nonce is longer than 64 bytes or the key cannot sign.
pub fn prove(identity: &Identity, nonce: &[u8]) -> Result<Vec<u8>, RenewalError> {
    if nonce.len() > MAX_NONCE {
        return Err(RenewalError::LongNonce);
    }
    let certified = identity.certified_key().map_err(RenewalError::Sign)?;
    let no_scheme = || RenewalError::Sign(rustls::Error::General("no usable signature scheme".into()));
    let signer = certified.key.choose_scheme(&SCHEMES).ok_or_else(no_scheme)?;
    signer.sign(&message(nonce)).map_err(RenewalError::Sign)
}

/// Verifies that `certificate` is one of ours, expired for at most `window`, and that `proof` over `nonce` was
/// made with its key. Answers who is renewing.
///
/// # Errors
/// Names what did not hold. Whether the node is on the deny list is for the caller to check.
pub fn verify(
    trust: &TrustBundle,
    certificate: &CertificateDer<'_>,
    nonce: &[u8],
    proof: &[u8],
    now: Timestamp,
    window: Duration,
) -> Result<PeerIdentity, RenewalError> {
    let claimed = PeerIdentity::of_certificate(certificate).map_err(TrustError::from)?;
    if now > claimed.not_after.plus(window) {
        return Err(RenewalError::LapsedTooLong { not_after: claimed.not_after, window });
    }
    let peer = trust.verify_client_at(certificate, now.min(claimed.not_after))?;
    verify_proof(certificate, nonce, proof)?;
    Ok(peer)
}

fn verify_proof(certificate: &CertificateDer<'_>, nonce: &[u8], proof: &[u8]) -> Result<(), RenewalError> {
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(|_| RenewalError::BadProof)?;
    let public_key = &parsed.public_key().subject_public_key.data;
    let provider = tls::provider();
    let known = provider.signature_verification_algorithms.mapping;
    let algorithms = known.iter().filter(|(scheme, _)| SCHEMES.contains(scheme)).flat_map(|(_, all)| *all);
    let message = message(nonce);
    for algorithm in algorithms {
        // An algorithm for another kind of key fails too: no need to tell the kinds apart first.
        if algorithm.verify_signature(public_key, &message, proof).is_ok() {
            return Ok(());
        }
    }
    Err(RenewalError::BadProof)
}

fn message(nonce: &[u8]) -> Vec<u8> {
    [CONTEXT, nonce].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TestCa;

    const DAY: Duration = Duration::from_secs(86_400);

    #[test]
    fn the_holder_of_a_lapsed_certificate_can_renew_within_the_window() {
        let ca = TestCa::new("edge");
        let node = ca.node("n-1");
        let nonce = [7; 32];
        let proof = prove(&node, &nonce).unwrap();
        let check = |now| verify(&ca.trust(), &node.chain()[0], &nonce, &proof, now, DAY * 30);

        let lapsed = node.leaf().not_after;
        for now in [ca.now, lapsed, lapsed.plus(DAY * 30)] {
            assert_eq!(check(now).unwrap(), *node.leaf());
        }
        let late = check(lapsed.plus(DAY * 31)).unwrap_err();
        assert!(matches!(late, RenewalError::LapsedTooLong { .. }), "{late}");
    }

    #[test]
    fn a_stolen_certificate_without_its_key_renews_nothing() {
        let ca = TestCa::new("edge");
        let (victim, thief) = (ca.node("n-1"), ca.node("n-2"));
        let nonce = [7; 32];
        let trust = ca.trust();
        let by_thief = prove(&thief, &nonce).unwrap();
        let other_nonce = prove(&victim, &[8; 32]).unwrap();
        for proof in [by_thief.as_slice(), &other_nonce, b"", &[0; 5000]] {
            let error = verify(&trust, &victim.chain()[0], &nonce, proof, ca.now, DAY).unwrap_err();
            assert!(matches!(error, RenewalError::BadProof), "{error}");
        }
    }

    #[test]
    fn another_ca_with_the_same_cluster_name_is_not_believed() {
        let (ours, theirs) = (TestCa::new("edge"), TestCa::new("edge"));
        let node = theirs.node("n-1");
        let proof = prove(&node, &[7; 32]).unwrap();
        let error = verify(&ours.trust(), &node.chain()[0], &[7; 32], &proof, ours.now, DAY).unwrap_err();
        assert!(matches!(error, RenewalError::Trust(_)), "{error}");
    }

    #[test]
    fn a_server_cannot_have_long_texts_signed() {
        let node = TestCa::new("edge").node("n-1");
        assert!(matches!(prove(&node, &[0; MAX_NONCE + 1]), Err(RenewalError::LongNonce)));
    }
}
