//! Compiles every module version that is needed for every target that the fleet has.
//!
//! One loop: wait for a change of store, targets or running jobs → look at everything → start what is missing. What is
//! wanted follows from the records alone ([`wanted`]), so nothing is forgotten by a restart.

mod child;
mod confine;
mod job;
mod task;
mod wanted;

use std::collections::BTreeSet;
use std::sync::Arc;

use littoral_model::digest::Digest;
use littoral_model::target::Target;
use tokio::sync::watch;

pub use self::child::compile_child_main;
pub use self::task::{Compiler, Parts};

/// What is being compiled, and for what. Clones share everything.
#[derive(Clone, Debug)]
pub struct CompilerHandle {
    underway: watch::Receiver<Arc<BTreeSet<Job>>>,
    targets: watch::Receiver<BTreeSet<Target>>,
}

/// One module for one target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Job {
    pub source: Digest,
    pub target: Target,
}

impl CompilerHandle {
    /// Jobs that wait or run, as a level.
    pub fn underway(&self) -> watch::Receiver<Arc<BTreeSet<Job>>> {
        self.underway.clone()
    }

    /// Targets of `source` that wait or are being compiled.
    pub fn compiling(&self, source: Digest) -> Vec<Target> {
        let underway = self.underway.borrow();
        underway.iter().filter(|job| job.source == source).map(|job| job.target).collect()
    }

    /// Targets that modules are compiled for without being asked: the fleet's, or this machine's own while there is none.
    pub fn targets(&self) -> BTreeSet<Target> {
        effective(&self.targets.borrow())
    }
}

/// The fleet's targets as they are compiled; for an empty fleet this machine's, so that a push is compiled at once.
fn effective(fleet: &BTreeSet<Target>) -> BTreeSet<Target> {
    if fleet.is_empty() {
        let own = littoral_engine::host_target(littoral_model::target::MemoryClass::Wide);
        return [own.compiled_as()].into();
    }
    fleet.iter().map(|target| target.compiled_as()).collect()
}
