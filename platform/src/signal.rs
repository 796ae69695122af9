//! The operating system's requests to stop.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// What a shell reports for a program ended by an interrupt: 128 + SIGINT.
const EXIT_INTERRUPTED: i32 = 130;

/// Completes at the first SIGTERM or SIGINT, with its name. From then on a second one ends the process at once,
/// with code 130: whoever asks twice does not want to wait.
///
/// Handlers are installed when the returned future is first polled.
///
/// # Errors
/// When the signal handlers cannot be installed.
pub async fn shutdown_signal() -> io::Result<&'static str> {
    let mut signals =
        Signals { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? };
    let first = signals.next().await;
    exit_at_the_next(signals);
    Ok(first)
}

#[expect(clippy::disallowed_methods, reason = "it must outlive the tasks that it may have to cut short")]
fn exit_at_the_next(mut signals: Signals) {
    tokio::spawn(async move {
        let second = signals.next().await;
        tracing::warn!("{second} again: exiting now");
        std::process::exit(EXIT_INTERRUPTED);
    });
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};
    use std::time::Duration;

    use rustix::process::{Pid, Signal, kill_process};

    use super::*;

    #[test]
    fn the_first_signal_completes_and_the_second_exits_at_once() {
        // Signals are for a whole process: the part that gets them runs in a process of its own.
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "signal::tests::child", "--ignored", "--nocapture"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let pid = Pid::from_child(&child);

        assert!(lines.any(|line| line.ends_with("waiting")));
        kill_process(pid, Signal::TERM).unwrap();
        assert!(lines.any(|line| line == "stopping for SIGTERM"));
        kill_process(pid, Signal::INT).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(EXIT_INTERRUPTED));
    }

    #[tokio::test]
    #[ignore = "run by the test above, in a process of its own"]
    async fn child() {
        let mut signals = Box::pin(shutdown_signal());
        // The first poll installs the handlers: a signal before it would end the process.
        assert!(futures::poll!(&mut signals).is_pending());
        println!("waiting");
        println!("stopping for {}", signals.await.unwrap());
        tokio::time::sleep(Duration::from_secs(60)).await;
    }
}
