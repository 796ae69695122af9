//! The fleet of `deploy/compose.yaml`, with ports and disks of the test's own.

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;

use serde_json::Value;
use tempfile::TempDir;

use crate::disk::Disk;
use crate::http;
use crate::process::{Done, free_port, wait_for};

/// So that it can never be taken for a fleet that is in use.
const PROJECT: &str = "littoral-test";
/// The user of all images.
const USER: &str = "10001";
pub const NODES: [&str; 3] = ["shop-1", "shop-2", "pi-1"];

pub struct Compose {
    /// Of the control plane.
    pub disk: Disk,
    /// Of `shop-2`.
    pub node_disk: Disk,
    variables: Vec<(String, String)>,
    /// Of containers that are no longer there.
    old_logs: Mutex<Vec<(String, String)>>,
    dir: TempDir,
}

impl Compose {
    /// What is to be started. `tag` is that of the images.
    pub fn prepare(tag: &str) -> Self {
        let dir = TempDir::new().unwrap();
        let owner = format!("uid={USER},gid={USER},mode=0700");
        let disk = Disk::mount(&dir.path().join("control"), 256, &owner);
        let node_disk = Disk::mount(&dir.path().join("shop-2"), 192, &owner);
        let bind = |disk: &Disk| {
            let device = disk.path().display();
            format!("{{driver_opts: {{type: none, o: bind, device: \"{device}\"}}}}")
        };
        // shop-2 promises its functions more memory than it has.
        let file = format!(
            "services:\n  shop-2:\n    mem_limit: 256m\n    environment: {{LITTORAL_MEMORY_BUDGET: 1GiB}}\n\
             volumes:\n  control: {}\n  shop-2: {}\n",
            bind(&disk),
            bind(&node_disk)
        );
        let test_file = dir.path().join("compose.test.yaml");
        std::fs::write(&test_file, file).unwrap();
        let user_file = root().join("deploy/compose.yaml");
        let mut variables = vec![
            ("COMPOSE_PROJECT_NAME".to_owned(), PROJECT.to_owned()),
            ("COMPOSE_FILE".to_owned(), format!("{}:{}", user_file.display(), test_file.display())),
            ("LITTORAL_TAG".to_owned(), tag.to_owned()),
        ];
        for name in ["LITTORALD_PORT", "SHOP_1_PORT", "SHOP_2_PORT", "PI_1_PORT", "PROMETHEUS_PORT"] {
            variables.push((name.to_owned(), free_port().to_string()));
        }
        let compose = Self { disk, node_disk, variables, old_logs: Mutex::default(), dir };
        // Of a run that was cut.
        compose.down();
        std::fs::create_dir(compose.files()).unwrap();
        compose
    }

    /// Compose, in either of its forms.
    pub fn compose<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Done {
        let words = std::env::var("COMPOSE").unwrap_or_else(|_| "docker-compose".to_owned());
        let mut words = words.split_whitespace();
        let mut command = Command::new(words.next().unwrap());
        command.args(words).args(args).current_dir(root().join("deploy")).stdin(Stdio::null());
        command.envs(self.variables.iter().map(|(key, value)| (key, value)));
        Done::of(command.output().unwrap())
    }

    pub fn up(&self) {
        self.compose(["up", "-d", "--no-build"]).ok();
    }

    fn down(&self) {
        self.compose([
            "--profile",
            "load",
            "--profile",
            "metrics",
            "down",
            "-v",
            "--remove-orphans",
            "-t",
            "5",
        ]);
    }

    /// Where manifests and modules for the operator's command are: its working folder.
    fn files(&self) -> PathBuf {
        self.dir.path().join("files")
    }

    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        std::fs::write(self.files().join(name), content).unwrap();
    }

    /// The operator's command, in a container as `compose run` makes one, without what that costs.
    pub fn cli<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Done {
        let mut command = Command::new("docker");
        command.args(["run", "--rm", "--read-only", "--network", &self.network(), "--workdir", "/work"]);
        command.args(["-e", "LITTORAL_CREDENTIAL=/operator/operator.toml", "-e", "NO_COLOR=1"]);
        command.args(["-v", &format!("{PROJECT}_operator:/operator:ro")]);
        command.args(["-v", &format!("{}:/work:ro", self.files().display())]);
        command.arg(format!("littoral/littoral:{}", self.variable("LITTORAL_TAG"))).args(args);
        Done::of(command.stdin(Stdio::null()).output().unwrap())
    }

    #[track_caller]
    pub fn json(&self, args: &[&str]) -> Value {
        let text = self.cli(args.iter().copied().chain(["-o", "json"])).ok();
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"))
    }

    pub fn network(&self) -> String {
        format!("{PROJECT}_default")
    }

    pub fn volume(&self, name: &str) -> String {
        format!("{PROJECT}_{name}")
    }

    /// The id of a service's container.
    pub fn container(&self, service: &str) -> String {
        let project = format!("label=com.docker.compose.project={PROJECT}");
        let service = format!("label=com.docker.compose.service={service}");
        docker(["ps", "-aq", "--no-trunc", "--filter", &project, "--filter", &service]).trim().to_owned()
    }

    pub fn inspect(&self, service: &str, format: &str) -> String {
        docker(["inspect", "-f", format, &self.container(service)]).trim().to_owned()
    }

    /// The number of a container's first process on this machine.
    pub fn pid(&self, service: &str) -> i32 {
        self.inspect(service, "{{.State.Pid}}").parse().unwrap()
    }

    /// Where a node's functions answer on this machine.
    pub fn http(&self, node: &str) -> SocketAddr {
        self.published(&format!("{}_PORT", node.replace('-', "_").to_uppercase()))
    }

    /// The address that this setting of the file publishes a port on.
    pub fn published(&self, setting: &str) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.variable(setting).parse().unwrap()))
    }

    fn variable(&self, key: &str) -> &str {
        &self.variables.iter().find(|(name, _)| name == key).unwrap().1
    }

    /// Each of these answers `/` with this, sooner or later.
    pub fn wait_for_answer(&self, nodes: &[&str], text: &str) {
        for node in nodes {
            wait_for(&format!("{node} answering {text:?}"), || {
                http::try_send(self.http(node), "GET", "/", b"").is_ok_and(|a| a.text() == text)
            });
        }
    }

    /// Each of these answers a post to this path with this status, sooner or later.
    pub fn wait_for_status(&self, nodes: &[&str], path: &str, status: u16) {
        for node in nodes {
            wait_for(&format!("{node} answering {path} with {status}"), || {
                http::try_send(self.http(node), "POST", path, b"x").is_ok_and(|a| a.status == status)
            });
        }
    }

    /// What a node answers whom it has not been cut off from: itself.
    pub fn answer_inside(&self, node: &str, path: &str) -> Done {
        let ask = format!(
            "exec 3<>/dev/tcp/127.0.0.1/8080; printf 'GET {path} HTTP/1.0\\r\\nhost: x\\r\\n\\r\\n' >&3; cat <&3"
        );
        inside(self.pid(node), &["timeout", "20", "bash", "-c", &ask])
    }

    pub fn availability(&self, node: &str) -> String {
        let list = self.json(&["node", "list"]);
        let row = list.as_array().unwrap().iter().find(|row| row["name"] == node);
        row.map(|row| row["availability"].as_str().unwrap().to_owned()).unwrap_or_default()
    }

    pub fn wait_for_availability(&self, node: &str, wanted: &str) {
        wait_for(&format!("{node} being {wanted}"), || self.availability(node) == wanted);
    }

    pub fn wait_for_ready(&self, nodes: &[&str]) {
        wait_for(&format!("{nodes:?} being ready"), || {
            let done = self.cli(["node", "list", "-o", "json"]);
            let list: Value = serde_json::from_str(&done.stdout).unwrap_or_default();
            let ready = |name: &&str| {
                list.as_array()
                    .is_some_and(|l| l.iter().any(|n| n["name"] == **name && n["availability"] == "Ready"))
            };
            nodes.iter().all(ready)
        });
    }

    /// Removes a service's container and keeps what it has said.
    pub fn remove(&self, service: &str) {
        let container = self.container(service);
        docker(["stop", "-t", "5", &container]);
        self.old_logs.lock().unwrap().push((service.to_owned(), log(&container)));
        docker(["rm", &container]);
    }

    /// Everything that the services have said, by service.
    pub fn logs(&self) -> Vec<(String, String)> {
        let mut logs = self.old_logs.lock().unwrap().clone();
        let project = format!("label=com.docker.compose.project={PROJECT}");
        let format = "{{.ID}} {{.Label \"com.docker.compose.service\"}}";
        for line in docker(["ps", "-a", "--filter", &project, "--format", format]).lines() {
            let (container, service) = line.split_once(' ').unwrap();
            logs.push((service.to_owned(), log(container)));
        }
        logs
    }
}

impl Drop for Compose {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for (service, log) in self.logs() {
                let lines: Vec<&str> = log.lines().collect();
                let last = &lines[lines.len().saturating_sub(60)..];
                eprintln!("---- the end of the log of {service} ----\n{}", last.join("\n"));
            }
        }
        self.down();
    }
}

/// Runs the engine's command, which must work.
#[track_caller]
pub fn docker<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> String {
    Done::of(Command::new("docker").args(args).stdin(Stdio::null()).output().unwrap()).ok()
}

/// Both streams: programs log to stderr.
fn log(container: &str) -> String {
    let output = Command::new("docker").args(["logs", "-t", container]).output().unwrap();
    [output.stdout, output.stderr].iter().map(|text| String::from_utf8_lossy(text).into_owned()).collect()
}

/// Runs a program of this machine in the network of a process.
pub fn inside(pid: i32, command: &[&str]) -> Done {
    let output = Command::new("nsenter").args(["-t", &pid.to_string(), "-n"]).args(command).output();
    Done::of(output.unwrap())
}

/// The checkout.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}
