use clap::Args;
use serde::Serialize;

use super::status;
use crate::Shell;
use crate::errors::Result;

/// Versions of this command and of the control plane
#[derive(Debug, Args)]
pub(crate) struct Version {
    /// This command's alone: asks nobody
    #[arg(long)]
    client: bool,
}

#[derive(Debug, Serialize)]
struct VersionView<'a> {
    client: &'static str,
    server: Option<&'a str>,
}

pub(crate) async fn run(version: &Version, shell: &Shell) -> Result<()> {
    let client = env!("CARGO_PKG_VERSION");
    let server = match version.client {
        true => Ok(None),
        false => ask(shell).await.map(Some),
    };
    // What is known is said, whether or not the control plane answers.
    let known = server.as_ref().ok().and_then(Option::as_deref);
    if shell.output.is_json() {
        shell.output.json(&VersionView { client, server: known })?;
    } else {
        shell.output.line(&format!("client: {client}"))?;
        known.map_or(Ok(()), |server| shell.output.line(&format!("server: {server}")))?;
    }
    server.map(drop)
}

async fn ask(shell: &Shell) -> Result<String> {
    let connection = shell.target.connect().await?;
    Ok(status::fetch(&connection).await?.version)
}
