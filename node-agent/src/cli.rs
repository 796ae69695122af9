//! The commands of `littoral-agent`.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use littoral_model::quantity::{self, Bytes};
use littoral_platform::channel::ServerUrl;
use littoral_platform::error::Chain;
use littoral_platform::files;
use littoral_platform::join_token::{JoinToken, MAX_TOKEN_TEXT};
use littoral_platform::probe;
use littoral_platform::telemetry::{self, LogSettings};
use zeroize::Zeroizing;

use crate::capacity::MemoryBudget;
use crate::config::{Overrides, RunSettings, default_data_dir};
use crate::data_dir::DataDir;
use crate::join::{Join, join};
use crate::supervisor::WorkerCommand;
use crate::{local, run, worker};

mod failure;
mod join_first;
mod show;

use failure::Failure;

/// Holds a join token where a file is unhandy, in containers for example.
const TOKEN_ENV: &str = "LITTORAL_JOIN_TOKEN";

#[derive(Debug, Parser)]
#[command(
    name = "littoral-agent",
    version,
    about = "Runs WebAssembly functions on a node of a Littoral fleet"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Become a node of a cluster, with a token from `littoral token create`
    Join(JoinArgs),
    /// Run the node: serve functions, and keep a session with the control plane
    Run(RunArgs),
    /// Show what the agent that runs on this machine is doing
    Status(StatusArgs),
    /// Ask the agent that runs on this machine whether it is ready to serve
    Health(HealthArgs),
    /// Print the version
    Version,
    /// Runs guests; started by `run`
    #[command(hide = true)]
    Worker(worker::WorkerArgs),
}

#[derive(Debug, Args)]
struct JoinArgs {
    /// Address of the control plane: https://HOST:PORT
    #[arg(long, value_name = "URL", env = "LITTORAL_SERVER")]
    server: ServerUrl,
    /// File that holds the token, or `-` for standard input; or set LITTORAL_JOIN_TOKEN
    #[arg(long, value_name = "FILE", env = "LITTORAL_JOIN_TOKEN_FILE")]
    token_file: Option<PathBuf>,
    /// Name of the node; the control plane chooses one otherwise
    #[arg(long, env = "LITTORAL_NAME")]
    name: Option<String>,
    /// Folder for identity, ledger and artifacts
    #[arg(long, value_name = "DIR", env = "LITTORAL_DATA_DIR")]
    data_dir: Option<PathBuf>,
    /// Give up the identity that is in the data directory
    #[arg(long, env = "LITTORAL_FORCE")]
    force: bool,
}

#[derive(Debug, Args)]
struct RunArgs {
    /// Folder for identity, ledger and artifacts
    #[arg(long, value_name = "DIR", env = "LITTORAL_DATA_DIR")]
    data_dir: Option<PathBuf>,
    /// Address of the control plane, if it is no longer the one that was joined
    #[arg(long, value_name = "URL", env = "LITTORAL_SERVER")]
    server: Option<String>,
    /// File with a join token: a node that has not joined yet joins first; or set LITTORAL_JOIN_TOKEN
    #[arg(long, value_name = "FILE", env = "LITTORAL_JOIN_TOKEN_FILE")]
    token_file: Option<PathBuf>,
    /// Name of a node that joins; the control plane chooses one otherwise
    #[arg(long, env = "LITTORAL_NAME")]
    name: Option<String>,
    /// Where functions answer [default: 0.0.0.0:8080]
    #[arg(long, value_name = "ADDR", env = "LITTORAL_HTTP")]
    http: Option<SocketAddr>,
    /// Where /metrics, /healthz and /readyz answer [default: 127.0.0.1:7481]
    #[arg(long, value_name = "ADDR", env = "LITTORAL_ADMIN")]
    admin: Option<SocketAddr>,
    /// Memory that functions may hold together: a size or a share [default: 50%]
    #[arg(long, value_name = "SIZE", env = "LITTORAL_MEMORY_BUDGET")]
    memory_budget: Option<MemoryBudget>,
    /// How much may be kept of artifacts that are no longer needed [default: 2GiB]
    #[arg(long, value_name = "SIZE", env = "LITTORAL_CACHE_QUOTA")]
    cache_quota: Option<Bytes>,
    /// HOST:PORT that others reach this node's functions by
    #[arg(long, value_name = "HOST:PORT", env = "LITTORAL_INGRESS_ADDRESS")]
    ingress_address: Option<String>,
    /// How long requests under way may take when the agent is asked to stop [default: 30s]
    #[arg(long, value_name = "TIME", env = "LITTORAL_DRAIN_TIMEOUT", value_parser = quantity::duration)]
    drain_timeout: Option<Duration>,
    /// File with these settings, in TOML
    #[arg(long, value_name = "FILE", env = "LITTORAL_CONFIG_FILE")]
    config: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct HealthArgs {
    /// Where the agent's /readyz answers [default: 127.0.0.1:7481]
    #[arg(long, value_name = "ADDR", env = "LITTORAL_ADMIN")]
    admin: Option<SocketAddr>,
    /// File with the agent's settings, in TOML
    #[arg(long, value_name = "FILE", env = "LITTORAL_CONFIG_FILE")]
    config: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct StatusArgs {
    /// Folder of the agent
    #[arg(long, value_name = "DIR", env = "LITTORAL_DATA_DIR")]
    data_dir: Option<PathBuf>,
    /// Print JSON
    #[arg(long, env = "LITTORAL_JSON")]
    json: bool,
}

/// Runs the program with these arguments, the program's own name first. `worker_command` starts this program's
/// `worker` command, for the process that runs guests.
pub fn run_cli(args: impl IntoIterator<Item = OsString>, worker_command: WorkerCommand) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version go to stdout, errors to stderr; a closed pipe is nobody's fault.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(1));
        }
    };
    let done = match cli.command {
        Command::Worker(args) => run_worker(&args),
        Command::Version => print(&format!("littoral-agent {}\n", env!("CARGO_PKG_VERSION"))),
        Command::Join(args) => run_join(args),
        Command::Run(args) => run_agent(args, worker_command),
        Command::Status(args) => run_status(args),
        Command::Health(args) => run_health(args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let _ = writeln!(io::stderr(), "error: {}", Chain(failure.error.as_ref()));
            ExitCode::from(failure.code)
        }
    }
}

fn run_join(args: JoinArgs) -> Result<(), Failure> {
    let token = read_token(args.token_file.as_deref())?;
    let data = DataDir::at(args.data_dir.unwrap_or_else(default_data_dir));
    let wish = Join { server: args.server, token, name: args.name, force: args.force };
    let node = block_on(join(&data, wish))??;
    print(&format!(
        "joined {} as {} ({})\nnext: littoral-agent run --data-dir {}\n",
        node.cluster,
        node.name,
        node.id,
        data.root().display()
    ))
}

fn run_agent(args: RunArgs, worker_command: WorkerCommand) -> Result<(), Failure> {
    // The allocator would take 20 MiB of them for what needs three. A kernel that refuses has a larger agent.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    telemetry::init(&LogSettings::from_env()?)?;
    let overrides = Overrides {
        data_dir: args.data_dir,
        server: args.server,
        http: args.http,
        admin: args.admin,
        memory_budget: args.memory_budget,
        cache_quota: args.cache_quota,
        ingress_address: args.ingress_address,
        drain_timeout: args.drain_timeout,
    };
    let settings = RunSettings::load(overrides, args.config.as_deref())?;
    block_on(async {
        if join_first::join_first(&settings, args.name.as_deref(), args.token_file.as_deref()).await? {
            run::run(settings, worker_command).await?;
        }
        Ok(())
    })?
}

fn run_worker(args: &worker::WorkerArgs) -> Result<(), Failure> {
    telemetry::init(&LogSettings::from_env()?)?;
    worker::run(args).map_err(|error| Failure::other(error.into()))
}

fn run_status(args: StatusArgs) -> Result<(), Failure> {
    let data = DataDir::at(args.data_dir.unwrap_or_else(default_data_dir));
    let status = block_on(local::ask(&data))??;
    print(&if args.json { show::json(&status) } else { show::text(&status) })
}

fn run_health(args: HealthArgs) -> Result<(), Failure> {
    let overrides = Overrides { admin: args.admin, ..Overrides::default() };
    let settings = RunSettings::load(overrides, args.config.as_deref())?;
    Ok(probe::ready(settings.admin)?)
}

/// The token from the file or standard input, or else from the environment. Never from an argument: every user of
/// the machine can read those.
fn read_token(file: Option<&Path>) -> Result<JoinToken, Failure> {
    let text = match file {
        Some(path) if path == Path::new("-") => {
            let mut text = Zeroizing::new(String::new());
            let cap = u64::try_from(MAX_TOKEN_TEXT + 1).unwrap_or(u64::MAX);
            io::stdin().lock().take(cap).read_to_string(&mut text)?;
            text
        }
        Some(path) => {
            let bytes = Zeroizing::new(files::read_capped(path, MAX_TOKEN_TEXT)?);
            Zeroizing::new(String::from_utf8_lossy(&bytes).into_owned())
        }
        None => match std::env::var(TOKEN_ENV) {
            Ok(text) => Zeroizing::new(text),
            Err(_) => {
                return Err(Failure::usage(format!(
                    "give the join token: --token-file FILE, or - for standard input, or {TOKEN_ENV}"
                )));
            }
        },
    };
    Ok(text.parse::<JoinToken>()?)
}

fn block_on<F: Future>(future: F) -> io::Result<F::Output> {
    // At least two threads: a disk that blocks one must not delay the heartbeats on the other.
    let threads = std::thread::available_parallelism().map_or(2, |n| n.get().clamp(2, 4));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()?;
    Ok(runtime.block_on(future))
}

fn print(text: &str) -> Result<(), Failure> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_commands_are_consistent_and_no_flag_takes_a_secret() {
        Cli::command().debug_assert();
        let args = ["littoral-agent", "join", "--server", "https://h:1", "--token", "littoral-join-v1.x"];
        assert!(Cli::try_parse_from(args).is_err());
    }

    #[test]
    fn every_flag_has_its_variable() {
        for command in Cli::command().get_subcommands().filter(|c| c.get_name() != "worker") {
            for argument in
                command.get_arguments().filter(|a| !["help", "version"].contains(&a.get_id().as_str()))
            {
                let name = argument.get_env().unwrap_or_default().to_string_lossy().into_owned();
                assert!(name.starts_with("LITTORAL_"), "{}", argument.get_id());
            }
        }
    }

    #[test]
    fn a_token_is_read_from_a_file_with_its_line_break() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        let text = format!("littoral-join-v1.{}.{}.{}\n", "0a".repeat(8), "1b".repeat(32), "2c".repeat(32));
        std::fs::write(&path, &text).unwrap();
        assert_eq!(read_token(Some(&path)).unwrap().to_string(), text.trim());
        std::fs::write(&path, "x".repeat(MAX_TOKEN_TEXT * 2)).unwrap();
        assert!(read_token(Some(&path)).is_err());
    }
}
