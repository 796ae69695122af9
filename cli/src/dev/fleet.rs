//! The processes of the fleet: who runs, who is started again, and in which order they stop.

use std::io;
use std::process::ExitStatus;
use std::time::Duration;

use futures::future::{join_all, select_all};
use littoral_platform::backoff::Backoff;
use littoral_platform::random;
use tokio::time::Instant;

use super::child::{Child, Program, Words, how};
use super::programs::Programs;
use super::signals::Signals;
use super::state::StateDir;
use crate::errors::{Failure, Result};
use crate::output::Output;

/// An agent that dies at once is started again after a moment, then less and less often.
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(10));
/// Who ran this long was well: the next wait is short again.
const WELL_AFTER: Duration = Duration::from_secs(30);
/// A control plane that dies twice in this time will not get better by itself.
const CONTROL_PLANE_WINDOW: Duration = Duration::from_secs(10);
/// Requests under way may end: longer than a program's own deadlines for its shutdown.
const STOP_PATIENCE: Duration = Duration::from_secs(15);
/// What is killed is gone in an instant; its last words are on their way.
const WORDS_PATIENCE: Duration = Duration::from_secs(2);

pub(super) struct Fleet {
    pub(super) state: StateDir,
    pub(super) programs: Programs,
    pub(super) words: Words,
    pub(super) output: Output,
    /// The control plane first, then the agents.
    members: Vec<Member>,
}

/// A program that should run.
struct Member {
    program: Program,
    /// The control plane's deaths are counted.
    died: Option<Instant>,
    is_control_plane: bool,
    backoff: Backoff,
    child: Running,
}

enum Running {
    Child(Box<Child>),
    /// To be started again then.
    Waiting(Instant),
}

/// What a look at the members found.
enum Found {
    Ended(usize, io::Result<ExitStatus>),
    Due(usize),
}

impl Fleet {
    pub(super) fn new(state: StateDir, programs: Programs, words: Words, output: Output) -> Self {
        Self { state, programs, words, output, members: Vec::new() }
    }

    /// Starts the control plane. The first member.
    pub(super) fn start_control_plane(&mut self) -> Result<()> {
        let program = self.programs.control_plane(&self.state);
        self.start(program, true)
    }

    /// Starts agent k, from 1.
    pub(super) fn start_agent(&mut self, k: u16) -> Result<()> {
        let program = self.programs.agent(&self.state, k);
        self.start(program, false)
    }

    fn start(&mut self, program: Program, is_control_plane: bool) -> Result<()> {
        let child = self.spawn(&program)?;
        let child = Running::Child(Box::new(child));
        self.members.push(Member { program, died: None, is_control_plane, backoff: BACKOFF, child });
        Ok(())
    }

    fn spawn(&self, program: &Program) -> Result<Child> {
        let child = program.start(&self.state.log(&program.name), &self.words)?;
        self.output.detail(&format!("{}: process {}", program.name, child.pid()));
        Ok(child)
    }

    /// Runs a program to its end, as a step of the start.
    ///
    /// # Errors
    /// With its last words when it fails, and when `patience` is over.
    pub(super) async fn run_to_end(&self, program: &Program, patience: Duration) -> Result<()> {
        let mut child = self.spawn(program)?;
        match tokio::time::timeout(patience, child.ended()).await {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(status) => Err(self.obituary(program, &child, &how(&status))),
            Err(_) => {
                child.kill();
                Err(self.obituary(program, &child, &format!("no end after {patience:?}")))
            }
        }
    }

    /// Watches over all members and starts again who dies. Ends only with an error. May be dropped and called again.
    pub(super) async fn watch(&mut self) -> Result<std::convert::Infallible> {
        loop {
            match self.look().await {
                Found::Ended(index, status) => self.bury(index, &how(&status))?,
                Found::Due(index) => self.start_again(index)?,
            }
        }
    }

    /// Waits for the first death or for the first restart that is due.
    async fn look(&mut self) -> Found {
        let waits = self.members.iter_mut().enumerate().map(|(index, member)| {
            Box::pin(async move {
                match &mut member.child {
                    Running::Child(child) => Found::Ended(index, child.ended().await),
                    Running::Waiting(until) => {
                        tokio::time::sleep_until(*until).await;
                        Found::Due(index)
                    }
                }
            })
        });
        select_all(waits).await.0
    }

    fn bury(&mut self, index: usize, how: &str) -> Result<()> {
        let member = &mut self.members[index];
        let Running::Child(child) = &member.child else { return Ok(()) };
        let obituary = obituary(&member.program, child, how, &self.state);
        let now = Instant::now();
        let again_too_soon = member.died.is_some_and(|died| now - died < CONTROL_PLANE_WINDOW);
        if member.is_control_plane && again_too_soon {
            return Err(obituary.hint("it died twice in ten seconds: its log has the cause"));
        }
        if now - child.started > WELL_AFTER {
            member.backoff.reset();
        }
        let wait = member.backoff.next(random::number());
        member.died = Some(now);
        member.child = Running::Waiting(now + wait);
        crate::output::say(obituary.render().trim_end());
        self.output.note(&format!("{}: starting it again", member.program.name));
        Ok(())
    }

    fn start_again(&mut self, index: usize) -> Result<()> {
        let child = self.spawn(&self.members[index].program)?;
        self.members[index].child = Running::Child(Box::new(child));
        Ok(())
    }

    fn obituary(&self, program: &Program, child: &Child, how: &str) -> Failure {
        obituary(program, child, how, &self.state)
    }

    /// Stops the agents, which let their requests end, and then the control plane. A second signal kills all.
    pub(super) async fn stop(&mut self, signals: &mut Signals) {
        let output = self.output;
        let (control_plane, agents): (Vec<&mut Member>, Vec<&mut Member>) =
            self.members.iter_mut().partition(|member| member.is_control_plane);
        let in_order = async move {
            join_all(agents.into_iter().map(|member| member.stop(output))).await;
            join_all(control_plane.into_iter().map(|member| member.stop(output))).await;
        };
        let killed = tokio::select! {
            () = in_order => false,
            signal = signals.next() => {
                output.note(&format!("{signal} again: killing what is left"));
                true
            }
        };
        if killed {
            self.kill();
        }
        if let Err(unfinished) = self.words.tasks.shutdown(WORDS_PATIENCE).await {
            output.detail(&unfinished.to_string());
        }
        output.note("stopped");
    }

    fn kill(&self) {
        for member in &self.members {
            if let Running::Child(child) = &member.child {
                child.kill();
            }
        }
    }
}

impl Member {
    async fn stop(&mut self, output: Output) {
        let Running::Child(child) = &mut self.child else { return };
        if !child.stop(STOP_PATIENCE).await {
            output.note(&format!("{} did not stop in {STOP_PATIENCE:?} and was killed", self.program.name));
        }
    }
}

/// Reports a death with the last words.
fn obituary(program: &Program, child: &Child, how: &str, state: &StateDir) -> Failure {
    let log = state.log(&program.name);
    let mut failure = Failure::error(format!("{} ended: {how}", program.name));
    failure.details = child.tail.lines();
    failure.hint(format!("all it said is in {}", log.display()))
}

#[cfg(test)]
mod tests {
    use littoral_platform::tasks::Tasks;

    use super::super::ports::Ports;
    use super::*;
    use crate::output::Format;

    fn fleet(dir: &std::path::Path) -> Fleet {
        let programs = Programs { executable: "/bin/sh".into(), ports: Ports::fixed(None, 1).unwrap() };
        let words = Words { tasks: Tasks::new(), echo: false };
        let output = Output::new(Format::Table, true, false);
        Fleet::new(StateDir::open(dir).unwrap(), programs, words, output)
    }

    fn shell(name: &str, script: String) -> Program {
        Program { name: name.into(), executable: "/bin/sh".into(), args: vec!["-c".into(), script.into()] }
    }

    #[tokio::test]
    async fn a_control_plane_that_dies_twice_ends_it_with_its_last_words() {
        let dir = tempfile::tempdir().unwrap();
        let mut fleet = fleet(dir.path());
        fleet.start(shell("littorald", "echo disk is gone; exit 4".into()), true).unwrap();
        let Err(failure) = fleet.watch().await;
        assert_eq!(failure.message, "littorald ended: exit code 4");
        assert_eq!(failure.details.last().unwrap(), "disk is gone");
        let log = std::fs::read_to_string(fleet.state.log("littorald")).unwrap();
        assert_eq!(log, "disk is gone\ndisk is gone\n");
    }

    #[tokio::test]
    async fn an_agent_that_dies_is_started_again() {
        let dir = tempfile::tempdir().unwrap();
        let mut fleet = fleet(dir.path());
        let mark = dir.path().join("died");
        let script =
            format!("test -e {0} && echo again && exec sleep 1000; touch {0}; exit 1", mark.display());
        fleet.start(shell("node-1", script), false).unwrap();
        let again = async {
            let log = dir.path().join("log").join("node-1.log");
            while std::fs::read(&log).unwrap_or_default() != b"again\n" {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::select! {
            _ = fleet.watch() => panic!("agents do not end a fleet"),
            () = again => {}
        }
        let Running::Child(child) = &fleet.members[0].child else { panic!("it waits") };
        let pid = child.pid();
        fleet.stop(&mut Signals::install().unwrap()).await;
        assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
    }

    #[tokio::test]
    async fn a_step_that_fails_says_why() {
        let dir = tempfile::tempdir().unwrap();
        let fleet = fleet(dir.path());
        let patience = Duration::from_secs(10);
        fleet.run_to_end(&shell("join", "true".into()), patience).await.unwrap();
        let failed = fleet.run_to_end(&shell("join", "exit 2".into()), patience).await.unwrap_err();
        assert_eq!(failed.message, "join ended: exit code 2");
        let program = shell("join", "exec sleep 1000".into());
        let late = fleet.run_to_end(&program, Duration::from_millis(20)).await.unwrap_err();
        assert!(late.message.contains("no end after"), "{late}");
    }
}
