//! Tasks with an owner, a name, and an end.
//!
//! A `Tasks` is passed and cloned, never ambient. Ordinary tasks that fail are logged. A critical task that
//! ends before shutdown takes the whole process down, in order: a program without its listener or its planner
//! is worse than one that its supervisor restarts.

use std::any::Any;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// A task's name: what it does, for logs and for the list of those that did not end.
pub type TaskName = Cow<'static, str>;

/// What a task may end with: nothing, or an error to log.
pub trait Outcome: Send + 'static {
    /// The text of the failure, if it is one.
    fn failure(self) -> Option<String>;
}

impl Outcome for () {
    fn failure(self) -> Option<String> {
        None
    }
}

impl<E: fmt::Display + Send + 'static> Outcome for Result<(), E> {
    fn failure(self) -> Option<String> {
        self.err().map(|error| format!("{error:#}"))
    }
}

/// Owner of a program's tasks. Clones share everything.
#[derive(Clone, Debug, Default)]
pub struct Tasks {
    group: Arc<Group>,
}

#[derive(Debug, Default)]
struct Group {
    parent: Option<Tasks>,
    tracker: TaskTracker,
    token: CancellationToken,
    running: Mutex<BTreeMap<u64, TaskName>>,
    next_id: AtomicU64,
    cause: OnceLock<String>,
}

/// Tasks that were still running when the deadline of a shutdown passed.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("still running {}s after the request to stop: {}", .waited.as_secs(), .names.join(", "))]
pub struct Unfinished {
    pub waited: Duration,
    pub names: Vec<String>,
}

impl Tasks {
    pub fn new() -> Self {
        Self::default()
    }

    /// Tasks that can be shut down before the rest: a phase of the shutdown, such as "stop accepting". A stop of
    /// the whole stops them too, and waiting for the whole waits for them.
    #[must_use]
    pub fn group(&self) -> Self {
        let group = Group { parent: Some(self.clone()), token: self.child(), ..Group::default() };
        Self { group: Arc::new(group) }
    }

    /// Starts a task. A failure or a panic is logged and ends nothing else.
    pub fn spawn<F>(&self, name: impl Into<TaskName>, future: F) -> AbortHandle
    where
        F: Future<Output: Outcome> + Send + 'static,
    {
        let name = name.into();
        self.start(name.clone(), async move {
            if let Some(failure) = run(future).await {
                tracing::error!(task = %name, "task failed: {failure}");
            }
        })
    }

    /// Starts a task that the program cannot be without: when it ends before a stop was requested, in whatever
    /// manner, the whole program is asked to stop and the task is recorded as the cause.
    pub fn critical<F>(&self, name: impl Into<TaskName>, future: F) -> AbortHandle
    where
        F: Future<Output: Outcome> + Send + 'static,
    {
        let name = name.into();
        // Made here and not within the task, so that an abort before the first poll is noticed too.
        let watch =
            CriticalWatch { tasks: self.clone(), name: name.clone(), failure: "it was aborted".into() };
        self.start(name, async move {
            let failure = run(future).await;
            watch.ended(failure);
        })
    }

    /// A token for loops and connections: cancelled when these tasks are asked to stop.
    pub fn child(&self) -> CancellationToken {
        self.group.token.child_token()
    }

    /// Completes when these tasks are asked to stop.
    pub async fn cancelled(&self) {
        self.group.token.cancelled().await;
    }

    pub fn is_cancelled(&self) -> bool {
        self.group.token.is_cancelled()
    }

    /// Asks the whole program to stop; `cause` is kept when it is the first.
    pub fn request_stop(&self, cause: impl Into<String>) {
        let root = self.root();
        // Only the first cause counts: the rest are its consequences.
        let _ = root.group.cause.set(cause.into());
        root.group.token.cancel();
    }

    /// Why the program was asked to stop, once it was.
    pub fn cause(&self) -> Option<&str> {
        self.root().group.cause.get().map(String::as_str)
    }

    /// Asks these tasks to stop and waits for all of them to end.
    ///
    /// # Errors
    /// The names of those that did not end before `deadline`; they go on running.
    pub async fn shutdown(&self, deadline: Duration) -> Result<(), Unfinished> {
        self.group.token.cancel();
        self.group.tracker.close();
        if tokio::time::timeout(deadline, self.group.tracker.wait()).await.is_ok() {
            return Ok(());
        }
        let names = self.group.names().values().map(ToString::to_string).collect();
        Err(Unfinished { waited: deadline, names })
    }

    fn start(&self, name: TaskName, future: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
        let place = self.enter(&name);
        let task = async move {
            let _place = place;
            future.await;
        };
        self.group.tracker.spawn(task).abort_handle()
    }

    /// Puts a name on the list of this group and of all groups around it, until the returned place is dropped.
    fn enter(&self, name: &TaskName) -> Place {
        let id = self.group.next_id.fetch_add(1, Ordering::Relaxed);
        self.group.names().insert(id, name.clone());
        Place {
            group: Arc::clone(&self.group),
            id,
            _counted: self.group.tracker.token(),
            _outer: self.group.parent.as_ref().map(|parent| Box::new(parent.enter(name))),
        }
    }

    fn root(&self) -> &Self {
        self.group.parent.as_ref().map_or(self, Self::root)
    }
}

impl Group {
    fn names(&self) -> MutexGuard<'_, BTreeMap<u64, TaskName>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Place {
    group: Arc<Group>,
    id: u64,
    _counted: TaskTrackerToken,
    _outer: Option<Box<Place>>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.group.names().remove(&self.id);
    }
}

struct CriticalWatch {
    tasks: Tasks,
    name: TaskName,
    failure: String,
}

impl CriticalWatch {
    fn ended(mut self, failure: Option<String>) {
        self.failure = failure.unwrap_or_else(|| "it ended".into());
    }
}

impl Drop for CriticalWatch {
    fn drop(&mut self) {
        if self.tasks.is_cancelled() {
            return;
        }
        let Self { name, failure, .. } = self;
        tracing::error!(task = %name, "critical task is gone, stopping the program: {failure}");
        self.tasks.request_stop(format!("{name}: {failure}"));
    }
}

/// Runs a task to its end and returns the text of its failure or panic, if any.
async fn run(future: impl Future<Output: Outcome>) -> Option<String> {
    match AssertUnwindSafe(future).catch_unwind().await {
        Ok(outcome) => outcome.failure(),
        Err(panic) => Some(format!("panicked: {}", panic_text(panic.as_ref()))),
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&'static str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a message")
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    const SOON: Duration = Duration::from_secs(5);

    async fn panics(index: u32) {
        assert!(index > 9, "index {index}");
    }

    #[tokio::test]
    async fn a_critical_task_that_ends_stops_the_program_and_is_the_cause() {
        let tasks = Tasks::new();
        tasks.critical("listener", async { Err::<(), _>("address lost") });
        tokio::time::timeout(SOON, tasks.cancelled()).await.unwrap();
        assert_eq!(tasks.cause(), Some("listener: address lost"));
        tasks.request_stop("later");
        assert_eq!(tasks.cause(), Some("listener: address lost"));
    }

    #[tokio::test]
    async fn a_critical_task_that_panics_or_is_aborted_stops_the_program_from_within_a_group() {
        let tasks = Tasks::new();
        tasks.group().critical("planner", panics(3));
        tasks.cancelled().await;
        assert_eq!(tasks.cause(), Some("planner: panicked: index 3"));

        let tasks = Tasks::new();
        tasks.critical("world", pending::<()>()).abort();
        tasks.cancelled().await;
        assert_eq!(tasks.cause(), Some("world: it was aborted"));
    }

    #[tokio::test]
    async fn a_critical_task_that_ends_because_of_the_shutdown_is_no_cause() {
        let tasks = Tasks::new();
        let stop = tasks.child();
        tasks.critical("loop", async move { stop.cancelled().await });
        tasks.shutdown(SOON).await.unwrap();
        assert_eq!(tasks.cause(), None);
    }

    #[tokio::test]
    async fn an_ordinary_task_that_panics_stops_nothing() {
        let tasks = Tasks::new();
        let ends = tasks.child();
        tasks.spawn("request", panics(1));
        tasks.spawn("other", async move { ends.cancelled().await });
        tokio::task::yield_now().await;
        assert!(!tasks.is_cancelled());
        tasks.shutdown(SOON).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_shutdown_names_the_tasks_that_did_not_end() {
        let tasks = Tasks::new();
        let stop = tasks.child();
        tasks.spawn("polite", async move { stop.cancelled().await });
        tasks.group().spawn("deaf", pending::<()>());
        let unfinished = tasks.shutdown(Duration::from_secs(3)).await.unwrap_err();
        assert_eq!(unfinished.names, ["deaf"]);
        assert_eq!(unfinished.to_string(), "still running 3s after the request to stop: deaf");
    }

    #[tokio::test]
    async fn a_group_stops_before_the_rest() {
        let tasks = Tasks::new();
        let serving = tasks.group();
        let (rest, phase) = (tasks.child(), serving.child());
        tasks.spawn("rest", async move { rest.cancelled().await });
        serving.spawn("serving", async move { phase.cancelled().await });
        serving.shutdown(SOON).await.unwrap();
        assert!(!tasks.is_cancelled());
        assert_eq!(tasks.group.names().len(), 1);
        tasks.shutdown(SOON).await.unwrap();
    }
}
