//! Where the numbers come from.

use std::path::Path;
use std::process::Command;

use anyhow::Result;
use littoral_platform::clock;

use crate::process::output;

/// One line for each thing that matters to the numbers.
pub(crate) fn describe(wasmtime: &Path, work: &Path) -> Result<String> {
    let date = clock::now().to_string();
    let date = date.split('T').next().unwrap_or_default();
    let cores = std::thread::available_parallelism()?;
    let kernel = rustix::system::uname();
    let lines = [
        format!("Littoral {} on {date}{}", env!("CARGO_PKG_VERSION"), revision()),
        format!("{cores} cores of {}, {} GB of memory", processor()?, memory_gb()?),
        format!("Linux {}, {} as the file system", kernel.release().to_string_lossy(), file_system(work)?),
        format!("{}, wrk {}", first_line(&output(Command::new(wasmtime).arg("--version"))?), wrk()),
        first_line(&output(Command::new("rustc").arg("--version"))?),
    ];
    Ok(lines.map(|line| format!("- {line}\n")).concat())
}

/// The commit that was measured, where this is a checkout.
fn revision() -> String {
    let head = output(Command::new("git").args(["rev-parse", "--short=12", "HEAD"]));
    head.map_or_else(|_| String::new(), |head| format!(", commit {}", head.trim()))
}

fn processor() -> Result<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo")?;
    let name = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    Ok(name.map_or_else(|| std::env::consts::ARCH.to_owned(), |(_, name)| name.trim().to_owned()))
}

fn memory_gb() -> Result<u64> {
    let text = std::fs::read_to_string("/proc/meminfo")?;
    let kib = text.lines().find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB"));
    Ok(kib.unwrap_or("0").trim().parse::<u64>()? * 1024 / 1_000_000_000)
}

/// Of the innermost mount that holds the folder.
fn file_system(folder: &Path) -> Result<String> {
    let folder = folder.canonicalize()?;
    let text = std::fs::read_to_string("/proc/self/mounts")?;
    let mounts = text.lines().filter_map(|line| {
        let mut fields = line.split(' ');
        let (_, at, kind) = (fields.next()?, fields.next()?, fields.next()?);
        folder.starts_with(at).then(|| (at.len(), kind.to_owned()))
    });
    Ok(mounts.max_by_key(|(length, _)| *length).map_or_else(|| "unknown".to_owned(), |(_, kind)| kind))
}

fn wrk() -> String {
    // It prints its version, and fails.
    let said = Command::new("wrk").arg("--version").output();
    let said = said.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    said.split_whitespace().nth(1).unwrap_or("of an unknown version").to_owned()
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().trim().to_owned()
}
