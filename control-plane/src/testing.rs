//! Parts of a control plane, for tests.

use std::collections::BTreeSet;
use std::sync::Arc;

use littoral_model::target::Target;
use littoral_platform::identity::KeyAndCsr;
use littoral_platform::spiffe::SpiffeId;
use littoral_proto::v1::Role;
use prometheus_client::metrics::counter::Counter;
use tokio::sync::watch;

use crate::audit::Audit;
use crate::blobs::Blobs;
use crate::compiler::{Compiler, Parts};
use crate::config::Config;
use crate::events::Events;
use crate::metrics::ControlMetrics;
use crate::pki::Pki;
use crate::principal::{Caller, Principal};
use crate::shared::ChildCommand;
use crate::signing::Signer;
use crate::store::{MemoryStore, Store};

/// A store, blobs and keys in a directory that goes with it.
pub(crate) struct Fixture {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) blobs: Blobs,
    pub(crate) events: Events,
    pub(crate) audit: Audit,
    pub(crate) config: Config,
    pub(crate) signer: Arc<Signer>,
    pub(crate) targets: watch::Sender<BTreeSet<Target>>,
    _dir: tempfile::TempDir,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let events = Events::new();
        std::fs::create_dir(dir.path().join("pki")).unwrap();
        Self {
            audit: Audit::new(store.clone(), events.clone()),
            blobs: Blobs::open(&dir.path().join("blobs")).unwrap(),
            config: Config { listen: "127.0.0.1:0".parse().unwrap(), ..Config::new(dir.path().to_owned()) },
            signer: Arc::new(Signer::open(&dir.path().join("pki")).unwrap()),
            targets: watch::Sender::new(["x86_64-v1-wide".parse().unwrap()].into()),
            store,
            events,
            _dir: dir,
        }
    }

    pub(crate) async fn pki(&self) -> Pki {
        let keys = self.signer.trusted_keys();
        Pki::open(&self.config, keys, self.store.clone(), self.audit.clone()).await.unwrap()
    }

    /// A compiler whose child is this shell script.
    pub(crate) fn compiler(&self, script: &str) -> (Compiler, crate::compiler::CompilerHandle) {
        Compiler::new(Parts {
            store: self.store.clone(),
            blobs: self.blobs.clone(),
            signer: self.signer.clone(),
            events: self.events.clone(),
            metrics: ControlMetrics::new(Counter::default()),
            limits: self.config.compile.clone(),
            command: shell(script),
            targets: self.targets.subscribe(),
        })
    }
}

/// A child that runs `script` and ignores the arguments of the job.
pub(crate) fn shell(script: &str) -> ChildCommand {
    ChildCommand { program: "/bin/sh".into(), args: vec!["-c".into(), script.into()] }
}

pub(crate) fn user(name: &str, role: Role) -> Principal {
    let spiffe: SpiffeId = format!("spiffe://littoral/user/{name}").parse().unwrap();
    Principal::new(Caller::User { name: name.parse().unwrap(), spiffe, role })
}

pub(crate) fn csr() -> KeyAndCsr {
    KeyAndCsr::generate().unwrap()
}
