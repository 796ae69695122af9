use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Subcommand;
use littoral_platform::files;
use littoral_proto::v1 as pb;

use super::{duration, label, millis};
use crate::Shell;
use crate::confirm::Confirm;
use crate::connection::call;
use crate::errors::{Failure, Result, Tried};
use crate::output::Format;
use crate::output::units;
use crate::views::token::{NewToken, TokenView};

#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Make a token with which nodes join; its secret is printed once
    #[command(after_help = "\
Example:
  littoral token create --ttl 10m --label zone=a --out token
  littoral-agent join --server https://HOST:7443 --token-file token")]
    Create {
        /// How long it is good for: 1s to 30d
        #[arg(long, default_value = "10m", value_parser = duration)]
        ttl: Duration,
        /// How many nodes may join with it
        #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        uses: u32,
        /// Label of the nodes that join with it; may be repeated
        #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
        labels: Vec<(String, String)>,
        /// Write the token to this file, which only its owner reads, instead of printing it
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// List the tokens that can still be used
    #[command(visible_alias = "ls")]
    List,
    /// Make a token useless; nodes that have joined with it stay
    Revoke {
        /// As `littoral token list` shows it
        id: String,
        #[command(flatten)]
        confirm: Confirm,
    },
}

pub(crate) async fn run(command: TokenCommand, shell: &Shell) -> Result<()> {
    match command {
        TokenCommand::Create { ttl, uses, labels, out } => {
            let labels = labels.into_iter().collect();
            let request = pb::CreateTokenRequest { ttl_ms: millis(ttl), uses, labels };
            create(shell, request, out.as_deref()).await
        }
        TokenCommand::List => {
            let mut fleet = shell.target.connect().await?.fleet();
            let answer = fleet.list_tokens(call(pb::ListTokensRequest {})).await.tried("list the tokens")?;
            let rows: Vec<TokenView> = answer.into_inner().tokens.into_iter().map(TokenView::from).collect();
            shell.output.list(&rows, "tokens")
        }
        TokenCommand::Revoke { id, confirm } => {
            confirm.ask(&format!("Revoke token `{id}`?"))?;
            let mut fleet = shell.target.connect().await?.fleet();
            let request = call(pb::RevokeTokenRequest { id: id.clone() });
            fleet.revoke_token(request).await.tried(format!("revoke token `{id}`"))?;
            shell.output.note(&format!("token/{id} revoked"));
            Ok(())
        }
    }
}

async fn create(shell: &Shell, request: pb::CreateTokenRequest, out: Option<&Path>) -> Result<()> {
    let connection = shell.target.connect().await?;
    let answer = connection.fleet().create_token(call(request)).await.tried("create a token")?.into_inner();
    let token =
        NewToken { id: answer.id, token: answer.token, expires_at: units::time(answer.expires_at_ms) };
    if let Some(path) = out {
        let tried = format!("write token {} to {}", token.id, path.display());
        files::write_atomic(path, format!("{}\n", token.token).as_bytes())
            .map_err(|error| Failure::caused(tried, &error))?;
        shell.output.note(&format!("token {} is in {}", token.id, path.display()));
        return Ok(());
    }
    match shell.output.format {
        Format::Json => return shell.output.json(&token),
        Format::Name => return shell.output.line(&token.token),
        Format::Table | Format::Wide => shell.output.line(&token.token)?,
    }
    let expires = token.expires_at.as_deref().unwrap_or("never");
    shell.output.note(&format!(
        "token {} expires {expires}. It is shown this once: write it to a file, then",
        token.id
    ));
    shell.output.note(&format!("  littoral-agent join --server {} --token-file FILE", connection.server));
    Ok(())
}
