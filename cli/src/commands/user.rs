use std::path::{Path, PathBuf};

use clap::{Subcommand, ValueEnum};
use littoral_model::id::UserName;
use littoral_platform::identity::KeyAndCsr;
use littoral_proto::v1 as pb;

use super::{context, present};
use crate::Shell;
use crate::confirm::Confirm;
use crate::connection::call;
use crate::connection::config::{Config, Credential};
use crate::errors::{Exit, Failure, Result, Tried};
use crate::views::user::UserView;

#[derive(Debug, Subcommand)]
pub(crate) enum UserCommand {
    /// Make an operator: a credential file for them, or a context here
    #[command(after_help = "\
Examples:
  littoral user create ci --role deployer
  littoral --context ci module list
  littoral user create ada --role deployer --out ada.toml
  littoral context add shop --from ada.toml        on ada's machine")]
    Create {
        /// Letters a-z, digits and -
        name: UserName,
        /// What they may do
        #[arg(long, value_enum)]
        role: RoleName,
        /// Write the credential to this file [default: add a context NAME here]
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// List the operators
    #[command(visible_alias = "ls")]
    List,
    /// Refuse an operator's certificates from now on
    Revoke {
        /// As `littoral user list` shows it
        name: String,
        #[command(flatten)]
        confirm: Confirm,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum RoleName {
    /// Reads
    Viewer,
    /// Pushes, applies and invokes as well
    Deployer,
    /// Nodes, tokens and users as well
    Admin,
}

impl From<RoleName> for pb::Role {
    fn from(role: RoleName) -> Self {
        match role {
            RoleName::Viewer => Self::Viewer,
            RoleName::Deployer => Self::Deployer,
            RoleName::Admin => Self::Admin,
        }
    }
}

pub(crate) async fn run(command: UserCommand, shell: &Shell) -> Result<()> {
    match command {
        UserCommand::Create { name, role, out } => {
            create(shell, name.as_str(), role.into(), out.as_deref()).await
        }
        UserCommand::List => {
            let mut fleet = shell.target.connect().await?.fleet();
            let answer = fleet.list_users(call(pb::ListUsersRequest {})).await.tried("list the users")?;
            let rows: Vec<UserView> = answer.into_inner().users.into_iter().map(UserView::from).collect();
            shell.output.list(&rows, "users")
        }
        UserCommand::Revoke { name, confirm } => {
            confirm.ask(&format!("Refuse every certificate of user `{name}`?"))?;
            let mut fleet = shell.target.connect().await?.fleet();
            let request = call(pb::RevokeUserRequest { name: name.clone() });
            fleet.revoke_user(request).await.tried(format!("revoke user `{name}`"))?;
            shell.output.note(&format!("user/{name} revoked"));
            Ok(())
        }
    }
}

/// The key is made here and leaves this machine in the credential file alone.
async fn create(shell: &Shell, name: &str, role: pb::Role, out: Option<&Path>) -> Result<()> {
    let tried = format!("create user `{name}`");
    check_free(shell, name, out, &tried)?;
    let connection = shell.target.connect().await?;
    let key = KeyAndCsr::generate().map_err(|error| Failure::caused(&tried, &error))?;
    let request = pb::CreateUserRequest { name: name.to_owned(), role: role.into(), csr_pem: key.csr_pem() };
    let answer = connection.fleet().create_user(call(request)).await.tried(&tried)?.into_inner();
    let identity = key.into_identity(answer.certificate_pem.as_bytes()).map_err(|error| {
        Failure::caused(format!("{tried}: the certificate that came back cannot be used"), &error)
    })?;
    let (certificate_pem, both) = (identity.chain_pem(), identity.to_pem());
    let key_pem = both.strip_prefix(certificate_pem.as_str()).unwrap_or(&both).to_owned();
    let credential = Credential {
        name: name.to_owned(),
        server: connection.server.clone(),
        ca_pem: answer.ca_pem,
        certificate_pem,
        key_pem,
    };
    let user = UserView::from(present(answer.user, &tried)?);
    shell.output.object(&user, || format!("user/{name} created"))?;
    hand_over(shell, credential, out)
}

/// What would be written over is found before anything is made.
fn check_free(shell: &Shell, name: &str, out: Option<&Path>, tried: &str) -> Result<()> {
    let taken = match out {
        Some(out) => out.exists().then(|| format!("{} exists already", out.display())),
        None => {
            let config = Config::load(&shell.target.config_path()?)?;
            config.contexts.contains_key(name).then(|| format!("there is a context `{name}` already"))
        }
    };
    taken.map_or(Ok(()), |taken| {
        let failure = Failure::new(Exit::Conflict, format!("could not {tried}: {taken}"));
        Err(failure.hint("write the credential to another file: --out FILE"))
    })
}

fn hand_over(shell: &Shell, credential: Credential, out: Option<&Path>) -> Result<()> {
    let name = credential.name.clone();
    let Some(out) = out else {
        let path = shell.target.config_path()?;
        let mut config = Config::load(&path)?;
        context::add(&mut config, &name, credential)?;
        config.save(&path)?;
        shell.output.note(&format!("be {name}: littoral --context {name} …"));
        return Ok(());
    };
    credential.save(out)?;
    shell.output.note(&format!("{} holds a private key. On {name}'s machine:", out.display()));
    shell.output.note(&format!("  littoral context add NAME --from {}", out.display()));
    Ok(())
}
