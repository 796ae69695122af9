//! A control plane and nodes, each on a host of its own, the nodes on links to the control plane's.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use harness::http::{self, Answer};
use harness::lab::{End, Host, Link};
use harness::process::{Done, Program, program, wait_for};
use serde_json::Value;
use tempfile::TempDir;

const CONTROL: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const SERVER: &str = "https://10.77.0.1:7443";
/// Every host has all ports to itself.
const HTTP: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);
const ADMIN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 7481);
const CONTROL_HTTP: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 7480);

/// Dropped in this order: programs before the hosts that they run on.
pub struct Fleet {
    pub nodes: Vec<Node>,
    _littorald: Program,
    control: Host,
    dir: TempDir,
}

pub struct Node {
    pub name: String,
    pub agent: Program,
    pub link: Link,
    host: Host,
    dir: PathBuf,
}

impl Fleet {
    /// A control plane and so many nodes on good links, all of them Ready.
    pub fn start(nodes: usize) -> Self {
        let mut fleet = Self::empty();
        for _ in 0..nodes {
            let node = fleet.host();
            fleet.join(&node);
            fleet.run(node);
        }
        fleet.wait_until_all("Ready");
        fleet
    }

    /// A control plane alone.
    pub fn empty() -> Self {
        let dir = TempDir::new().unwrap();
        let control = Host::new("control");
        control.add_address(CONTROL);
        let mut command = control.command(program("it-littorald"));
        command.args(["--advertise", &CONTROL.to_string(), "--data-dir"]).arg(dir.path().join("control"));
        let littorald = Program::start("littorald", command, &dir.path().join("littorald.log"));
        let ready = || http::try_send(CONTROL_HTTP, "GET", "/readyz", b"").is_ok_and(|a| a.status == 200);
        wait_for("littorald being ready", || control.enter(ready));
        let fleet = Self { nodes: Vec::new(), _littorald: littorald, control, dir };
        let operator = fleet.path("control/operator.toml");
        fleet.cli(&["context", "add", "test", "--from", operator.to_str().unwrap()]).ok();
        fleet
    }

    /// A host with a link to the control plane's, `n1`, `n2` …, that is no node yet.
    pub fn host(&self) -> (String, Host, Link) {
        let number = u8::try_from(self.nodes.len() + 1).unwrap();
        let name = format!("n{number}");
        let host = Host::new(&name);
        let hub = End { host: &self.control, address: CONTROL, interface: &format!("to-{name}") };
        let end = End { host: &host, address: Ipv4Addr::new(10, 77, 0, 10 + number), interface: "wan" };
        let link = Link::new(&hub, &end, u64::from(number));
        (name, host, link)
    }

    pub fn join(&self, (name, host, _): &(String, Host, Link)) {
        let token = self.path(&format!("{name}.token"));
        std::fs::write(&token, self.cli(&["token", "create", "-o", "name"]).ok()).unwrap();
        let mut command = host.command(program("it-agent"));
        command.args(["join", "--server", SERVER, "--name", name, "--token-file"]).arg(&token);
        Done::of(command.arg("--data-dir").arg(self.path(name)).output().unwrap()).ok();
    }

    pub fn run(&mut self, (name, host, link): (String, Host, Link)) {
        let dir = self.path(&name);
        let agent = start_agent(&name, &host, &dir);
        self.nodes.push(Node { name, agent, link, host, dir });
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Runs the operator's command on the control plane's host.
    pub fn cli(&self, args: &[&str]) -> Done {
        let mut command = self.control.command(program("it-littoral"));
        command.env("LITTORAL_CONFIG", self.path("cli.toml")).env("NO_COLOR", "1").stdin(Stdio::null());
        Done::of(command.args(args).output().unwrap())
    }

    #[track_caller]
    pub fn json(&self, args: &[&str]) -> Value {
        let text = self.cli(&[args, &["-o", "json"]].concat()).ok();
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"))
    }

    /// Applies a function of this module on this path, with the rest of a manifest.
    pub fn apply(&self, name: &str, module: &Path, rest: &str, flags: &[&str]) -> Done {
        let (file, module) = (self.path(&format!("{name}.toml")), module.to_str().unwrap());
        let manifest = format!("[function]\nname = \"{name}\"\nmodule = \"{module}\"\n{rest}\n");
        std::fs::write(&file, manifest).unwrap();
        self.cli(&[&["apply", "-f", file.to_str().unwrap()], flags].concat())
    }

    pub fn availability(&self, node: &str) -> String {
        let nodes = self.json(&["node", "list"]);
        let found = nodes.as_array().unwrap().iter().find(|n| n["name"] == node);
        found.unwrap()["availability"].as_str().unwrap().to_owned()
    }

    pub fn wait_until(&self, node: &str, availability: &str) {
        wait_for(&format!("{node} being {availability}"), || self.availability(node) == availability);
    }

    pub fn wait_until_all(&self, availability: &str) {
        wait_for(&format!("all nodes being {availability}"), || {
            let nodes = self.json(&["node", "list"]);
            let nodes = nodes.as_array().unwrap();
            nodes.len() == self.nodes.len() && nodes.iter().all(|n| n["availability"] == availability)
        });
    }

    /// Generations of what nodes should run, in order of their names.
    pub fn generations(&self) -> Vec<Value> {
        let nodes = self.json(&["node", "list"]);
        nodes.as_array().unwrap().iter().map(|node| node["desired_generation"].clone()).collect()
    }
}

impl Node {
    /// A request from the node's own host: links do not matter.
    pub fn get(&self, path: &str) -> Result<Answer, String> {
        self.host.enter(|| http::try_send(HTTP, "GET", path, b""))
    }

    #[track_caller]
    pub fn serves(&self, path: &str) {
        let answer = self.get(path).unwrap_or_else(|e| panic!("{} does not answer {path}: {e}", self.name));
        assert_eq!(answer.status, 200, "{} answers {path}: {}", self.name, answer.text());
    }

    pub fn wait_for_answer(&self, path: &str) {
        let answers = || self.get(path).is_ok_and(|answer| answer.status == 200);
        wait_for(&format!("{} answering {path}", self.name), answers);
    }

    /// The value of a metric without labels.
    pub fn metric(&self, name: &str) -> f64 {
        let text = self.host.enter(|| http::get(ADMIN, "/metrics").text());
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("{name} is not in {text}")).parse().unwrap()
    }

    /// How often it has had a session.
    pub fn sessions(&self) -> usize {
        self.agent.log().matches("session established").count()
    }

    /// As after a power cut.
    pub fn reboot(&mut self) {
        self.agent.kill_9();
        self.agent = start_agent(&self.name, &self.host, &self.dir);
    }
}

fn start_agent(name: &str, host: &Host, dir: &Path) -> Program {
    let mut command = host.command(program("it-agent"));
    command.args(["run", "--data-dir"]).arg(dir);
    Program::start(name, command, &dir.with_extension("log"))
}
