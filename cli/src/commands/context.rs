use std::path::PathBuf;

use clap::Subcommand;
use littoral_model::time::Timestamp;
use serde::Serialize;

use crate::Shell;
use crate::confirm::Confirm;
use crate::connection::config::{self, Config, Context, Credential};
use crate::connection::identity;
use crate::errors::{Exit, Failure, Result};
use crate::output::listing::{Column, Listed, Tone, Value, col, restless};
use crate::output::units;

#[derive(Debug, Subcommand)]
pub(crate) enum ContextCommand {
    /// List the contexts; `*` marks the current one
    #[command(visible_alias = "ls")]
    List,
    /// Make a context the current one
    Use {
        /// Its name
        name: String,
    },
    /// Add a context from a credential file, or replace it
    #[command(after_help = "\
Example:
  littoral context add shop --from operator.toml")]
    Add {
        /// What to call it
        name: String,
        /// File that littorald or `littoral user create` wrote
        #[arg(long, value_name = "FILE")]
        from: PathBuf,
    },
    /// Forget a context and its private key
    #[command(visible_alias = "remove")]
    Rm {
        /// Its name
        name: String,
        #[command(flatten)]
        confirm: Confirm,
    },
}

#[derive(Debug, Serialize)]
struct ContextView {
    name: String,
    current: bool,
    server: String,
    /// SPIFFE id; nothing when the certificate cannot be read.
    identity: Option<String>,
    expires_at: Option<String>,
    #[serde(skip)]
    expires_at_ms: u64,
}

impl ContextView {
    fn new(name: &str, context: &Context, config: &Config) -> Self {
        let leaf = identity(context).ok().map(|identity| identity.leaf().clone());
        let expires_at_ms = leaf.as_ref().map_or(0, |leaf| leaf.not_after.as_millis());
        Self {
            name: name.to_owned(),
            current: config.current.as_deref() == Some(name),
            server: context.server.clone(),
            identity: leaf.map(|leaf| leaf.spiffe.to_string()),
            expires_at: units::time(expires_at_ms),
            expires_at_ms,
        }
    }
}

impl Listed for ContextView {
    const COLUMNS: &'static [Column] =
        &[col("CURRENT"), col("NAME"), col("SERVER"), col("IDENTITY"), restless("EXPIRES")];

    fn name(&self) -> String {
        self.name.clone()
    }

    fn values(&self, now: Timestamp) -> Vec<Value> {
        let identity = match &self.identity {
            Some(identity) => identity.clone().into(),
            None => Value::toned("unreadable", Tone::Bad),
        };
        vec![
            if self.current { "*" } else { " " }.into(),
            self.name.clone().into(),
            self.server.clone().into(),
            identity,
            units::until(now, self.expires_at_ms).into(),
        ]
    }
}

pub(crate) fn run(command: ContextCommand, shell: &Shell) -> Result<()> {
    let path = shell.target.config_path()?;
    let mut config = Config::load(&path)?;
    match command {
        ContextCommand::List => {
            let view = |(name, context): (&String, &Context)| ContextView::new(name, context, &config);
            let rows: Vec<ContextView> = config.contexts.iter().map(view).collect();
            return shell
                .output
                .list(&rows, "contexts: `littoral dev` makes one, and `littoral context add`");
        }
        ContextCommand::Use { name } => {
            config.context(Some(&name))?;
            shell.output.note(&format!("current context: {name}"));
            config.current = Some(name);
        }
        ContextCommand::Add { name, from } => {
            add(&mut config, &name, Credential::load(&from)?)?;
            let current = config.current.as_deref() == Some(name.as_str());
            let hint = if current {
                "it is the current one".into()
            } else {
                format!("use it: littoral context use {name}")
            };
            shell.output.note(&format!("context {name} added; {hint}"));
        }
        ContextCommand::Rm { name, confirm } => {
            config.contexts.get(&name).ok_or_else(|| config::unknown(&name, &config.contexts))?;
            confirm.ask(&format!("Forget context `{name}` and its private key?"))?;
            config.contexts.remove(&name);
            config.current.take_if(|current| *current == name);
            shell.output.note(&format!("context {name} removed"));
        }
    }
    config.save(&path)
}

/// Adds a context whose credential can be used. The first one becomes the current one.
pub(crate) fn add(config: &mut Config, name: &str, credential: Credential) -> Result<()> {
    if name.is_empty() || name.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(Failure::usage(format!("`{}` is not a name for a context", name.escape_debug())));
    }
    let context = Context::from(credential);
    identity(&context).map_err(|error| {
        Failure::new(
            Exit::Error,
            format!("could not add context `{name}`: the credential cannot be used: {error}"),
        )
        .hint("make a new one: littoral user create NAME --role ROLE")
    })?;
    config.contexts.insert(name.to_owned(), context);
    config.current.get_or_insert_with(|| name.to_owned());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::{Format, listing};

    fn credential() -> Credential {
        Credential {
            name: "ada".into(),
            server: "https://shop:7443".into(),
            ca_pem: "no certificate".into(),
            certificate_pem: "no certificate".into(),
            key_pem: "no key".into(),
        }
    }

    #[test]
    fn a_credential_that_cannot_be_used_is_not_added() {
        let mut config = Config::default();
        assert!(add(&mut config, "shop", credential()).unwrap_err().hint.is_some());
        assert_eq!(add(&mut config, "a b", credential()).unwrap_err().exit, Exit::Usage);
        assert!(config.contexts.is_empty() && config.current.is_none());
    }

    #[test]
    fn a_broken_context_is_listed_as_such() {
        let mut config = Config::default();
        config.contexts.insert("shop".into(), credential().into());
        config.current = Some("shop".into());
        let rows = [ContextView::new("shop", &config.contexts["shop"], &config)];
        assert_eq!(
            listing::render(&rows, Format::Table, Timestamp::from_millis(1), false),
            "CURRENT   NAME   SERVER              IDENTITY     EXPIRES\n\
             *         shop   https://shop:7443   unreadable   -"
        );
    }
}
