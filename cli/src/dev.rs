//! `littoral dev`: a whole fleet on this machine, of real processes.

mod child;
mod example;
mod fleet;
mod log;
mod ports;
mod programs;
mod signals;
mod start;
mod state;
mod summary;

use std::path::PathBuf;

use clap::Args;
use littoral_platform::tasks::Tasks;

use crate::Shell;
use crate::connection::config;
use crate::errors::{Failure, Result};
use child::Words;
use fleet::Fleet;
use ports::Ports;
use programs::Programs;
use signals::Signals;
use state::StateDir;

/// Start a whole fleet on this machine: a control plane and agents, until Ctrl-C
#[derive(Debug, Args)]
#[command(after_help = "\
All of it are real processes on 127.0.0.1, with mTLS and their state in a
directory: started again, the fleet goes on where it stopped. The context `dev`
is added for the other commands.

Ports: 7443 gRPC and 7480 HTTP of the control plane; 8079+k the functions and
7480+k the metrics of agent k, from 1.

Examples:
  littoral dev
  littoral dev --nodes 5 --dir ./fleet --base-port 20000")]
pub(crate) struct Dev {
    /// How many agents
    #[arg(long, default_value_t = 3, value_name = "N", env = "LITTORAL_DEV_NODES",
          value_parser = clap::value_parser!(u16).range(1..=26))]
    nodes: u16,
    /// Where the fleet keeps its state [default: ~/.local/state/littoral/dev]
    #[arg(long, value_name = "DIR", env = "LITTORAL_DEV_DIR")]
    dir: Option<PathBuf>,
    /// Do not push and apply the example at the first start
    #[arg(long)]
    no_example: bool,
    /// Take the ports from this one on instead of the usual; 0: any that are free
    #[arg(long, value_name = "PORT", env = "LITTORAL_DEV_BASE_PORT")]
    base_port: Option<u16>,
}

pub(crate) async fn run(dev: Dev, shell: &Shell) -> Result<()> {
    let mut signals = Signals::install()?;
    let executable = shell.executable.clone().ok_or_else(|| {
        Failure::error("could not start: it is not known where this program is, to start it again")
    })?;
    let state = StateDir::open(&dev.dir.clone().map_or_else(|| state::default_dir(config::variable), Ok)?)?;
    let ports = choose_ports(&dev, &state)?;
    ports.check()?;

    let words = Words { tasks: Tasks::new(), echo: shell.output.verbose };
    let programs = Programs { executable: executable.into_os_string(), ports };
    let mut fleet = Fleet::new(state, programs, words, shell.output);
    let outcome = tokio::select! {
        biased;
        signal = signals.next() => {
            shell.output.note(&format!("{signal}: stopping"));
            Ok(())
        }
        Err(failure) = start::start_and_watch(&mut fleet, &dev, shell) => Err(failure),
    };
    fleet.stop(&mut signals).await;
    outcome
}

/// Free ports are remembered: agents find their control plane again where it was.
fn choose_ports(dev: &Dev, state: &StateDir) -> Result<Ports> {
    if dev.base_port != Some(0) {
        return Ports::fixed(dev.base_port, dev.nodes);
    }
    let mut record = state.record()?;
    let ports = Ports::free(record.ports.take(), dev.nodes)?;
    record.ports = Some(ports.clone());
    state.save(&record)?;
    Ok(ports)
}
