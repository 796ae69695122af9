//! A host with a system of its own: systemd is its first process, and what is written there stays there.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use harness::lab::Host;
use harness::process::{Done, Program, children_of, wait_for};
use tempfile::TempDir;

/// For one block of commands, seconds: a restart of each program and a compilation, on two busy cores.
const DEADLINE: &str = "120";

/// What a machine does not share with this system, beside its network: flags of `unshare`, and of `nsenter` once it runs.
const NEW: &str = "--mount --propagation private --pid --fork --kill-child --ipc --uts";
const ENTERED: &str = "--mount --pid --net --uts --ipc --cgroup";
const ENVIRONMENT: [&str; 4] = [
    "HOME=/root",
    "LANG=C.UTF-8",
    "TERM=dumb",
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
];

/// Gone when dropped, with everything that runs on it.
pub struct Machine {
    name: String,
    unshare: Program,
    /// Of the first process, as this process sees it.
    init: i32,
    pub host: Host,
    dir: TempDir,
}

impl Machine {
    pub fn boot(name: &str) -> Self {
        let dir = TempDir::new().unwrap();
        let folder = dir.path().join("machine");
        std::fs::create_dir(&folder).unwrap();
        let host = Host::new(name);
        let mut command = host.command("unshare");
        command.args(NEW.split(' '));
        command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/network/boot"));
        command.arg(&folder).arg(name).arg(host.namespace());
        let unshare = Program::start(name, command, &dir.path().join("console"));
        let mut init = 0;
        wait_for("the machine's first process", || {
            init = children_of(unshare.pid()).first().copied().unwrap_or(0);
            init != 0
        });
        let machine = Self { name: name.to_owned(), unshare, init, host, dir };
        let is_systemd = || {
            let comm = std::fs::read_to_string(format!("/proc/{init}/comm")).unwrap_or_default();
            comm.trim() == "systemd"
        };
        wait_for("systemd", is_systemd);
        let is_up = || machine.run("systemctl is-active --quiet basic.target").code == 0;
        wait_for("the machine being up", is_up);
        machine
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs a script of bash as root, to its first error.
    pub fn run(&self, script: &str) -> Done {
        let mut command = self.inside();
        command.args(["timeout", DEADLINE, "bash", "-c", script]);
        Done::of(command.stdin(Stdio::null()).output().unwrap())
    }

    pub fn write(&self, path: &str, bytes: &[u8]) {
        let mut command = self.inside();
        command.args(["bash", "-c", &format!("umask 077; cat > '{path}'")]).stdin(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(bytes).unwrap();
        assert!(child.wait().unwrap().success(), "{path} could not be written on {}", self.name);
    }

    pub fn read(&self, path: &str) -> Vec<u8> {
        let output = self.inside().args(["cat", path]).output().unwrap();
        assert!(output.status.success(), "{path} could not be read on {}", self.name);
        output.stdout
    }

    /// In all namespaces of the first process, with nothing of this shell's environment.
    fn inside(&self) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.init.to_string()]).args(ENTERED.split(' '));
        command.args(["env", "-i"]).args(ENVIRONMENT);
        command
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // With the first process all others end, a moment later.
        self.unshare.kill_9();
        let init = format!("/proc/{}", self.init);
        for _ in 0..100 {
            if !Path::new(&init).exists() {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let groups = self.dir.path().join("machine");
        let script = "mount -t cgroup2 cgroup2 \"$0\" && find \"$0/$1\" -depth -type d -exec rmdir {} +";
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "bash", "-c", script]);
        // An empty group that stays behind is in nobody's way.
        let _ = command.arg(&groups).arg(self.host.namespace()).output();
    }
}
