use std::time::Duration;

use crate::Shell;
use crate::commands::function;
use crate::connection::Connection;
use crate::errors::{Exit, Failure, Result};
use crate::output::units;
use crate::progress::Progress;
use crate::views::function::FunctionView;

/// A function is usually there within a second.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Waits until each function runs, with its revision, wherever it should.
///
/// # Errors
/// `RolloutFailed` when it was sent back, `TimedOut` when time is up, `Conflict` when somebody applied another
/// revision meanwhile.
pub(crate) async fn until_running<'a>(
    shell: &Shell,
    connection: &Connection,
    wanted: impl Iterator<Item = (&'a str, u64)>,
    patience: Duration,
) -> Result<()> {
    let deadline = tokio::time::Instant::now() + patience;
    for (name, revision) in wanted {
        let mut progress = Progress::waiting(shell.output, &format!("function/{name}: waiting"));
        loop {
            let seen = function::fetch(connection, name).await?.function;
            match judge(&seen, revision) {
                Verdict::Running => break,
                Verdict::Failed(failure) => return Err(failure),
                Verdict::Waiting(how) => progress.now(&how),
            }
            if tokio::time::Instant::now() + LOOK_EVERY > deadline {
                return Err(late(&seen, patience));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        drop(progress);
        shell.output.note(&format!("function/{name} is running"));
    }
    Ok(())
}

#[derive(Debug, PartialEq)]
enum Verdict {
    Running,
    Waiting(String),
    Failed(Failure),
}

fn judge(seen: &FunctionView, revision: u64) -> Verdict {
    let name = &seen.name;
    if seen.revision > revision {
        let message = format!("function/{name}: somebody applied revision {} meanwhile", seen.revision);
        let hint = format!("look at it: littoral function describe {name}");
        return Verdict::Failed(Failure::new(Exit::Conflict, message).hint(hint));
    }
    match seen.rollout {
        "Aborted" => {
            let mut failure = Failure::new(
                Exit::RolloutFailed,
                format!("function/{name}: revision {revision} was sent back: {}", seen.rollout_message),
            );
            failure.details.clone_from(&seen.waiting);
            Verdict::Failed(
                failure.hint(format!("see what each node says: littoral function describe {name}")),
            )
        }
        "Succeeded" if seen.running == seen.wanted => Verdict::Running,
        _ => {
            let why = seen.waiting.first().map(|why| format!(": {why}")).unwrap_or_default();
            let ready = format!("{} of {} running", seen.running, units::count(seen.wanted.into(), "node"));
            Verdict::Waiting(format!("function/{name}: {ready}{why}"))
        }
    }
}

fn late(seen: &FunctionView, patience: Duration) -> Failure {
    let message = format!(
        "function/{}: {} of {} nodes run it after {patience:?}; it goes on",
        seen.name, seen.running, seen.wanted
    );
    let mut failure = Failure::new(Exit::TimedOut, message);
    failure.details.clone_from(&seen.waiting);
    failure.hint(format!("watch it: littoral function describe {}", seen.name))
}

#[cfg(test)]
mod tests {
    use littoral_proto::v1::RolloutState;

    use super::*;
    use crate::views::function::tests::function;

    #[test]
    fn running_everywhere_after_a_rollout_that_succeeded() {
        assert_eq!(judge(&function(3).into(), 3), Verdict::Running);
        let mut short = function(2);
        short.waiting = vec!["shop-3 is unreachable".into()];
        let how = "function/hello: 2 of 3 nodes running: shop-3 is unreachable";
        assert_eq!(judge(&short.into(), 3), Verdict::Waiting(how.into()));
        let mut rolling = function(3);
        rolling.rollout = RolloutState::Progressing.into();
        assert!(matches!(judge(&rolling.into(), 3), Verdict::Waiting(_)));
    }

    #[test]
    fn an_aborted_rollout_and_a_newer_revision_end_the_wait() {
        let mut aborted = function(2);
        aborted.rollout = RolloutState::Aborted.into();
        let Verdict::Failed(failure) = judge(&aborted.into(), 3) else { panic!() };
        assert_eq!(failure.exit, Exit::RolloutFailed);
        let Verdict::Failed(failure) = judge(&function(3).into(), 2) else { panic!() };
        assert_eq!(failure.exit, Exit::Conflict);
        assert_eq!(late(&function(2).into(), Duration::from_secs(5)).exit, Exit::TimedOut);
    }
}
