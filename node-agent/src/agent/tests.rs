//! A whole agent against a control plane over mTLS; only the worker is a fake.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use littoral_platform::identity::KeyAndCsr;
use littoral_proto::v1::session_down::Message as Down;
use littoral_proto::v1::{
    FunctionWindow, Goodbye, Histogram, InvokeOffer, Outcome, OutcomeCount, Workload, WorkloadState,
    invoke_response,
};
use tokio::time::timeout;

use super::*;
use crate::join::{Join, JoinError, join};
use crate::local::Status;
use crate::status;
use crate::testing::control_plane::{ControlPlane, DAY};
use crate::testing::{FakeWorker, SOON};

const RUNNING: WorkloadState = WorkloadState::Running;
const FAILED: WorkloadState = WorkloadState::Failed;

/// A machine with a data directory, which can be booted again and again.
struct Machine {
    dir: tempfile::TempDir,
}

/// A running agent and its worker.
struct Booted {
    agent: Agent,
    worker: FakeWorker,
    worker_tasks: Tasks,
}

impl Machine {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn data(&self) -> DataDir {
        DataDir::at(self.dir.path().join("agent"))
    }

    async fn join(&self, control: &ControlPlane) -> Result<(), JoinError> {
        let server = control.url().parse().unwrap();
        let wish = Join { server, token: control.token(), name: None, force: false };
        join(&self.data(), wish).await.map(|_| ())
    }

    fn boot(&self) -> Booted {
        let data = self.data();
        let clock = PersistedClock::open(&data.clock()).unwrap();
        let worker_tasks = Tasks::new();
        let worker = FakeWorker::new(&worker_tasks).reading(data.cache());
        let agent = Agent::start(Parts {
            credentials: Arc::new(Credentials::load(&data, None, clock.clone()).unwrap()),
            launcher: worker.launcher(),
            memory_budget: MemoryBudget::Percent(50),
            cache_quota: 0,
            ingress_address: "here:8080".into(),
            data,
            clock,
        });
        Booted { agent: agent.unwrap(), worker, worker_tasks }
    }

    fn blob(&self, digest: &str) -> PathBuf {
        self.data().cache().join(digest.replace(':', "/"))
    }
}

impl Booted {
    /// Waits until exactly these workloads are loaded and routed.
    async fn routes(&self, workloads: &[&Workload]) {
        let wanted: BTreeSet<String> = workloads.iter().map(|w| w.spec_digest.clone()).collect();
        let mut tables = self.worker.tables.subscribe();
        let found = tables.wait_for(|tables| tables.loaded == wanted && tables.routed == wanted);
        timeout(SOON, found).await.expect("in time").unwrap();
    }

    fn status(&self) -> Status {
        status::View::of(&self.agent).status()
    }

    async fn becomes(&self, session: &str) {
        let mut link = self.agent.link.clone();
        timeout(SOON, async {
            while !self.status().session.starts_with(session) {
                link.changed().await.unwrap();
            }
        })
        .await
        .expect("in time");
    }

    async fn stop(self) {
        self.agent.draining.cancel();
        self.agent.session_tasks.shutdown(SOON).await.unwrap();
        self.agent.tasks.shutdown(SOON).await.unwrap();
        self.worker_tasks.shutdown(SOON).await.unwrap();
    }
}

/// A control plane that runs, and a machine that has joined it.
async fn joined() -> (Tasks, ControlPlane, Machine) {
    let (tasks, control, machine) = (Tasks::new(), ControlPlane::new(), Machine::new());
    control.start(&tasks).await;
    machine.join(&control).await.unwrap();
    (tasks, control, machine)
}

fn requests(count: u64) -> FunctionWindow {
    FunctionWindow {
        function: "f".into(),
        revision: 1,
        trigger: "http".into(),
        outcomes: vec![OutcomeCount { outcome: Outcome::Ok.into(), count }],
        latency: Some(Histogram {
            grouping_power: 5,
            max_value_power: 40,
            index: vec![9],
            count: vec![count],
        }),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn joins_serves_survives_a_reconnect_and_takes_the_next_revision() {
    let (tasks, control, machine) = joined().await;
    let first = control.workload("f", 1, &[1; 5000]);
    control.assign(1, vec![first.clone()]);
    let booted = machine.boot();
    let report = control.settles(1, &[RUNNING]).await;
    assert_eq!((report.workloads[0].revision, report.workloads[0].load_us), (1, 42));
    booted.routes(&[&first]).await;
    assert!(status::View::of(&booted.agent).ready().is_ok());

    tasks.shutdown(SOON).await.unwrap();
    booted.becomes("disconnected").await;
    booted.routes(&[&first]).await;
    let second = control.workload("f", 2, &[2; 5000]);
    control.assign(2, vec![second.clone()]);
    let tasks = Tasks::new();
    control.start(&tasks).await;
    control.settles(2, &[RUNNING]).await;
    booted.routes(&[&second]).await;
    assert!(control.state().sessions >= 2);
    assert_eq!(booted.status().generation, 2);
    booted.stop().await;
    tasks.shutdown(SOON).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn boots_without_a_network_from_ledger_and_cache() {
    let (tasks, control, machine) = joined().await;
    let workloads = [control.workload("f", 1, b"code of f"), control.workload("g", 1, b"code of g")];
    control.assign(1, workloads.to_vec());
    let booted = machine.boot();
    control.settles(1, &[RUNNING, RUNNING]).await;
    booted.stop().await;
    tasks.shutdown(SOON).await.unwrap();

    let booted = machine.boot();
    timeout(Duration::from_secs(1), booted.routes(&[&workloads[0], &workloads[1]]))
        .await
        .expect("in a second");
    let mut observed = booted.agent.observed.clone();
    timeout(SOON, observed.wait_for(|o| o.settled)).await.unwrap().unwrap();
    assert!(status::View::of(&booted.agent).ready().is_ok());
    booted.becomes("disconnected").await;
    booted.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_worker_gets_everything_again() {
    let (tasks, control, machine) = joined().await;
    let workload = control.workload("f", 1, b"code");
    control.assign(1, vec![workload.clone()]);
    let booted = machine.boot();
    control.settles(1, &[RUNNING]).await;
    booted.worker.kill("out of memory");
    let restarted = timeout(SOON, async {
        while booted.worker.starts() < 2 {
            tokio::task::yield_now().await;
        }
        booted.routes(&[&workload]).await;
    });
    restarted.await.expect("in time");
    // Reports follow each other quickly: the one that told it need not be the last.
    let told = || control.state().events.iter().any(|event| event.message.contains("out of memory"));
    control.reports(|_| told()).await;
    booted.stop().await;
    tasks.shutdown(SOON).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_download_goes_on_where_it_was_cut() {
    let (tasks, control, machine) = joined().await;
    let workload = control.workload("f", 1, &[3; 50_000]);
    control.state().cut_after = Some(20_000);
    control.assign(1, vec![workload.clone()]);
    let booted = machine.boot();
    control.settles(1, &[RUNNING]).await;
    let fetches = control.state().fetches.clone();
    let offsets: Vec<u64> =
        fetches.iter().filter(|(digest, _)| *digest == workload.artifact_digest).map(|(_, at)| *at).collect();
    assert_eq!(offsets, [0, 20_000]);
    booted.stop().await;
    tasks.shutdown(SOON).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_on_disk_is_quarantined_and_fetched_again() {
    let (tasks, control, machine) = joined().await;
    let workload = control.workload("f", 1, &[4; 3000]);
    control.assign(1, vec![workload.clone()]);
    let booted = machine.boot();
    control.settles(1, &[RUNNING]).await;
    booted.stop().await;

    let path = machine.blob(&workload.artifact_digest);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[1000] ^= 4;
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, bytes).unwrap();
    let booted = machine.boot();
    booted.routes(&[&workload]).await;
    assert_eq!(std::fs::read(&path).unwrap(), [4; 3000]);
    assert_eq!(std::fs::read_dir(machine.data().cache().join("quarantine")).unwrap().count(), 1);
    assert_eq!(booted.agent.metrics.verify_failures.get(), 1);
    control.reports(|report| report.settled).await;
    assert!(control.state().events.iter().any(|event| event.reason == "VerificationFailed"));
    booted.stop().await;
    tasks.shutdown(SOON).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_bad_revision_fails_alone_and_the_old_one_goes_on() {
    let (tasks, control, machine) = joined().await;
    let old = control.workload("f", 1, b"good");
    control.assign(1, vec![old.clone()]);
    let booted = machine.boot();
    control.settles(1, &[RUNNING]).await;
    let bad = control.workload("f", 2, FakeWorker::BAD);
    let other = control.workload("g", 1, b"good too");
    control.assign(2, vec![bad.clone(), other.clone()]);
    let report = control.settles(2, &[FAILED, RUNNING]).await;
    assert!(report.workloads[0].message.contains("verification failed"), "{report:?}");
    assert!(report.workloads[0].failures >= 1);
    booted.routes(&[&old, &other]).await;
    assert!(machine.blob(&bad.artifact_digest).exists(), "its bytes are right: nothing to fetch again");
    booted.stop().await;
    tasks.shutdown(SOON).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn windows_are_kept_until_they_are_acknowledged() {
    let (tasks, control, machine) = joined().await;
    control.state().deaf = true;
    let booted = machine.boot();
    booted.becomes("connected").await;
    booted.worker.count(requests(3));
    booted.agent.collector.collect().await.unwrap();
    control.reports(|report| report.windows.len() == 1).await;
    control.reports(|report| report.windows.len() == 1).await;
    assert!(booted.agent.collector.stats.backlog_bytes() > 0);

    control.state().deaf = false;
    control.reports(|report| report.windows.is_empty()).await;
    assert_eq!(booted.agent.collector.stats.backlog_bytes(), 0);
    let windows: Vec<_> = control.state().windows.values().cloned().collect();
    assert_eq!(windows.len(), 1);
    assert_eq!(windows[0].functions[0].outcomes[0].count, 3);
    let metrics = booted.agent.metrics.encode();
    assert!(metrics.contains("outcome=\"ok\"} 3"), "{metrics}");

    booted.worker.count(requests(5));
    booted.agent.collector.drained().await;
    booted.stop().await;
    assert_eq!(control.state().windows.len(), 2, "the last report carries the last window");
    tasks.shutdown(SOON).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invocation_is_handed_to_the_worker_whole_and_answered_with_the_nodes_name() {
    let (tasks, control, machine) = joined().await;
    let booted = machine.boot();
    booted.becomes("connected").await;
    for id in ["closed", "open"] {
        control.shared.answered.send_replace(vec![]);
        control.push(Down::InvokeOffer(InvokeOffer { invocation_id: id.into() }));
        let mut answered = control.shared.answered.subscribe();
        let all = timeout(SOON, answered.wait_for(|all| all.len() == 3)).await.unwrap().unwrap().clone();
        let Some(invoke_response::Part::Accepted(accepted)) = &all[0].part else { panic!("{all:?}") };
        assert_eq!((accepted.node_name.as_str(), accepted.revision), ("edge-1", 3));
        assert_eq!(accepted.node_id, control.state().node_id);
        assert_eq!(all[1].part, Some(invoke_response::Part::Stdout(b"payload".to_vec())));
        assert!(matches!(all[2].part, Some(invoke_response::Part::Finished(_))));
    }
    booted.stop().await;
    tasks.shutdown(SOON).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_node_serves_on_and_dials_no_more() {
    let (tasks, control, machine) = joined().await;
    let workload = control.workload("f", 1, b"code");
    control.assign(1, vec![workload.clone()]);
    let booted = machine.boot();
    control.settles(1, &[RUNNING]).await;
    let sessions = control.state().sessions;
    control.push(Down::Goodbye(Goodbye { reason: "stolen".into(), revoked: true }));
    booted.becomes("revoked").await;
    assert_eq!(booted.status().session_message, "stolen");
    booted.routes(&[&workload]).await;
    assert_eq!(control.state().sessions, sessions);
    booted.stop().await;
    tasks.shutdown(SOON).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_certificate_lapsed_comes_back_by_itself() {
    let (tasks, control, machine) = joined().await;
    let path = machine.data().identity();
    let id = littoral_platform::identity::Identity::load(&path).unwrap().leaf().spiffe.clone();
    let key = KeyAndCsr::generate().unwrap();
    let two_days_ago = littoral_platform::clock::now().minus(DAY * 2);
    let lapsed = control.shared.issue(&key.csr_pem(), &id, two_days_ago);
    key.into_identity(lapsed.as_bytes()).unwrap().save(&path).unwrap();

    let booted = machine.boot();
    booted.becomes("connected").await;
    assert_eq!(control.state().renewals, 1);
    assert!(booted.agent.credentials.expires_in_seconds() > 80_000);
    let stored = littoral_platform::identity::Identity::load(&path).unwrap();
    assert_eq!(stored.leaf(), booted.agent.credentials.identity().leaf());
    booted.stop().await;
    tasks.shutdown(SOON).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn joining_twice_and_used_tokens_are_refused_with_the_reason() {
    let (tasks, control, machine) = joined().await;
    let again = machine.join(&control).await.unwrap_err();
    assert!(matches!(again, JoinError::AlreadyJoined { .. }), "{again}");
    assert!(again.to_string().contains("--force"));
    assert_eq!(control.state().joins, 1, "nothing was asked");
    let other = Machine::new();
    let used = other.join(&control).await.unwrap_err();
    assert!(used.to_string().contains("has been used"), "{used}");
    assert!(
        Credentials::load(&other.data(), None, PersistedClock::open(&other.data().clock()).unwrap()).is_err()
    );
    tasks.shutdown(SOON).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_secret_is_never_sent_to_a_server_of_another_ca() {
    let (tasks, control) = (Tasks::new(), ControlPlane::new());
    control.start(&tasks).await;
    let machine = Machine::new();
    let token = ControlPlane::new().token();
    let wish = Join { server: control.url().parse().unwrap(), token, name: None, force: false };
    let error = join(&machine.data(), wish).await.unwrap_err();
    assert!(matches!(error, JoinError::Channel(_)), "{error}");
    assert_eq!(control.state().joins, 0);
    assert!(!machine.data().identity().exists());
    tasks.shutdown(SOON).await.unwrap();
}
