//! Programs that run while something is measured, and what they use.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

/// Everything that is waited for comes within this.
const DEADLINE: Duration = Duration::from_secs(120);
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// Of what a program said before it failed, in characters.
const LOG_TAIL: usize = 4000;

/// A program that runs until it is dropped.
pub(crate) struct Program {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Program {
    pub(crate) fn start(name: &str, mut command: Command, log: &Path) -> Result<Self> {
        let file = File::create(log).with_context(|| format!("could not create {}", log.display()))?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let child = command.spawn().with_context(|| format!("{name} does not start"))?;
        Ok(Self { name: name.to_owned(), child, log: log.to_owned() })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for a condition, and gives up early when the program has ended.
    pub(crate) fn wait_until(&mut self, what: &str, holds: impl Fn() -> bool) -> Result<()> {
        let began = Instant::now();
        while !holds() {
            let ended = self.child.try_wait()?;
            if ended.is_some() || began.elapsed() > DEADLINE {
                bail!("{}: no {what}\n{}", self.name, self.log_tail());
            }
            std::thread::sleep(LOOK_AGAIN);
        }
        Ok(())
    }

    fn log_tail(&self) -> String {
        // A log that cannot be read explains nothing.
        tail(&std::fs::read_to_string(&self.log).unwrap_or_default())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Already ended: nothing to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn tail(text: &str) -> String {
    let skipped = text.chars().count().saturating_sub(LOG_TAIL);
    text.chars().skip(skipped).collect()
}

/// Runs a command that ends by itself; what it printed.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let shown = command.get_program().to_string_lossy().into_owned();
    let output =
        command.stdin(Stdio::null()).output().with_context(|| format!("`{shown}` does not start"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "`{shown}` failed: {}", tail(said.trim()));
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

pub(crate) fn wait_until(what: &str, mut holds: impl FnMut() -> Result<bool>) -> Result<()> {
    let began = Instant::now();
    while !holds()? {
        ensure!(began.elapsed() < DEADLINE, "{what}: not within {} s", DEADLINE.as_secs());
        std::thread::sleep(LOOK_AGAIN);
    }
    Ok(())
}

/// Direct children of a process.
pub(crate) fn children(pid: u32) -> Result<Vec<u32>> {
    let mut all = Vec::new();
    for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let text = std::fs::read_to_string(task?.path().join("children")).unwrap_or_default();
        for child in text.split_whitespace() {
            all.push(child.parse()?);
        }
    }
    Ok(all)
}

/// CPU time that processes have used up to now, by themselves.
pub(crate) fn cpu(pids: &[u32]) -> Result<Duration> {
    // utime and stime.
    pids.iter().try_fold(Duration::ZERO, |sum, pid| Ok(sum + ticks(*pid, [11, 12])?))
}

/// CPU time of a process's children that have ended.
pub(crate) fn cpu_of_ended_children(pid: u32) -> Result<Duration> {
    // cutime and cstime.
    ticks(pid, [13, 14])
}

/// Fields of `/proc/PID/stat`, counted from the one after the program's name.
fn ticks(pid: u32, fields: [usize; 2]) -> Result<Duration> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name may hold anything but ends with the last parenthesis.
    let rest = text.rsplit_once(") ").context("/proc/PID/stat is not as expected")?.1;
    let values: Vec<&str> = rest.split(' ').collect();
    let mut sum = 0;
    for field in fields {
        sum += values.get(field).context("/proc/PID/stat is short")?.parse::<u64>()?;
    }
    let per_second = rustix::param::clock_ticks_per_second();
    Ok(Duration::from_secs_f64(sum as f64 / per_second as f64))
}

/// Memory of a process, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    pub(crate) resident: f64,
    /// Of it, what no file backs.
    pub(crate) anonymous: f64,
}

pub(crate) fn memory(pid: u32) -> Result<Memory> {
    // Exact, where the counters of `status` are kept per CPU.
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let field = |name: &str| -> Result<f64> {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let kib = line
            .and_then(|rest| rest.trim().strip_suffix("kB"))
            .context("smaps_rollup is not as expected")?;
        Ok(kib.trim().parse::<f64>()? * 1024.0)
    };
    Ok(Memory { resident: field("Rss")?, anonymous: field("Anonymous")? })
}

/// A port that nobody listens on now.
pub(crate) fn free_port() -> Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
