//! What the parts of the control plane have in common.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use littoral_platform::tasks::Tasks;
use tokio::sync::watch;

use crate::audit::Audit;
use crate::blobs::Blobs;
use crate::compiler::CompilerHandle;
use crate::config::Config;
use crate::events::Events;
use crate::metrics::ControlMetrics;
use crate::pki::Pki;
use crate::planner::Outlooks;
use crate::sessions::Sessions;
use crate::signing::Signer;
use crate::store::Store;
use crate::world::World;

/// Handles to everything; passed as an `Arc`. A part that needs one or two of them takes those.
pub struct Shared {
    pub config: Config,
    pub store: Arc<dyn Store>,
    pub blobs: Blobs,
    pub pki: Arc<Pki>,
    pub signer: Arc<Signer>,
    pub audit: Audit,
    pub events: Events,
    pub compiler: CompilerHandle,
    /// The fleet as it is known now.
    pub world: watch::Receiver<Arc<World>>,
    /// How each function stands, after the last plan.
    pub outlooks: watch::Receiver<Outlooks>,
    pub sessions: Sessions,
    pub metrics: ControlMetrics,
    /// All tasks of the program.
    pub tasks: Tasks,
    /// Those that answer requests, which stop before the rest. A stream that does not end by itself ends when these are
    /// asked to.
    pub serving: Tasks,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("config", &self.config).finish_non_exhaustive()
    }
}

/// Programs that the control plane starts. Given by `main`: a library that started its own executable would start a
/// test harness again.
#[derive(Clone, Debug)]
pub struct ChildCommands {
    /// Ends up in [`crate::compile_child_main`].
    pub compiler: ChildCommand,
}

/// Verb that the programs of this workspace take for [`crate::compile_child_main`].
pub const COMPILE_VERB: &str = "__compile";

/// A program that takes the verb.
impl From<PathBuf> for ChildCommands {
    fn from(program: PathBuf) -> Self {
        Self { compiler: ChildCommand { program, args: vec![COMPILE_VERB.into()] } }
    }
}

#[derive(Clone, Debug)]
pub struct ChildCommand {
    pub program: PathBuf,
    /// Come before the arguments of the job.
    pub args: Vec<OsString>,
}
