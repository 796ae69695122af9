//! A node's next certificate.

use std::sync::PoisonError;

use littoral_platform::clock;
use littoral_platform::error::{ApiCode, ApiError};
use littoral_platform::identity::PeerIdentity;
use littoral_platform::random;
use littoral_platform::renewal::{self, RenewalError};
use littoral_platform::spiffe::Kind;
use littoral_proto::store::NodeRecord;
use littoral_proto::v1::{RenewChallengeResponse, RenewRequest, RenewResponse};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use sha2::{Digest, Sha256};

use super::{ATTEMPTS, Pki, busy};
use crate::records::{self, Stored, TxnRecords, key};
use crate::store::{StoreError, Txn};

/// A certificate of ours has 700 bytes; agents send their chain.
const MAX_CERTIFICATE: usize = 16 * 1024;

impl Pki {
    /// A nonce for one renewal within a minute.
    pub fn challenge(&self) -> RenewChallengeResponse {
        let nonce = random::bytes();
        self.nonces.lock().unwrap_or_else(PoisonError::into_inner).issue(nonce, clock::now());
        RenewChallengeResponse { nonce: nonce.to_vec() }
    }

    /// Issues a new certificate to the holder of an old one, expired or not, within the rejoin window.
    ///
    /// # Errors
    /// `Unauthenticated` for a proof that does not hold, `PermissionDenied` for a node that was revoked.
    pub async fn renew(&self, request: RenewRequest) -> Result<RenewResponse, ApiError> {
        let now = clock::now();
        if !self.nonces.lock().unwrap_or_else(PoisonError::into_inner).redeem(&request.nonce, now) {
            return Err(unproven(
                "the nonce was not issued here, or more than a minute ago: ask for another",
            ));
        }
        let old = self.prove(&request, now)?;
        let Kind::Node(id) = old.spiffe.kind() else {
            return Err(unproven("only nodes renew their certificates"));
        };
        for _ in 0..ATTEMPTS {
            let found = records::get::<NodeRecord>(self.store.as_ref(), &key::node(id.as_str())).await?;
            let Some(Stored { value: mut node, revision }) = found else {
                return Err(ApiError::denied(format!(
                    "{} is not a node of this cluster: join again",
                    old.spiffe
                )));
            };
            if node.revoked {
                return Err(ApiError::denied(format!("{} was revoked", old.spiffe)));
            }
            let issued = self.issue(&request.csr_pem, &old.spiffe, now, now.plus(self.lifetimes.node))?;
            node.certificate_expires_at_ms = issued.leaf.not_after.as_millis();
            match self.store.commit(Txn::new().replace(revision, &node)).await {
                Err(StoreError::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
                Ok(_) => {
                    return Ok(RenewResponse {
                        certificate_pem: issued.chain_pem,
                        ca_pem: self.ca_pem(),
                        keys: Some(self.trusted_keys()),
                    });
                }
            }
        }
        Err(busy(&format!("node/{id}")))
    }

    fn prove(
        &self,
        request: &RenewRequest,
        now: littoral_model::time::Timestamp,
    ) -> Result<PeerIdentity, ApiError> {
        if request.old_certificate_pem.len() > MAX_CERTIFICATE {
            return Err(ApiError::invalid("the old certificate is larger than 16 KiB"));
        }
        let certificate = CertificateDer::from_pem_slice(request.old_certificate_pem.as_bytes())
            .map_err(|_| ApiError::invalid("the old certificate is not PEM"))?;
        // The request is under the signature too: nobody in between can put another key into it.
        let mut signed = request.nonce.clone();
        signed.extend_from_slice(&Sha256::digest(request.csr_pem.as_bytes()));
        let window = self.lifetimes.rejoin_window;
        renewal::verify(&self.trust, &certificate, &signed, &request.signature, now, window).map_err(
            |error| {
                let text = littoral_platform::error::Chain(&error).to_string();
                match error {
                    RenewalError::LapsedTooLong { .. } => ApiError::denied(text),
                    _ => unproven(text),
                }
            },
        )
    }
}

fn unproven(why: impl Into<String>) -> ApiError {
    ApiError::new(ApiCode::Unauthenticated, why)
}
