//! How the programs of the fleet are called.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::child::Program;
use super::ports::{Ports, loopback};
use super::state::StateDir;
use crate::children;

/// Shorter than what a fleet that stops waits for an agent.
const DRAIN: &str = "10s";
pub(super) const CONTROL_PLANE: &str = "littorald";

/// This program, as what it starts.
#[derive(Clone, Debug)]
pub(super) struct Programs {
    pub(super) executable: OsString,
    pub(super) ports: Ports,
}

impl Programs {
    pub(super) fn control_plane(&self, state: &StateDir) -> Program {
        let mut args = vec![children::LITTORALD.into()];
        flag(&mut args, "--data-dir", state.control_plane());
        flag(&mut args, "--listen", loopback(self.ports.grpc).to_string());
        flag(&mut args, "--http", loopback(self.ports.control_http).to_string());
        flag(&mut args, "--advertise", "127.0.0.1");
        flag(&mut args, "--cluster", "dev");
        self.program(CONTROL_PLANE.into(), args)
    }

    /// Ends when agent k has joined.
    pub(super) fn join(&self, state: &StateDir, k: u16, token_file: &Path) -> Program {
        let mut args = vec![children::AGENT.into(), "join".into()];
        flag(&mut args, "--data-dir", state.agent(k));
        flag(&mut args, "--server", self.ports.server());
        flag(&mut args, "--token-file", token_file);
        flag(&mut args, "--name", agent_name(k));
        self.program(format!("{}-join", agent_name(k)), args)
    }

    pub(super) fn agent(&self, state: &StateDir, k: u16) -> Program {
        let ports = self.ports.agents[usize::from(k) - 1];
        let mut args = vec![children::AGENT.into(), "run".into()];
        flag(&mut args, "--data-dir", state.agent(k));
        // Where it is now: an earlier run may have had other ports.
        flag(&mut args, "--server", self.ports.server());
        flag(&mut args, "--http", loopback(ports.http).to_string());
        flag(&mut args, "--admin", loopback(ports.metrics).to_string());
        flag(&mut args, "--drain-timeout", DRAIN);
        self.program(agent_name(k), args)
    }

    fn program(&self, name: String, args: Vec<OsString>) -> Program {
        Program { name, executable: self.executable.clone(), args }
    }
}

fn flag(args: &mut Vec<OsString>, name: &str, value: impl Into<OsString>) {
    args.push(name.into());
    args.push(value.into());
}

/// Of agent k, from 1.
pub(super) fn agent_name(k: u16) -> String {
    format!("node-{k}")
}

/// What the control plane writes for its operator.
pub(super) fn credential(state: &StateDir) -> PathBuf {
    state.control_plane().join("operator.toml")
}

/// An earlier run let it join.
pub(super) fn has_joined(state: &StateDir, k: u16) -> bool {
    state.agent(k).join("node.json").exists()
}
