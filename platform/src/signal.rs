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
    use std::task::Poll;

    use rustix::process::{Signal, getpid, kill_process};

    use super::*;

    #[tokio::test]
    async fn the_first_signal_completes_with_its_name() {
        let mut waiting = Box::pin(shutdown_signal());
        // The first poll installs the handlers: a signal before it would end the test process.
        assert!(matches!(futures::poll!(&mut waiting), Poll::Pending));
        kill_process(getpid(), Signal::TERM).unwrap();
        assert_eq!(waiting.await.unwrap(), "SIGTERM");
    }
}
