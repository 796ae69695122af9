//! A fleet of real processes on loopback, in a folder of its own.

use std::ffi::{OsStr, OsString};
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::http;
use crate::process::{Done, Program, children_of, free_port, program, wait_for};

pub struct Fleet {
    pub littorald: Program,
    pub agents: Vec<Agent>,
    pub ports: Ports,
    pub dir: TempDir,
}

#[derive(Clone, Copy)]
pub struct Ports {
    pub grpc: u16,
    pub http: u16,
}

pub struct Agent {
    pub name: String,
    pub dir: PathBuf,
    pub machine: Machine,
    pub program: Program,
    pub http: SocketAddr,
    pub admin: SocketAddr,
}

/// What runs an agent: the program, what comes before the agent's own arguments, and its environment.
#[derive(Clone)]
pub struct Machine {
    pub program: PathBuf,
    pub args: Vec<OsString>,
    pub env: Vec<(&'static str, OsString)>,
}

impl Fleet {
    /// A control plane and so many agents `n1`, `n2` …, all of them Ready.
    pub fn start(agents: usize) -> Self {
        Self::start_in(TempDir::new().unwrap(), agents)
    }

    /// The same in a folder that was prepared.
    pub fn start_in(dir: TempDir, agents: usize) -> Self {
        let ports = Ports { grpc: free_port(), http: free_port() };
        let littorald = start_littorald(dir.path(), ports);
        let mut fleet = Self { littorald, agents: Vec::new(), ports, dir };
        fleet.wait_for_control_plane();
        let operator = fleet.path("control/operator.toml");
        fleet.cli(["context", "add", "test", "--from", operator.to_str().unwrap()]).ok();
        for index in 1..=agents {
            fleet.add_agent(&format!("n{index}"), &[]);
        }
        fleet.wait_for_ready(agents);
        fleet
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    }

    pub fn server(&self) -> String {
        format!("https://127.0.0.1:{}", self.ports.grpc)
    }

    /// Runs the operator's command.
    pub fn cli<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Done {
        self.cli_with_input(args, b"")
    }

    pub fn cli_with_input<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>, input: &[u8]) -> Done {
        let mut child = self.cli_command(args).stdin(Stdio::piped()).spawn().unwrap();
        // It may end without reading its input.
        let _ = child.stdin.take().unwrap().write_all(input);
        Done::of(child.wait_with_output().unwrap())
    }

    pub fn cli_command<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = littoral(&self.path("cli"));
        command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    #[track_caller]
    pub fn json<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Value {
        let args = args.into_iter().map(|a| a.as_ref().to_owned()).chain(["-o".into(), "json".into()]);
        let text = self.cli(args).ok();
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"))
    }

    pub fn token(&self, flags: &[&str]) -> String {
        self.cli(["token", "create", "-o", "name"].iter().chain(flags)).ok().trim().to_owned()
    }

    /// Joins with a token of its own and runs.
    pub fn add_agent(&mut self, name: &str, token_flags: &[&str]) {
        let token = self.token(token_flags);
        self.join(name, &token).ok();
        self.run_agent(name);
    }

    /// The same on another kind of machine.
    pub fn add_agent_on(&mut self, name: &str, machine: Machine) {
        let token = self.token(&[]);
        self.join_on(&machine, name, &token).ok();
        self.agents.push(Agent::start(name, machine, self.dir.path(), None));
    }

    pub fn join(&self, name: &str, token: &str) -> Done {
        self.join_on(&Machine::here(), name, token)
    }

    fn join_on(&self, machine: &Machine, name: &str, token: &str) -> Done {
        let file = self.write(&format!("{name}.token"), token);
        let mut command = machine.command();
        command.args([
            "join",
            "--server",
            &self.server(),
            "--token-file",
            &file,
            "--name",
            name,
            "--data-dir",
        ]);
        Done::of(command.arg(self.path(name)).output().unwrap())
    }

    pub fn run_agent(&mut self, name: &str) {
        let agent = Agent::start(name, Machine::here(), self.dir.path(), None);
        self.agents.push(agent);
    }

    pub fn restart_littorald(&mut self) {
        self.littorald = start_littorald(self.dir.path(), self.ports);
        self.wait_for_control_plane();
    }

    pub fn wait_for_control_plane(&self) {
        let address = SocketAddr::from(([127, 0, 0, 1], self.ports.http));
        wait_for("littorald being ready", || {
            http::try_send(address, "GET", "/readyz", b"").is_ok_and(|a| a.status == 200)
        });
    }

    pub fn wait_for_ready(&self, nodes: usize) {
        wait_for("nodes being ready", || {
            let list = self.json(["node", "list"]);
            list.as_array().unwrap().iter().filter(|n| n["availability"] == "Ready").count() == nodes
        });
    }

    /// Pushes a module of the examples and applies a function of it with this manifest's tail.
    pub fn deploy_example(&self, name: &str, rest: &str) {
        let wasm = example(name);
        self.deploy(name, wasm.to_str().unwrap(), rest);
    }

    pub fn deploy(&self, name: &str, module: &str, rest: &str) {
        self.apply(name, module, rest, &["--wait", "--timeout", "60s"]).ok();
    }

    pub fn apply(&self, name: &str, module: &str, rest: &str, flags: &[&str]) -> Done {
        let manifest = format!("[function]\nname = \"{name}\"\nmodule = \"{module}\"\n{rest}\n");
        let file = self.write(&format!("{name}.toml"), manifest);
        self.cli(["apply", "-f", &file].iter().chain(flags))
    }
}

impl Machine {
    /// This one.
    pub fn here() -> Self {
        Self { program: program("it-agent"), args: Vec::new(), env: Vec::new() }
    }

    fn command(&self) -> Command {
        let mut command = clean(&self.program);
        command.args(&self.args).envs(self.env.iter().map(|(key, value)| (key, value)));
        command
    }
}

impl Agent {
    /// Starts the agent of a node that has joined; `http` keeps its address over a restart.
    pub fn start(name: &str, machine: Machine, root: &Path, http: Option<SocketAddr>) -> Self {
        let dir = root.join(name);
        let loopback = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let http = http.unwrap_or_else(|| loopback(free_port()));
        let admin = loopback(free_port());
        let mut command = machine.command();
        command
            .args(["run", "--http", &http.to_string(), "--admin", &admin.to_string(), "--data-dir"])
            .arg(&dir);
        let program = Program::start(name, command, &root.join(format!("{name}.log")));
        Self { name: name.to_owned(), dir, machine, program, http, admin }
    }

    pub fn restart(&mut self) {
        let root = self.dir.parent().unwrap().to_owned();
        *self = Self::start(&self.name, self.machine.clone(), &root, Some(self.http));
    }

    pub fn worker(&self) -> i32 {
        let mut found = None;
        wait_for("the agent's worker", || {
            found = children_of(self.program.pid()).first().copied();
            found.is_some()
        });
        found.unwrap()
    }

    pub fn wait_for_answer(&self, path: &str) -> String {
        let mut text = String::new();
        wait_for(&format!("{} answering {path}", self.name), || {
            let answer = http::try_send(self.http, "GET", path, b"");
            answer.is_ok_and(|a| {
                text = a.text();
                a.status == 200
            })
        });
        text
    }

    pub fn metrics(&self) -> String {
        http::get(self.admin, "/metrics").text()
    }
}

fn start_littorald(root: &Path, ports: Ports) -> Program {
    Program::start("littorald", littorald(&root.join("control"), ports), &root.join("littorald.log"))
}

/// A control plane on this folder and these ports.
pub fn littorald(data_dir: &Path, ports: Ports) -> Command {
    let mut command = clean(&program("it-littorald"));
    command.args([
        "--listen",
        &format!("127.0.0.1:{}", ports.grpc),
        "--http",
        &format!("127.0.0.1:{}", ports.http),
    ]);
    command.args(["--advertise", "127.0.0.1", "--data-dir"]).arg(data_dir);
    command
}

/// The operator's command with its configuration in this folder.
pub fn littoral(config_dir: &Path) -> Command {
    let mut command = clean(&program("it-littoral"));
    command.env("LITTORAL_CONFIG", config_dir.join("config.toml")).env("NO_COLOR", "1");
    command
}

/// A program without this shell's own Littoral settings.
fn clean(program: &Path) -> Command {
    let mut command = Command::new(program);
    for (key, _) in std::env::vars_os().filter(|(key, _)| key.to_string_lossy().starts_with("LITTORAL_")) {
        command.env_remove(key);
    }
    command
}

/// The built module of an example.
pub fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").join(name).join(format!("{name}.wasm"))
}

pub const EVERY: &str = "[placement]\nreplicas = \"every\"";

/// A trigger and a place on every node.
pub fn everywhere(path: &str) -> String {
    format!("[[trigger.http]]\npath = \"{path}\"\n{EVERY}")
}
