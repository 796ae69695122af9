//! What the control plane says during a session.

use littoral_platform::error::Chain;
use littoral_proto::v1::session_down::Message as Down;
use littoral_proto::v1::session_up::Message as Up;
use littoral_proto::v1::{Envelope, InvokeOffer, InvokeRefused, SessionDown, SessionUp, TrustUpdate};
use tokio::task::spawn_blocking;
use tonic::Status;

use super::stream::Live;
use super::{Over, Session, SessionError};
use crate::credentials::CredentialsError;
use crate::ledger::{LedgerError, Offered};
use crate::membership::Trust;

/// What to do after a message.
pub(super) enum Next {
    Continue,
    ReportSoon,
    Over(Over),
}

impl Session {
    pub(super) async fn received(
        &self,
        message: Result<Option<SessionDown>, Status>,
        live: &mut Live,
    ) -> Result<Next, SessionError> {
        let message = match message {
            Ok(Some(message)) => message,
            Ok(None) => return Err(SessionError::Ended("without a word".into())),
            Err(status) => return Err(SessionError::Lost(status)),
        };
        match message.message {
            Some(Down::Assignment(envelope)) => self.assigned(envelope).await,
            Some(Down::WindowAck(ack)) => {
                let more = self.stats.acknowledge(&ack.boot_id, ack.sequence);
                return Ok(if more { Next::ReportSoon } else { Next::Continue });
            }
            Some(Down::InvokeOffer(offer)) => self.offered(offer, live),
            Some(Down::Trust(update)) => self.trust(update).await,
            Some(Down::Goodbye(goodbye)) if goodbye.revoked => {
                return Ok(Next::Over(Over::Revoked(goodbye.reason)));
            }
            Some(Down::Goodbye(goodbye)) => return Err(SessionError::Ended(goodbye.reason)),
            // From a newer control plane: what this agent does not know it passes over.
            Some(Down::Welcome(_)) | None => {}
        }
        Ok(Next::Continue)
    }

    async fn assigned(&self, envelope: Envelope) {
        let (ledger, keys) = (self.ledger.clone(), self.credentials.trust());
        let offered = match spawn_blocking(move || ledger.offer(envelope, &keys.keys)).await {
            Ok(offered) => offered,
            Err(error) => return tracing::error!("storing an assignment ended early: {error}"),
        };
        match offered {
            Ok(Offered::Accepted) => {
                let number = self.ledger.number();
                tracing::info!(generation = number.generation.0, epoch = number.epoch.0, "new assignment");
            }
            Ok(Offered::AlreadyHeld) => {}
            Ok(Offered::Older) => tracing::info!("passed over an assignment older than the one that is held"),
            Err(error) => {
                self.metrics.rejected_assignments.inc();
                let reason = match &error {
                    LedgerError::Conflict(_) => "AssignmentConflict",
                    LedgerError::File(_) => "LedgerNotWritable",
                    _ => "AssignmentRejected",
                };
                self.events.add(reason, "", Chain(&error).to_string());
            }
        }
    }

    fn offered(&self, offer: InvokeOffer, live: &Live) {
        let invocation_id = offer.invocation_id;
        let Err(reason) = self.invocations.serve(invocation_id.clone(), live.bulk.clone()) else { return };
        let refused = InvokeRefused { invocation_id, reason: reason.to_owned() };
        let message = SessionUp { message: Some(Up::InvokeRefused(refused)) };
        if live.up.try_send(message).is_err() {
            tracing::warn!("could not even refuse an invocation: the session does not move");
        }
    }

    async fn trust(&self, update: TrustUpdate) {
        let trust = Trust::from_proto(&update.ca_pem, &update.keys.unwrap_or_default());
        let old = self.credentials.trust();
        let credentials = self.credentials.clone();
        let store = move || -> Result<bool, CredentialsError> { credentials.set_trust(trust?) };
        match spawn_blocking(store).await {
            Ok(Ok(false)) => {}
            Ok(Ok(true)) => {
                self.events.add("TrustChanged", "", "the control plane named other CAs or signing keys");
                // A worker is told the compiler's keys at its start.
                if old.compiler_keys() != self.credentials.trust().compiler_keys()
                    && let Some(worker) = self.worker.borrow().as_ref()
                {
                    worker.restart();
                }
            }
            Ok(Err(error)) => self.events.add("TrustRejected", "", Chain(&error).to_string()),
            Err(error) => tracing::error!("storing new trust ended early: {error}"),
        }
    }
}
