#[cfg(not(target_arch = "aarch64"))]
mod waits;

use littoral_platform::clock::PersistedClock;
use littoral_platform::tasks::Tasks;

use super::*;
use crate::testing::FakeWorker;

const SOON: Duration = Duration::from_secs(10);

struct Fixture {
    _dir: tempfile::TempDir,
    tasks: Tasks,
    restarts: Counter,
    events: Events,
}

impl Fixture {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = PersistedClock::open(&dir.path().join("clock")).unwrap();
        Self { _dir: dir, tasks: Tasks::new(), restarts: Counter::default(), events: Events::new(clock) }
    }

    fn supervise(&self, launcher: Launcher) -> watch::Receiver<WorkerState> {
        let start = || StartRequest { compiler_keys: vec![vec![7]], memory_budget_bytes: 5 };
        let supervisor = Supervisor::new(launcher, start, self.restarts.clone(), self.events.clone());
        let state = supervisor.subscribe();
        self.tasks.critical("supervisor", supervisor.run(CancellationToken::new(), self.tasks.child()));
        state
    }
}

async fn up(state: &mut watch::Receiver<WorkerState>, instance: u64) -> Worker {
    let wanted = |state: &WorkerState| state.as_ref().is_some_and(|w| w.instance >= instance);
    let worker = timeout(SOON, state.wait_for(wanted)).await.expect("in time").unwrap();
    worker.clone().unwrap()
}

#[tokio::test]
async fn a_worker_that_dies_is_replaced_and_told_everything_again() {
    let f = Fixture::new();
    let fake = FakeWorker::new(&f.tasks);
    let mut state = f.supervise(fake.launcher());
    let first = up(&mut state, 1).await;
    assert_eq!(first.info.target, FakeWorker::TARGET);
    fake.kill("signal: 9");
    let second = up(&mut state, 2).await;
    assert_eq!(second.instance, 2);
    assert_eq!(f.restarts.get(), 1);
    assert_eq!(fake.starts(), 2);
    let events = f.events.take(9);
    assert!(events[0].message.contains("signal: 9"), "{events:?}");
    second.restart();
    up(&mut state, 3).await;
    f.tasks.shutdown(SOON).await.unwrap();
    assert!(state.borrow().is_none());
}

#[tokio::test]
async fn a_real_process_inherits_its_two_sockets_and_dies_with_its_supervisor() {
    let f = Fixture::new();
    let ingress = Ingress::new(std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    // A shell that ends with 0 only when both descriptors are sockets and the environment announces them.
    let script = "test -S /proc/self/fd/3 -a -S /proc/self/fd/4 -a \"$LISTEN_FDS\" = 2 -a -z \"$LISTEN_PID\"";
    let command =
        WorkerCommand { program: "/bin/sh".into(), args: vec!["-c".into(), script.into(), "worker".into()] };
    let cache = f._dir.path().join("cache");
    let launched = launcher(command, &cache, ingress.clone())().unwrap();
    assert_eq!(timeout(SOON, launched.ended).await.unwrap(), "exit status: 0");

    ingress.close();
    let command = WorkerCommand { program: "/bin/true".into(), args: vec![] };
    assert!(launcher(command, &cache, ingress)().is_err(), "nothing is started while stopping");
}
