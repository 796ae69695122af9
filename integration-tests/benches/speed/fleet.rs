//! A control plane and nodes, as release programs on loopback.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::Bench;
use crate::http;
use crate::process::{self, Program, free_port, output, wait_until};

pub(crate) struct Fleet {
    pub(crate) littorald: Program,
    pub(crate) agents: Vec<Agent>,
    programs: PathBuf,
    dir: PathBuf,
    grpc: u16,
}

pub(crate) struct Agent {
    pub(crate) program: Program,
    pub(crate) dir: PathBuf,
    pub(crate) http: SocketAddr,
}

impl Fleet {
    /// In a new folder; so many nodes, all of them Ready.
    pub(crate) fn start(bench: &Bench, name: &str, nodes: usize) -> Result<Self> {
        let dir = bench.work.path().join(name);
        std::fs::create_dir(&dir)?;
        let (grpc, web) = (free_port()?, loopback(free_port()?));
        let mut command = clean(&bench.program("littorald"));
        command.args(["--listen", &loopback(grpc).to_string(), "--http", &web.to_string()]);
        command.args(["--advertise", "127.0.0.1", "--data-dir"]).arg(dir.join("control"));
        let mut littorald = Program::start("littorald", command, &dir.join("littorald.log"))?;
        littorald.wait_until("readiness", || http::is_ok(web, "localhost", "/readyz", ""))?;
        let programs = bench.settings.programs.clone();
        let mut fleet = Self { littorald, agents: Vec::new(), programs, dir, grpc };
        let operator = fleet.dir.join("control/operator.toml");
        fleet.cli(["context", "add", "bench", "--from", &operator.to_string_lossy()])?;
        for index in 1..=nodes {
            fleet.add_agent(&format!("n{index}"))?;
        }
        wait_until("nodes being ready", || {
            let list = fleet.json(["node", "list"])?;
            let ready = |node: &&Value| node["availability"] == "Ready";
            Ok(list.as_array().is_some_and(|nodes| nodes.iter().filter(ready).count() == fleet.agents.len()))
        })?;
        Ok(fleet)
    }

    fn add_agent(&mut self, name: &str) -> Result<()> {
        let token = self.cli(["token", "create", "-o", "name"])?;
        let token_file = self.write(&format!("{name}.token"), token.trim())?;
        let (dir, agent) = (self.dir.join(name), self.programs.join("littoral-agent"));
        let mut join = clean(&agent);
        join.args(["join", "--server", &self.server(), "--name", name, "--token-file"]).arg(token_file);
        output(join.arg("--data-dir").arg(&dir))?;
        let (http, admin) = (loopback(free_port()?), loopback(free_port()?));
        let mut run = clean(&agent);
        run.args(["run", "--http", &http.to_string(), "--admin", &admin.to_string(), "--data-dir"]).arg(&dir);
        let program = Program::start(name, run, &self.dir.join(format!("{name}.log")))?;
        self.agents.push(Agent { program, dir, http });
        Ok(())
    }

    pub(crate) fn server(&self) -> String {
        format!("https://127.0.0.1:{}", self.grpc)
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> Result<PathBuf> {
        let path = self.dir.join(name);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        std::fs::write(&path, content).with_context(|| format!("could not write {}", path.display()))?;
        Ok(path)
    }

    /// Runs the operator's command.
    pub(crate) fn cli<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Result<String> {
        let mut command = clean(&self.programs.join("littoral"));
        command.env("LITTORAL_CONFIG", self.dir.join("cli/config.toml")).env("NO_COLOR", "1");
        output(command.args(args))
    }

    pub(crate) fn json<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Result<Value> {
        let text = self.cli(args.into_iter().chain(["-o", "json"]))?;
        serde_json::from_str(&text).with_context(|| format!("this is not JSON: {text}"))
    }

    /// Pushes and applies, and waits until it runs on every node.
    pub(crate) fn deploy(&self, name: &str, wasm: &[u8], trigger: &str) -> Result<()> {
        self.write(&format!("{name}.wasm"), wasm)?;
        let manifest = manifest(name, &format!("{name}.wasm"), trigger);
        let manifest = self.write(&format!("{name}.toml"), manifest)?;
        self.cli(["apply", "-f", &manifest.to_string_lossy(), "--wait"])?;
        Ok(())
    }
}

impl Agent {
    /// The process that runs guests.
    pub(crate) fn worker(&self) -> Result<u32> {
        process::children(self.program.pid())?.first().copied().context("the agent has no worker")
    }
}

/// A function on every node. `module` is a file beside the manifest, or NAME@VERSION.
pub(crate) fn manifest(name: &str, module: &str, trigger: &str) -> String {
    format!(
        "[function]\nname = \"{name}\"\nmodule = \"{module}\"\n{trigger}\n[placement]\nreplicas = \"every\"\n"
    )
}

/// Answers all paths of a host.
pub(crate) fn trigger(host: &str) -> String {
    format!("[[trigger.http]]\nhost = \"{host}\"\npath = \"/*\"")
}

pub(crate) fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// A program without this shell's own settings.
fn clean(program: &Path) -> Command {
    let mut command = Command::new(program);
    for (key, _) in std::env::vars_os().filter(|(key, _)| key.to_string_lossy().starts_with("LITTORAL_")) {
        command.env_remove(key);
    }
    command
}
