//! Hosts of their own on one machine: network namespaces, and links between them that delay, lose, choke and cut.
//!
//! Linux alone, as root. A link is a pair of TUN devices with a task in between (`lab::link`): that works where the kernel has
//! no netem, and its conditions can be changed one way at a time while packets are under way.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

mod direction;
mod link;

pub use direction::{Conditions, Direction};
pub use link::{End, Link};

/// Names of namespaces begin with this and the number of the process that made them.
const PREFIX: &str = "littoral";

/// A host: its own interfaces, addresses, routes and ports. Gone when dropped, with the programs that still run there.
pub struct Host {
    namespace: String,
}

impl Host {
    /// A host with a loopback interface and nothing else.
    pub fn new(name: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        if number == 0 {
            remove_leftovers();
        }
        let namespace = format!("{PREFIX}-{}-{number}-{name}", std::process::id());
        ip(["netns", "add", &namespace]);
        let host = Self { namespace };
        host.ip(["link", "set", "lo", "up"]);
        host
    }

    /// What `ip netns exec` calls it.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// A program on this host, with the process id of the child that is spawned. It sees none of this shell's own Littoral
    /// settings.
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace]).arg(program.as_ref());
        for (key, _) in std::env::vars_os().filter(|(key, _)| key.to_string_lossy().starts_with("LITTORAL_"))
        {
            command.env_remove(key);
        }
        command
    }

    /// Calls `f` on a thread of its own that is on this host: sockets that it opens are here.
    pub fn enter<T: Send>(&self, f: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                self.move_here();
                f()
            });
            inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Another address of this host, whichever link it is asked over.
    pub fn add_address(&self, address: Ipv4Addr) {
        self.ip(["address", "add", &format!("{address}/32"), "dev", "lo"]);
    }

    /// Moves the calling thread to this host, for good.
    fn move_here(&self) {
        let path = self.path();
        let file = rustix::fs::open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        move_into_link_name_space(std::os::fd::AsFd::as_fd(&file), Some(LinkNameSpaceType::Network))
            .unwrap_or_else(|e| panic!("setns to {}: {e}", self.namespace));
    }

    fn path(&self) -> PathBuf {
        Path::new("/run/netns").join(&self.namespace)
    }

    fn ip<const N: usize>(&self, args: [&str; N]) {
        ip(["-n", &self.namespace].into_iter().chain(args));
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        remove(&self.namespace);
    }
}

/// Runs `ip`, which has to succeed.
#[track_caller]
fn ip<'a>(args: impl IntoIterator<Item = &'a str>) {
    let args: Vec<&str> = args.into_iter().collect();
    let output = Command::new("ip").args(&args).output().expect("ip, of the package iproute2");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {}: {said} (this needs to be root)", args.join(" "));
}

/// Ends what runs in a namespace and takes its name away; the kernel removes the rest.
fn remove(namespace: &str) {
    let pids = Command::new("ip").args(["netns", "pids", namespace]).output();
    let pids = pids.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let own = i32::try_from(std::process::id()).unwrap_or(0);
    for pid in pids.split_whitespace().filter_map(|pid| pid.parse().ok()).filter(|pid| *pid != own) {
        // It may have ended since.
        let _ = Pid::from_raw(pid).map(|pid| kill_process(pid, Signal::KILL));
    }
    // Nobody can be told from a drop; the next process tries again.
    let _ = Command::new("ip").args(["netns", "delete", namespace]).output();
}

/// Hosts whose process was killed before it could remove them.
fn remove_leftovers() {
    let Ok(entries) = std::fs::read_dir("/run/netns") else { return };
    for entry in entries.filter_map(Result::ok) {
        let name = entry.file_name().to_string_lossy().into_owned();
        let mut parts = name.split('-');
        if parts.next() != Some(PREFIX) {
            continue;
        }
        let pid = parts.next().and_then(|pid| pid.parse::<u32>().ok());
        if pid.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            remove(&name);
        }
    }
}
