//! The last assignment that was accepted, on disk as the control plane signed it.
//!
//! A node boots from it without a network. It is verified as bytes each time it is read, so a file that somebody
//! changed, or that a power cut damaged, is worth no more than a missing one.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use littoral_model::digest::Digest;
use littoral_model::time::Timestamp;
use littoral_platform::error::Chain;
use littoral_platform::files::{self, FileError};
use littoral_platform::statement::{Purpose, TrustedKeys, VerifyError};
use littoral_proto::v1;
use prost::Message;
use tokio::sync::watch;

use crate::assignment::{Assignment, AssignmentNumber, BadAssignment};
use crate::envelope::{self, ASSIGNMENT_TYPE};

const CURRENT: &str = "current";
const PREVIOUS: &str = "previous";
const QUARANTINE: &str = "quarantine";

#[derive(Debug, thiserror::Error)]
pub(crate) enum LedgerError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("the assignment's signature was not accepted")]
    Verify(#[from] VerifyError),
    #[error("the assignment cannot be decoded")]
    Decode(#[from] prost::DecodeError),
    #[error(transparent)]
    Content(#[from] BadAssignment),
    #[error(
        "the assignment of generation {} (epoch {}) differs from the one that is held under the same number: it was refused",
        .0.generation, .0.epoch
    )]
    Conflict(AssignmentNumber),
}

/// What became of an offered assignment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Offered {
    /// Stored durably; the reconciler was woken.
    Accepted,
    AlreadyHeld,
    /// Lower than what is held: ignored.
    Older,
}

/// What the node should run; `None` before the first assignment.
pub(crate) type Desired = Option<Arc<Assignment>>;

/// One for each agent.
#[derive(Debug)]
pub(crate) struct Ledger {
    dir: PathBuf,
    node_id: String,
    state: Mutex<State>,
    desired: watch::Sender<Desired>,
}

#[derive(Debug, Default)]
struct State {
    current: Option<Held>,
    previous: Option<Held>,
}

#[derive(Clone, Debug)]
struct Held {
    /// The encoded envelope.
    bytes: Vec<u8>,
    payload: Vec<u8>,
    assignment: Arc<Assignment>,
}

impl Ledger {
    /// Opens the ledger and verifies what it holds. A damaged file goes to quarantine and is told by the returned
    /// text; the previous assignment then stands in for it. Neither is ever a reason not to start.
    ///
    /// # Errors
    /// When the folder cannot be created.
    pub(crate) fn open(
        dir: &Path,
        node_id: &str,
        keys: &TrustedKeys,
        now: Timestamp,
    ) -> Result<(Self, Vec<String>), FileError> {
        files::private_dir(dir)?;
        let mut problems = Vec::new();
        let mut load = |name: &str| match load(&dir.join(name), node_id, keys) {
            Ok(held) => held,
            Err(error) => {
                let kept = quarantine(dir, name, now);
                problems
                    .push(format!("the ledger's file `{name}` is not usable ({}); {kept}", Chain(&error)));
                None
            }
        };
        let current = load(CURRENT);
        let previous = load(PREVIOUS);
        let current = current.or_else(|| previous.clone());
        let (desired, _) = watch::channel(current.as_ref().map(|held| Arc::clone(&held.assignment)));
        let state = Mutex::new(State { current, previous });
        Ok((Self { dir: dir.to_owned(), node_id: node_id.to_owned(), state, desired }, problems))
    }

    /// Verifies an assignment, and stores it durably when it is newer than what is held. Blocks for the disk.
    ///
    /// # Errors
    /// The held assignment stays when the new one is not acceptable or cannot be stored.
    pub(crate) fn offer(&self, message: v1::Envelope, keys: &TrustedKeys) -> Result<Offered, LedgerError> {
        let held = verify(message.encode_to_vec(), message, &self.node_id, keys)?;
        let mut state = self.state();
        if let Some(current) = &state.current {
            let (old, new) = (current.assignment.number, held.assignment.number);
            if new < old {
                return Ok(Offered::Older);
            }
            if new == old && current.payload != held.payload {
                return Err(LedgerError::Conflict(new));
            }
            if current.bytes == held.bytes {
                return Ok(Offered::AlreadyHeld);
            }
        }
        self.store(&mut state, held)
    }

    /// Wakes whenever another assignment was stored.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Desired> {
        self.desired.subscribe()
    }

    pub(crate) fn current(&self) -> Desired {
        self.desired.borrow().clone()
    }

    /// The number of the assignment that is held; zero when there is none.
    pub(crate) fn number(&self) -> AssignmentNumber {
        self.desired.borrow().as_ref().map(|assignment| assignment.number).unwrap_or_default()
    }

    /// Every blob that the current or the previous assignment refers to.
    pub(crate) fn blobs(&self) -> Vec<Digest> {
        let state = self.state();
        let both = [&state.current, &state.previous];
        both.into_iter().flatten().flat_map(|held| held.assignment.blobs()).collect()
    }

    fn store(&self, state: &mut State, held: Held) -> Result<Offered, LedgerError> {
        let same = |old: &Held| old.assignment.number == held.assignment.number;
        // Signed again by another key: the same assignment, nothing to keep as previous.
        let resigned = state.current.as_ref().is_some_and(same);
        if let Some(current) = state.current.as_ref().filter(|_| !resigned) {
            files::write_atomic(&self.dir.join(PREVIOUS), &current.bytes)?;
            state.previous = Some(current.clone());
        }
        files::write_atomic(&self.dir.join(CURRENT), &held.bytes)?;
        let assignment = Arc::clone(&held.assignment);
        state.current = Some(held);
        self.desired.send_replace(Some(assignment));
        Ok(if resigned { Offered::AlreadyHeld } else { Offered::Accepted })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A missing file is no error.
fn load(path: &Path, node_id: &str, keys: &TrustedKeys) -> Result<Option<Held>, LedgerError> {
    let bytes = match files::read_capped(path, littoral_proto::MAX_MESSAGE) {
        Ok(bytes) => bytes,
        Err(error) if error.is_not_found() => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let message = v1::Envelope::decode(bytes.as_slice())?;
    verify(bytes, message, node_id, keys).map(Some)
}

fn verify(
    bytes: Vec<u8>,
    message: v1::Envelope,
    node_id: &str,
    keys: &TrustedKeys,
) -> Result<Held, LedgerError> {
    let envelope = envelope::from_proto(message);
    let payload = keys.verify(Purpose::Assignment, ASSIGNMENT_TYPE, &envelope)?;
    let assignment = Assignment::from_proto(v1::NodeAssignment::decode(payload)?, node_id)?;
    Ok(Held { bytes, payload: envelope.payload, assignment: Arc::new(assignment) })
}

/// Moves a file aside and says where it is.
fn quarantine(dir: &Path, name: &str, now: Timestamp) -> String {
    let folder = dir.join(QUARANTINE);
    // One file for each name: a ledger that is damaged at every boot must not fill the disk.
    let to = folder.join(name);
    match files::private_dir(&folder)
        .map_err(|e| e.to_string())
        .and_then(|()| fs::rename(dir.join(name), &to).map_err(|e| e.to_string()))
    {
        Ok(()) => format!("it is kept as {} ({now})", to.display()),
        Err(error) => format!("it could not be moved to {}: {error}", to.display()),
    }
}

#[cfg(test)]
mod tests;
