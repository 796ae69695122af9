//! From nothing, or from what an earlier run left, to a fleet that serves.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::time::Duration;

use littoral_platform::files;
use littoral_proto::v1::{self as pb, Availability};
use tokio::time::Instant;

use super::Dev;
use super::fleet::Fleet;
use super::programs::agent_name;
use super::summary::{Summary, addresses};
use super::{example, programs};
use crate::Shell;
use crate::commands::context;
use crate::connection::config::{Config, Context, Credential};
use crate::connection::{Connection, call};
use crate::errors::{Exit, Failure, Result, Tried};
use crate::progress::Progress;

const CONTEXT: &str = "dev";
/// Opening the store after a crash is the longest part.
const CONTROL_PLANE_PATIENCE: Duration = Duration::from_secs(60);
/// Generating a key, and two calls.
const JOIN_PATIENCE: Duration = Duration::from_secs(30);
/// Connecting, and loading what an earlier run served.
const NODES_PATIENCE: Duration = Duration::from_secs(60);
/// A look costs nothing here.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// An unused token ends by itself.
const TOKEN_TTL_MS: u64 = 120_000;

/// Brings the fleet up and watches over it. Ends only with an error.
pub(super) async fn start_and_watch(fleet: &mut Fleet, dev: &Dev, shell: &Shell) -> Result<Infallible> {
    let began = Instant::now();
    let say = |text: &str| shell.output.note(&format!("{:>5.1}s  {text}", began.elapsed().as_secs_f32()));
    let server = fleet.programs.ports.server();
    fleet.start_control_plane()?;
    let (credential, connection) = until_control_plane(fleet).await?;
    say(&format!("control plane is up: {server}"));
    let current = add_context(shell, credential)?;

    for k in 1..=dev.nodes {
        if !programs::has_joined(&fleet.state, k) {
            join(fleet, &connection, k).await?;
            say(&format!("{} has joined", agent_name(k)));
        }
        fleet.start_agent(k)?;
    }
    // From here on who dies is started again, also while the rest comes up.
    let state = fleet.state.root().to_owned();
    let mut record = fleet.state.record()?;
    let with_example = !dev.no_example && !record.example;
    let come_up = async {
        until_ready(&connection, dev.nodes, shell).await?;
        say(&format!("{} nodes are ready", dev.nodes));
        if with_example {
            example::deploy(shell, &connection).await?;
        }
        functions(&connection).await
    };
    let functions = tokio::select! {
        functions = come_up => functions?,
        Err(failure) = fleet.watch() => return Err(failure),
    };
    if with_example {
        record.example = true;
        fleet.state.save(&record)?;
    }
    say("done");
    let summary = Summary {
        context: CONTEXT.into(),
        current,
        server,
        control_plane_url: format!("http://127.0.0.1:{}", fleet.programs.ports.control_http),
        nodes: addresses(&fleet.programs.ports, agent_name),
        dir: state.display().to_string(),
        functions,
    };
    if shell.output.is_json() {
        shell.output.json_line(&summary)?
    } else {
        shell.output.line(&summary.text())?
    }
    fleet.watch().await
}

/// Waits until the control plane has written the operator's credential and answers to it.
async fn until_control_plane(fleet: &mut Fleet) -> Result<(Credential, Connection)> {
    let path = programs::credential(&fleet.state);
    let server = fleet.programs.ports.server();
    let deadline = Instant::now() + CONTROL_PLANE_PATIENCE;
    let mut last = None;
    let answered = async {
        loop {
            match connect(&path, &server).await {
                Ok(connected) => return Ok(connected),
                Err(failure) => last = Some(failure),
            }
            if Instant::now() > deadline {
                let failure = last.take().unwrap_or_else(|| Failure::silent(Exit::TimedOut));
                return Err(failure.hint("the log of littorald has the cause"));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    tokio::select! {
        answered = answered => answered,
        Err(failure) = fleet.watch() => Err(failure),
    }
}

async fn connect(path: &Path, server: &str) -> Result<(Credential, Connection)> {
    let mut credential = Credential::load(path)?;
    // An earlier run may have had other ports.
    server.clone_into(&mut credential.server);
    let connection = Connection::open(CONTEXT, server, &Context::from(credential.clone())).await?;
    crate::commands::status::fetch(&connection).await?;
    Ok((credential, connection))
}

/// Adds the context; true when it is the current one.
fn add_context(shell: &Shell, credential: Credential) -> Result<bool> {
    let path = shell.target.config_path()?;
    let mut config = Config::load(&path)?;
    context::add(&mut config, CONTEXT, credential)?;
    config.save(&path)?;
    Ok(config.current.as_deref() == Some(CONTEXT))
}

/// Lets an agent join with a token of its own, which brings its labels.
async fn join(fleet: &Fleet, connection: &Connection, k: u16) -> Result<()> {
    let labels = [("zone".to_owned(), zone(k))].into();
    let request = pb::CreateTokenRequest { ttl_ms: TOKEN_TTL_MS, uses: 1, labels };
    let answer = connection.fleet().create_token(call(request)).await;
    let token = answer.tried(format!("create a token for {}", agent_name(k)))?.into_inner().token;
    let file = TokenFile::write(fleet.state.root().join(format!("token-{k}")), &token)?;
    let program = fleet.programs.join(&fleet.state, k, &file.0);
    fleet.run_to_end(&program, JOIN_PATIENCE).await
}

/// `a`, `b`, `c` …
fn zone(k: u16) -> String {
    char::from(b'a' + u8::try_from((k - 1) % 26).unwrap_or(0)).to_string()
}

/// Removed when it has been read.
struct TokenFile(PathBuf);

impl TokenFile {
    fn write(path: PathBuf, token: &str) -> Result<Self> {
        let written = files::write_atomic(&path, token.as_bytes());
        written.map_err(|error| Failure::caused("hand over a join token", &error))?;
        Ok(Self(path))
    }
}

impl Drop for TokenFile {
    fn drop(&mut self) {
        // The token is used up or ends soon.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Waits until all agents of this run are ready.
async fn until_ready(connection: &Connection, nodes: u16, shell: &Shell) -> Result<()> {
    let deadline = Instant::now() + NODES_PATIENCE;
    let names: Vec<String> = (1..=nodes).map(agent_name).collect();
    let mut progress = Progress::waiting(shell.output, "waiting for the nodes");
    loop {
        let answer = connection.fleet().list_nodes(call(pb::ListNodesRequest {})).await;
        let listed = answer.tried("look at the nodes")?.into_inner().nodes;
        let is_ready = |name: &String| {
            listed.iter().any(|node| node.name == *name && node.availability() == Availability::Ready)
        };
        let missing: Vec<String> = names.iter().filter(|name| !is_ready(name)).cloned().collect();
        if missing.is_empty() {
            return Ok(());
        }
        if Instant::now() > deadline {
            let message = format!("{} not ready after {NODES_PATIENCE:?}", missing.join(", "));
            return Err(Failure::new(Exit::TimedOut, message).hint("their logs have the cause"));
        }
        progress.now(&format!("waiting for {}", missing.join(", ")));
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn functions(connection: &Connection) -> Result<Vec<String>> {
    let answer = connection.fleet().list_functions(call(pb::ListFunctionsRequest {})).await;
    let functions = answer.tried("list the functions")?.into_inner().functions;
    Ok(functions.into_iter().map(|function| function.name).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_go_around() {
        assert_eq!([1, 2, 3, 26, 27].map(zone), ["a", "b", "c", "z", "a"]);
    }

    #[test]
    fn a_token_does_not_stay() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        let file = TokenFile::write(path.clone(), "secret").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"secret");
        drop(file);
        assert!(!path.exists());
    }
}
