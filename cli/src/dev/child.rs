//! One child process of the fleet.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use littoral_platform::tasks::Tasks;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::net::unix::pipe;
use tokio::process::Command;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::log::{LogFile, Tail, copy};
use crate::children::PARENT;
use crate::errors::{Failure, Result};

/// A pipe is read in microseconds.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// How to start a child.
#[derive(Clone, Debug)]
pub(super) struct Program {
    /// For people, and for the name of its log.
    pub(super) name: String,
    pub(super) executable: OsString,
    pub(super) args: Vec<OsString>,
}

/// A child that was started and not yet waited for.
#[derive(Debug)]
pub(super) struct Child {
    process: tokio::process::Child,
    pid: Pid,
    pub(super) started: Instant,
    pub(super) tail: Tail,
    /// Cancelled when all that it said has been read.
    silent: CancellationToken,
}

/// Where the words of children go.
#[derive(Clone, Debug)]
pub(super) struct Words {
    pub(super) tasks: Tasks,
    /// To stderr as well.
    pub(super) echo: bool,
}

impl Program {
    /// Starts it in a process group of its own: a Ctrl-C on the terminal reaches `dev` alone, which stops its
    /// children in order.
    ///
    /// # Errors
    /// When the process cannot be started or its log not be written.
    pub(super) fn start(&self, log: &Path, words: &Words) -> Result<Child> {
        let failed = |error: io::Error| Failure::caused(format!("start {}", self.name), &error);
        let file = LogFile::open(log).map_err(failed)?;
        let (reader, writer) = io::pipe().map_err(failed)?;
        let reader = pipe::Receiver::from_owned_fd(OwnedFd::from(reader)).map_err(failed)?;
        let mut command = Command::new(&self.executable);
        command
            .args(&self.args)
            .stdin(Stdio::null())
            .stdout(writer.try_clone().map_err(failed)?)
            .stderr(writer)
            .process_group(0)
            .kill_on_drop(true);
        for (name, _) in std::env::vars_os().filter(|(name, _)| is_ours(name)) {
            command.env_remove(name);
        }
        command.env(PARENT, std::process::id().to_string());
        let process = command.spawn().map_err(failed)?;
        // The command holds the pipe's other ends: without them the pipe ends with the last child.
        drop(command);
        let pid = process.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        let pid = pid.ok_or_else(|| failed(io::Error::other("it has no process id")))?;
        let tail = Tail::default();
        let prefix = words.echo.then(|| format!("{:>10} |", self.name));
        let (silent, kept) = (CancellationToken::new(), tail.clone());
        let at_the_end = silent.clone().drop_guard();
        words.tasks.spawn(format!("log of {}", self.name), async move {
            let _at_the_end = at_the_end;
            copy(reader, file, kept, prefix).await
        });
        Ok(Child { process, pid, started: Instant::now(), tail, silent })
    }
}

/// Settings of the operator's command are not meant for its children; how much to log is.
fn is_ours(name: &std::ffi::OsStr) -> bool {
    let name = name.to_string_lossy();
    name.starts_with("LITTORAL_") && !name.starts_with("LITTORAL_LOG")
}

impl Child {
    /// Waits for its end. May be dropped and called again.
    pub(super) async fn ended(&mut self) -> io::Result<ExitStatus> {
        let status = self.process.wait().await;
        // Whatever it left behind ends with it.
        self.kill();
        // What it said last may still be in the pipe; what others hold open is not waited for.
        let _ = tokio::time::timeout(LAST_WORDS, self.silent.cancelled()).await;
        status
    }

    /// Asks it to end.
    pub(super) fn terminate(&self) {
        // It may be gone already.
        let _ = kill_process(self.pid, Signal::TERM);
    }

    /// Ends it and its own children at once.
    pub(super) fn kill(&self) {
        let _ = kill_process_group(self.pid, Signal::KILL);
    }

    /// Asks it to end, and ends it when it has not in time; false in that case.
    pub(super) async fn stop(&mut self, patience: Duration) -> bool {
        self.terminate();
        let polite = tokio::time::timeout(patience, self.ended()).await.is_ok();
        if !polite {
            self.kill();
            // After SIGKILL this takes no time worth a deadline.
            let _ = self.process.wait().await;
        }
        polite
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().cast_unsigned()
    }
}

/// `exit code 1`, `signal 9`.
pub(super) fn how(status: &io::Result<ExitStatus>) -> String {
    use std::os::unix::process::ExitStatusExt;
    match status {
        Ok(status) => match (status.code(), status.signal()) {
            (Some(code), _) => format!("exit code {code}"),
            (None, Some(signal)) => format!("signal {signal}"),
            (None, None) => "no known reason".into(),
        },
        Err(error) => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Program {
        Program { name: "test".into(), executable: "/bin/sh".into(), args: vec!["-c".into(), script.into()] }
    }

    fn words() -> Words {
        Words { tasks: Tasks::new(), echo: false }
    }

    #[tokio::test]
    async fn words_are_kept_and_the_end_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let (log, words) = (dir.path().join("a.log"), words());
        let mut child = shell("echo out; echo err >&2; exit 3").start(&log, &words).unwrap();
        assert_eq!(how(&child.ended().await), "exit code 3");
        assert_eq!(child.tail.lines(), ["out", "err"]);
        assert_eq!(std::fs::read(&log).unwrap(), b"out\nerr\n");
    }

    #[tokio::test]
    async fn a_polite_child_ends_when_asked_and_a_deaf_one_is_killed() {
        let dir = tempfile::tempdir().unwrap();
        let words = words();
        let mut polite = shell("exec sleep 1000").start(&dir.path().join("a.log"), &words).unwrap();
        assert!(polite.stop(Duration::from_secs(5)).await);
        let mut deaf = shell("trap '' TERM; echo ready; while :; do sleep 1; done")
            .start(&dir.path().join("b.log"), &words)
            .unwrap();
        while deaf.tail.lines().is_empty() {
            tokio::task::yield_now().await;
        }
        assert!(!deaf.stop(Duration::from_millis(50)).await);
        // Its own children died with it: the pipe has no writer left.
        words.tasks.shutdown(Duration::from_secs(5)).await.unwrap();
    }

    #[test]
    fn children_inherit_how_much_to_log_and_no_other_setting() {
        for (name, ours) in [
            ("LITTORAL_SERVER", true),
            ("LITTORAL_LOG", false),
            ("LITTORAL_LOG_FORMAT", false),
            ("PATH", false),
        ] {
            assert_eq!(is_ours(name.as_ref()), ours, "{name}");
        }
    }
}
