//! The loop that keeps as many compilations running as there may be.

use std::collections::{BTreeSet, HashMap};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt, future::BoxFuture};
use littoral_model::digest::Digest;
use littoral_model::target::{MemoryClass, Target};
use littoral_platform::backoff::Backoff;
use littoral_platform::clock;
use littoral_platform::error::Chain;
use littoral_platform::random;
use littoral_proto::store::{CompileRequestRecord, FunctionRecord};
use littoral_proto::v1::{Artifact, ArtifactStatement, CompileFailure, ModuleVersion};
use prost::Message;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::job::{self, Outcome, Workshop};
use super::wanted::{Records, wanted};
use super::{CompilerHandle, Job, effective};
use crate::blobs::{BlobError, Blobs};
use crate::config::CompileLimits;
use crate::events::Events;
use crate::metrics::ControlMetrics;
use crate::records::{self, RecordError, Stored, TxnRecords, key};
use crate::shared::ChildCommand;
use crate::signing::Signer;
use crate::store::{Store, StoreError, Txn};

/// A failure that is not the module's, such as a full disk, is tried again soon and then once a minute.
const BACKOFF: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
/// Name in `littoral_task_last_success_seconds`.
const TASK: &str = "compiler";

/// What the compiler is made of.
pub struct Parts {
    pub store: Arc<dyn Store>,
    pub blobs: Blobs,
    pub signer: Arc<Signer>,
    pub events: Events,
    pub metrics: ControlMetrics,
    pub limits: CompileLimits,
    pub command: ChildCommand,
    /// Targets of the fleet's nodes.
    pub targets: watch::Receiver<BTreeSet<Target>>,
}

/// The task; run it once.
pub struct Compiler {
    store: Arc<dyn Store>,
    signer: Arc<Signer>,
    events: Events,
    metrics: ControlMetrics,
    workshop: Workshop,
    targets: watch::Receiver<BTreeSet<Target>>,
    underway: watch::Sender<Arc<BTreeSet<Job>>>,
    /// Fingerprints of today's engines, by memory class.
    engines: Engines,
    /// Where each known source is registered.
    modules: HashMap<Digest, Stored<ModuleVersion>>,
    backoff: Backoff,
    paused_until: Option<Instant>,
}

type Running = FuturesUnordered<BoxFuture<'static, (Job, Outcome)>>;

impl Compiler {
    pub fn new(parts: Parts) -> (Self, CompilerHandle) {
        let underway = watch::Sender::new(Arc::default());
        let handle = CompilerHandle { underway: underway.subscribe(), targets: parts.targets.clone() };
        let compiler = Self {
            store: parts.store,
            signer: parts.signer,
            events: parts.events,
            metrics: parts.metrics,
            workshop: Workshop { blobs: parts.blobs, command: parts.command, limits: parts.limits },
            targets: parts.targets,
            underway,
            engines: Engines::today(),
            modules: HashMap::new(),
            backoff: BACKOFF,
            paused_until: None,
        };
        (compiler, handle)
    }

    /// Runs until it is dropped; running compilations end with it.
    pub async fn run(mut self) -> Infallible {
        let mut changed = self.store.watch();
        let mut targets = self.targets.clone();
        let mut running = Running::new();
        let mut busy: BTreeSet<Job> = BTreeSet::new();
        loop {
            changed.mark_unchanged();
            targets.mark_unchanged();
            match self.look().await {
                Ok(queue) => self.start(queue, &mut running, &mut busy),
                Err(error) => {
                    tracing::warn!("could not see what is to be compiled: {}", Chain(&error));
                    self.pause();
                }
            }
            tokio::select! {
                Ok(()) = changed.changed() => {}
                Ok(()) = targets.changed() => {}
                Some((job, outcome)) = running.next() => {
                    self.finish(job, outcome).await;
                    busy.remove(&job);
                }
                () = sleep_until(self.paused_until.unwrap_or_else(Instant::now)), if self.paused_until.is_some() => {
                    self.paused_until = None;
                }
            }
        }
    }

    /// Everything that is missing, most urgent first.
    async fn look(&mut self) -> Result<Vec<Job>, RecordError> {
        let store = self.store.as_ref();
        let modules = records::scan::<ModuleVersion>(store, key::MODULE).await?.records;
        let functions = records::scan::<FunctionRecord>(store, key::FUNCTION).await?.records;
        let requests = records::scan::<CompileRequestRecord>(store, key::COMPILE_REQUEST).await?.records;
        // The keys say it all: no need to decode thousands of artifacts.
        let artifacts = store.scan(key::ARTIFACT).await?.entries;
        let failures = store.scan(key::COMPILE_FAILURE).await?.entries;
        let keys = artifacts.iter().chain(&failures).map(|entry| entry.key.as_str());
        let seen = Records {
            modules,
            functions: functions.into_iter().map(|f| f.value).collect(),
            requests: requests.into_iter().map(|r| r.value).collect(),
            done: keys.filter_map(|key| self.engines.job_of_key(key)).collect(),
        };
        let queue = wanted(&seen, &effective(&self.targets.borrow()));
        let by_digest = |module: Stored<ModuleVersion>| Some((module.value.digest.parse().ok()?, module));
        self.modules = seen.modules.into_iter().filter_map(by_digest).collect();
        self.metrics.task_succeeded(TASK);
        Ok(queue)
    }

    fn start(&self, queue: Vec<Job>, running: &mut Running, busy: &mut BTreeSet<Job>) {
        let mut underway = busy.clone();
        for job in queue {
            underway.insert(job);
            let free = running.len() < self.workshop.limits.parallel && self.paused_until.is_none();
            if free && busy.insert(job) {
                tracing::debug!(source = %job.source, target = %job.target, "compiling");
                let workshop = self.workshop.clone();
                running.push(async move { (job, job::run(&workshop, job).await) }.boxed());
            }
        }
        self.metrics.compile_queue(underway.len());
        self.underway.send_if_modified(|shown| {
            let changed = **shown != underway;
            if changed {
                *shown = Arc::new(underway);
            }
            changed
        });
    }

    async fn finish(&mut self, job: Job, outcome: Outcome) {
        let Some(module) = self.modules.get(&job.source).cloned() else { return };
        let recorded = match outcome {
            Outcome::Compiled { artifact, size_bytes, took } => {
                self.record_artifact(job, &module, artifact, size_bytes, took).await
            }
            Outcome::Failed(reason) => self.record_failure(job, &module, reason).await,
            Outcome::Retry(reason) => {
                tracing::warn!(module = %name(&module.value), target = %job.target, "could not compile, trying again: {reason}");
                self.pause();
                return;
            }
        };
        match recorded {
            Ok(()) => self.backoff.reset(),
            // The module was removed meanwhile: the next look does not want it any more.
            Err(NotRecorded::Store(StoreError::Conflict { .. })) => {}
            Err(error) => {
                tracing::warn!("could not record a compilation, compiling again: {}", Chain(&error));
                self.pause();
            }
        }
    }

    async fn record_artifact(
        &self,
        job: Job,
        module: &Stored<ModuleVersion>,
        artifact: Digest,
        size_bytes: u64,
        took: Duration,
    ) -> Result<(), NotRecorded> {
        let engine = littoral_engine::fingerprint(job.target);
        let statement = ArtifactStatement {
            source_digest: job.source.to_string(),
            artifact_digest: artifact.to_string(),
            artifact_size_bytes: size_bytes,
            target: job.target.to_string(),
            engine: engine.clone(),
            kind: module.value.kind,
        };
        let envelope = self.signer.sign_artifact(&statement).encode_to_vec();
        let statement_digest = self.workshop.blobs.put(envelope.into()).await?;
        let record = Artifact {
            source_digest: statement.source_digest,
            target: statement.target,
            engine,
            digest: statement.artifact_digest,
            size_bytes,
            statement_digest: statement_digest.to_string(),
            compiled_at_ms: clock::now().as_millis(),
            compile_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        };
        let failure = key::compile_failure(&record.source_digest, &record.engine, &record.target);
        self.store.commit(concerning(job, module).write(&record).delete(failure)).await?;
        self.metrics.compiled(job.target, took);
        let message = format!("for {} in {} ms, {size_bytes} bytes", job.target, record.compile_ms);
        self.events.record(format!("module/{}", name(&module.value)), "Compiled", message);
        Ok(())
    }

    async fn record_failure(
        &self,
        job: Job,
        module: &Stored<ModuleVersion>,
        reason: String,
    ) -> Result<(), NotRecorded> {
        let record = CompileFailure {
            source_digest: job.source.to_string(),
            target: job.target.to_string(),
            engine: littoral_engine::fingerprint(job.target),
            message: reason,
            failed_at_ms: clock::now().as_millis(),
        };
        self.store.commit(concerning(job, module).write(&record)).await?;
        self.metrics.compile_failed(job.target);
        let subject = format!("module/{}", name(&module.value));
        tracing::warn!(%subject, target = %job.target, "compilation failed: {}", record.message);
        self.events.record(subject, "CompileFailed", format!("for {}: {}", job.target, record.message));
        Ok(())
    }

    fn pause(&mut self) {
        self.paused_until = Some(Instant::now() + self.backoff.next(random::number()));
    }
}

#[derive(Debug, thiserror::Error)]
enum NotRecorded {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Blob(#[from] BlobError),
}

/// The start of a transaction about a job: only while its module is registered. A request for it is done with it.
fn concerning(job: Job, module: &Stored<ModuleVersion>) -> Txn {
    Txn::new()
        .revision(key::module(&module.value.name, &module.value.version), module.revision)
        .delete(key::compile_request(&job.source.to_string(), &job.target.to_string()))
}

/// Fingerprints, computed once: they are compared with the key of every artifact.
struct Engines(Vec<(MemoryClass, String)>);

impl Engines {
    fn today() -> Self {
        let of = |memory| (memory, littoral_engine::fingerprint(littoral_engine::host_target(memory)));
        Self([MemoryClass::Wide, MemoryClass::Narrow].map(of).into())
    }

    /// The job that a key of an artifact or a failure is about; `None` when another engine made it.
    fn job_of_key(&self, key: &str) -> Option<Job> {
        let (_, rest) = key.split_once('/')?;
        let mut parts = rest.split('/');
        let (source, engine, target) = (parts.next()?, parts.next()?, parts.next()?);
        let job = Job { source: format!("sha256:{source}").parse().ok()?, target: target.parse().ok()? };
        self.0.iter().any(|(memory, today)| *memory == job.target.memory && today == engine).then_some(job)
    }
}

fn name(module: &ModuleVersion) -> String {
    format!("{}@{}", module.name, module.version)
}

impl std::fmt::Debug for Compiler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Compiler").field("workshop", &self.workshop).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parts").field("limits", &self.limits).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
