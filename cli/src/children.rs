//! What this program is when `dev` starts it again: control plane, agent, compiler or worker.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use littoral_agent::WorkerCommand;
use littorald::{ChildCommand, ChildCommands};
use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};

use crate::errors::Exit;
use crate::output::say;

pub(crate) const LITTORALD: &str = "__littorald";
pub(crate) const AGENT: &str = "__agent";
pub(crate) const COMPILE: &str = "__compile";
pub(crate) const WORKER: &str = "__worker";

/// Process id of the parent without whom a child must not live.
pub(crate) const PARENT: &str = "LITTORAL_DEV_PARENT";

/// Runs a hidden subcommand, if `args` name one. `executable` is this program, for the children's own children.
pub(crate) fn run(args: &[OsString], executable: Option<&Path>) -> Option<ExitCode> {
    let verb = args.get(1)?.to_str()?;
    let rest = &args[2..];
    let program = executable.map(Path::to_path_buf).unwrap_or_default();
    match verb {
        LITTORALD => Some(bound_to_parent(|| control_plane(called("littorald", rest), program))),
        AGENT => Some(bound_to_parent(|| agent(called("littoral-agent", rest), program))),
        COMPILE => Some(littorald::compile_child_main(rest.to_vec())),
        WORKER => Some(agent(called("littoral-agent", &[&["worker".into()], rest].concat()), program)),
        _ => None,
    }
}

fn control_plane(args: Vec<OsString>, program: PathBuf) -> ExitCode {
    let compiler = ChildCommand { program, args: vec![COMPILE.into()] };
    littorald::run_cli(args, ChildCommands { compiler })
}

fn agent(args: Vec<OsString>, program: PathBuf) -> ExitCode {
    littoral_agent::run_cli(args, WorkerCommand { program, args: vec![WORKER.into()] })
}

/// Arguments as a program of this name gets them.
fn called(name: &str, args: &[OsString]) -> Vec<OsString> {
    std::iter::once(name.into()).chain(args.iter().cloned()).collect()
}

/// Asks the kernel for SIGTERM when `dev` dies, in whatever manner: it leaves nothing behind.
fn bound_to_parent(program: impl FnOnce() -> ExitCode) -> ExitCode {
    if let Err(error) = set_parent_process_death_signal(Some(Signal::TERM)) {
        say(&format!("error: could not ask for a signal at the parent's end: {error}"));
        return Exit::Error.into();
    }
    // It may have died before the request: then nobody sends the signal any more.
    if !is_parent(std::env::var_os(PARENT).as_deref(), getppid()) {
        say("error: `littoral dev` has ended meanwhile");
        return Exit::Error.into();
    }
    program()
}

fn is_parent(expected: Option<&OsStr>, parent: Option<Pid>) -> bool {
    let expected = expected.and_then(OsStr::to_str).and_then(|text| text.parse::<i32>().ok());
    expected.is_some() && expected == parent.map(|pid| pid.as_raw_nonzero().get())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_hidden_verbs_are_taken() {
        for args in [vec!["littoral"], vec!["littoral", "dev"], vec!["littoral", "--", "__agent"]] {
            let args: Vec<OsString> = args.into_iter().map(OsString::from).collect();
            assert!(run(&args, None).is_none());
        }
    }

    #[test]
    fn a_child_knows_its_parent() {
        let parent = getppid();
        let text = parent.unwrap().as_raw_nonzero().to_string();
        assert!(is_parent(Some(text.as_ref()), parent));
        assert!(!is_parent(Some("1x".as_ref()), parent));
        assert!(!is_parent(None, parent));
        assert!(!is_parent(Some(text.as_ref()), Pid::from_raw(text.parse::<i32>().unwrap() + 1)));
    }
}
