//! `run` on a machine that is no node yet.

use std::path::Path;
use std::time::Duration;

use littoral_platform::backoff::Backoff;
use littoral_platform::error::Chain;
use littoral_platform::random;
use littoral_platform::signal::shutdown_signal;
use tokio::time::sleep;

use super::{Failure, TOKEN_ENV, read_token};
use crate::config::RunSettings;
use crate::join::{Join, join};

/// A machine that boots before its network does not wait for long after it.
const RETRY_BASE: Duration = Duration::from_secs(1);
const RETRY_CAP: Duration = Duration::from_secs(30);

/// Joins when there is a token and no membership yet; waits for a control plane that cannot be reached. `false`: asked to
/// stop meanwhile.
///
/// # Errors
/// When the token cannot be read, no control plane is named, or it refuses: what to do is said.
pub(super) async fn join_first(
    settings: &RunSettings,
    name: Option<&str>,
    token_file: Option<&Path>,
) -> Result<bool, Failure> {
    let has_token = token_file.is_some() || std::env::var_os(TOKEN_ENV).is_some();
    // Without a token, `run` says that the node has not joined.
    if !has_token || settings.data.node().exists() {
        return Ok(true);
    }
    let Some(server) = settings.server.as_deref() else {
        let text =
            "this node has not joined yet, and there is a token: name the control plane too, with --server";
        return Err(Failure::usage(text.to_owned()));
    };
    let joining = async {
        let mut backoff = Backoff::new(RETRY_BASE, RETRY_CAP);
        loop {
            match attempt(settings, server, name, token_file).await {
                Err(failure) if failure.is_unreachable() => {
                    tracing::warn!("could not join yet: {}", Chain(failure.error.as_ref()));
                    sleep(backoff.next(random::number())).await;
                }
                done => return done,
            }
        }
    };
    tokio::select! {
        joined = joining => joined.map(|()| true),
        signal = shutdown_signal() => {
            tracing::info!("{}: stopping before it has joined", signal?);
            Ok(false)
        }
    }
}

async fn attempt(
    settings: &RunSettings,
    server: &str,
    name: Option<&str>,
    token_file: Option<&Path>,
) -> Result<(), Failure> {
    let wish = Join {
        server: server.parse()?,
        // Each time anew: whoever makes tokens may have put a fresh one there.
        token: read_token(token_file)?,
        name: name.map(str::to_owned),
        // Without node.json there is no membership: what else is there is left of a join that was cut.
        force: true,
    };
    let node = join(&settings.data, wish).await?;
    tracing::info!(node = node.name, id = node.id, cluster = node.cluster, "joined");
    Ok(())
}
