//! The load generator.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

use crate::process::output;

const CONNECTIONS: u32 = 32;
const THREADS: u32 = 2;

/// What it saw.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) requests: f64,
    pub(crate) per_second: f64,
    /// Latency, in microseconds.
    pub(crate) p50: f64,
    pub(crate) p99: f64,
}

/// GETs of `/` on 32 connections, one after the other on each.
pub(crate) fn run(address: SocketAddr, duration: Duration) -> Result<Load> {
    let mut command = Command::new("wrk");
    command.args(["-t", &THREADS.to_string(), "-c", &CONNECTIONS.to_string(), "--latency"]);
    command.args(["-d", &format!("{}s", duration.as_secs().max(1)), &format!("http://{address}/")]);
    let text = output(&mut command)?;
    parse(&text).with_context(|| format!("wrk said: {text}"))
}

fn parse(text: &str) -> Result<Load> {
    for bad in ["Non-2xx", "Socket errors"] {
        ensure!(!text.contains(bad), "not every request was answered");
    }
    let line = |starts: &str| text.lines().map(str::trim).find_map(|line| line.strip_prefix(starts));
    let requests =
        text.lines().find_map(|line| line.trim().split_once(" requests in ")).context("no requests")?.0;
    Ok(Load {
        requests: requests.parse()?,
        per_second: line("Requests/sec:").context("no rate")?.trim().parse()?,
        p50: micros(line("50%").context("no median")?)?,
        p99: micros(line("99%").context("no 99th percentile")?)?,
    })
}

fn micros(text: &str) -> Result<f64> {
    let text = text.trim();
    let (number, factor) = match text.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.') {
        "us" => (text.strip_suffix("us"), 1.0),
        "ms" => (text.strip_suffix("ms"), 1e3),
        "s" => (text.strip_suffix('s'), 1e6),
        other => bail!("`{other}` is not a unit of time"),
    };
    Ok(number.unwrap_or_default().parse::<f64>()? * factor)
}
