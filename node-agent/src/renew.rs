//! The node's next certificate, well before the last one ends; and after, when the node was away.

use std::sync::Arc;
use std::time::Duration;

use littoral_model::time::Timestamp;
use littoral_platform::backoff::Backoff;
use littoral_platform::channel::{self, ChannelError};
use littoral_platform::clock::PersistedClock;
use littoral_platform::error::Chain;
use littoral_platform::identity::{IdentityError, KeyAndCsr, PeerIdentity};
use littoral_platform::random;
use littoral_platform::renewal::{self, RenewalError};
use littoral_platform::tls::TlsError;
use littoral_proto::v1::{RenewChallengeRequest, RenewRequest};
use sha2::{Digest, Sha256};
use tokio::task::{JoinError, spawn_blocking};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};

use crate::credentials::{Credentials, CredentialsError};
use crate::events::Events;
use crate::link::client;
use crate::membership::{MembershipError, Trust};
use crate::metrics::AgentMetrics;

/// The clock may be set meanwhile, and a machine may sleep: the due time is looked at this often.
const LOOK: Duration = Duration::from_secs(30);
/// For each of the two calls.
const CALL_DEADLINE: Duration = Duration::from_secs(30);
const RETRY_BASE: Duration = Duration::from_secs(5);
const RETRY_CAP: Duration = Duration::from_secs(600);
/// The clock's floor need not be newer than this.
const PERSIST_EVERY: Duration = Duration::from_secs(600);

#[derive(Debug, thiserror::Error)]
pub(crate) enum RenewError {
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Channel(#[from] ChannelError),
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error(transparent)]
    Proof(#[from] RenewalError),
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    #[error(transparent)]
    Membership(#[from] MembershipError),
    #[error("the control plane did not renew the certificate: {}", .0.message())]
    Refused(Status),
    #[error("the control plane did not answer within {} s", CALL_DEADLINE.as_secs())]
    Silent,
    #[error("the new certificate is for {found}, and this is {own}")]
    OtherNode { found: String, own: String },
    #[error("a task of the disk ended early")]
    Task(#[from] JoinError),
}

impl RenewError {
    /// Trying again will not help: an operator must look.
    fn is_final(&self) -> bool {
        matches!(self, Self::Refused(status) if status.code() == Code::PermissionDenied)
    }
}

/// Renews for as long as the agent runs, and writes the clock's floor down now and then.
pub(crate) async fn run(
    credentials: Arc<Credentials>,
    clock: PersistedClock,
    events: Events,
    metrics: AgentMetrics,
    stop: CancellationToken,
) {
    let mut backoff = Backoff::new(RETRY_BASE, RETRY_CAP);
    let mut jitter = random::number();
    let mut persisted = Timestamp::default();
    loop {
        metrics.cert_expiry_seconds.set(credentials.expires_in_seconds());
        if clock.now().since(persisted) >= PERSIST_EVERY {
            persisted = persist(&clock).await;
        }
        let mut wait = LOOK;
        if clock.now() >= due(credentials.identity().leaf(), jitter) {
            let Some(renewed) = stop.run_until_cancelled(renew(&credentials)).await else { return };
            match renewed {
                Ok(()) => {
                    tracing::info!(until = %credentials.identity().leaf().not_after, "certificate renewed");
                    backoff.reset();
                    jitter = random::number();
                }
                Err(error) => {
                    let text = Chain(&error).to_string();
                    if backoff.attempts() == 0 || error.is_final() {
                        events.add("RenewalFailed", "", text);
                    } else {
                        tracing::warn!("could not renew the certificate: {text}");
                    }
                    wait = if error.is_final() { RETRY_CAP } else { backoff.next(random::number()) };
                }
            }
        }
        if stop.run_until_cancelled(sleep(wait)).await.is_none() {
            return;
        }
    }
}

/// Two thirds of the certificate's life after its begin, give or take a twentieth: a fleet that joined in one minute
/// does not renew in one.
fn due(leaf: &PeerIdentity, random: u64) -> Timestamp {
    let life = leaf.not_after.since(leaf.not_before);
    let twentieth = u128::from(random) * (life.as_millis() / 10) / u128::from(u64::MAX);
    let jitter = Duration::from_millis(u64::try_from(twentieth).unwrap_or(0));
    leaf.not_before.plus(life * 2 / 3).minus(life / 20).plus(jitter)
}

async fn renew(credentials: &Arc<Credentials>) -> Result<(), RenewError> {
    let tls = credentials.tls_as_nobody()?;
    let mut client = client(channel::connect(credentials.server(), &tls).await?);
    let challenge = timeout(CALL_DEADLINE, client.renew_challenge(RenewChallengeRequest {})).await;
    let nonce = challenge.map_err(|_| RenewError::Silent)?.map_err(RenewError::Refused)?.into_inner().nonce;

    let old = credentials.identity();
    let key = KeyAndCsr::generate()?;
    let csr_pem = key.csr_pem();
    // The request is signed with the nonce: nobody in between can put another key into it.
    let signed = [nonce.as_slice(), Sha256::digest(csr_pem.as_bytes()).as_slice()].concat();
    let signature = renewal::prove(&old, &signed)?;
    let request = RenewRequest { nonce, old_certificate_pem: old.chain_pem(), csr_pem, signature };
    let renewed = timeout(CALL_DEADLINE, client.renew(request)).await;
    let response = renewed.map_err(|_| RenewError::Silent)?.map_err(RenewError::Refused)?.into_inner();

    let identity = key.into_identity(response.certificate_pem.as_bytes())?;
    if identity.leaf().spiffe != old.leaf().spiffe {
        let (found, own) = (identity.leaf().spiffe.to_string(), old.leaf().spiffe.to_string());
        return Err(RenewError::OtherNode { found, own });
    }
    let trust = Trust::from_proto(&response.ca_pem, &response.keys.unwrap_or_default())?;
    let credentials = Arc::clone(credentials);
    let stored = spawn_blocking(move || -> Result<(), CredentialsError> {
        credentials.set_trust(trust)?;
        credentials.set_identity(identity)
    });
    Ok(stored.await??)
}

/// The time that is safe on disk now.
pub(crate) async fn persist(clock: &PersistedClock) -> Timestamp {
    let writing = clock.clone();
    match spawn_blocking(move || writing.persist()).await {
        Ok(Ok(time)) => time,
        Ok(Err(error)) => {
            tracing::warn!("could not write the time down: {}", Chain(&error));
            clock.now()
        }
        Err(error) => {
            tracing::warn!("writing the time down ended early: {error}");
            clock.now()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn due_at_two_thirds_of_the_life_give_or_take_a_twentieth() {
        let day = Duration::from_secs(86_400);
        let leaf = PeerIdentity {
            spiffe: "spiffe://edge/node/n1".parse().unwrap(),
            serial: String::new(),
            not_before: Timestamp::from_millis(1_000),
            not_after: Timestamp::from_millis(1_000).plus(day),
            fingerprint: String::new(),
        };
        let hours = |random| due(&leaf, random).since(leaf.not_before).as_secs_f64() / 3600.0;
        assert!((hours(0) - 14.8).abs() < 0.01, "{}", hours(0));
        assert!((hours(u64::MAX / 2) - 16.0).abs() < 0.01);
        assert!((hours(u64::MAX) - 17.2).abs() < 0.01);
    }
}
