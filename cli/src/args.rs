//! The command line: verbs, flags, and what `--help` says.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::commands::apply::{Apply, Validate};
use crate::commands::completion::Completion;
use crate::commands::context::ContextCommand;
use crate::commands::events::Events;
use crate::commands::function::FunctionCommand;
use crate::commands::module::ModuleCommand;
use crate::commands::node::NodeCommand;
use crate::commands::token::TokenCommand;
use crate::commands::user::UserCommand;
use crate::commands::version::Version;
use crate::connection::Target;
use crate::output::{Format, Output};

const EXAMPLES: &str = "\
Examples:
  littoral dev                                   a whole fleet on this machine
  littoral apply -f function.toml --wait         push, apply, and wait until it runs
  littoral function list -w                      watch the functions
  littoral function invoke hello --data 'hi'     run one once
  littoral node list -o wide                     the machines

Exit codes:
  0 ok, 1 error, 2 usage, 3 not found, 4 conflict, 5 denied, 6 control plane unreachable,
  7 timed out and still going, 8 rollout failed, 9 verification failed";

/// Runs WebAssembly functions on a fleet of edge nodes
#[derive(Debug, Parser)]
#[command(name = "littoral", version, after_help = EXAMPLES, max_term_width = 110)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Flags that every command takes.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// Columns, more columns, whole objects, or names alone
    #[arg(
        short = 'o',
        long = "output",
        value_enum,
        global = true,
        default_value = "table",
        env = "LITTORAL_OUTPUT",
        hide_env_values = true
    )]
    format: Format,
    /// Context to use instead of the current one
    #[arg(long, value_name = "NAME", global = true, env = "LITTORAL_CONTEXT", hide_env_values = true)]
    context: Option<String>,
    /// Credential file that littorald or `littoral user create` wrote, instead of any context
    #[arg(long, value_name = "FILE", global = true, env = "LITTORAL_CREDENTIAL", hide_env_values = true)]
    credential: Option<PathBuf>,
    /// Address of the control plane, instead of the context's: https://HOST:PORT
    #[arg(long, value_name = "URL", global = true, env = "LITTORAL_SERVER", hide_env_values = true)]
    server: Option<String>,
    /// File of contexts [default: ~/.config/littoral/config.toml]
    #[arg(long, value_name = "FILE", global = true, env = "LITTORAL_CONFIG", hide_env_values = true)]
    config: Option<PathBuf>,
    /// Print data and errors alone
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    quiet: bool,
    /// Print more on stderr
    #[arg(short, long, global = true)]
    verbose: bool,
}

impl Global {
    pub(crate) fn output(&self) -> Output {
        Output::new(self.format, self.quiet, self.verbose)
    }

    /// An empty variable of the environment is one that is not set.
    pub(crate) fn target(&self) -> Target {
        let set = |value: &Option<String>| value.clone().filter(|value| !value.is_empty());
        let file = |path: &Option<PathBuf>| path.clone().filter(|path| !path.as_os_str().is_empty());
        Target {
            context: set(&self.context),
            credential: file(&self.credential),
            server: set(&self.server),
            config: file(&self.config),
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    #[cfg(feature = "dev")]
    Dev(crate::dev::Dev),
    /// Push, list and inspect modules
    #[command(subcommand, visible_alias = "modules")]
    Module(ModuleCommand),
    Validate(Validate),
    Apply(Apply),
    /// List, describe, invoke and delete functions
    #[command(subcommand, visible_aliases = ["functions", "fn"])]
    Function(FunctionCommand),
    /// List, describe and revoke nodes
    #[command(subcommand, visible_alias = "nodes")]
    Node(NodeCommand),
    /// Tokens with which nodes join
    #[command(subcommand, visible_alias = "tokens")]
    Token(TokenCommand),
    /// Operators and their roles
    #[command(subcommand, visible_alias = "users")]
    User(UserCommand),
    /// Which control plane this command talks to, and as whom
    #[command(subcommand, visible_alias = "contexts")]
    Context(ContextCommand),
    Events(Events),
    /// The fleet at a glance
    Status,
    Version(Version),
    Completion(Completion),
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;
    use clap::error::ErrorKind;

    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(std::iter::once("littoral").chain(line.split_whitespace()))
    }

    #[test]
    fn the_command_line_contradicts_itself_nowhere() {
        Cli::command().debug_assert();
    }

    #[test]
    fn global_flags_stand_anywhere() {
        for line in ["-o json --context a node list", "node list -o json --context a"] {
            let cli = parse(line).unwrap();
            assert!(cli.global.output().is_json(), "{line}");
            assert_eq!(cli.global.target().context.as_deref(), Some("a"), "{line}");
        }
    }

    #[test]
    fn the_documented_forms_are_understood() {
        for line in [
            "module push a.wasm --name a --version 1 --message m",
            "module list a",
            "module inspect a@1",
            "module diff a@1 a@2",
            "module rm a@1 -y",
            "module compile a@1 --target aarch64-v8.1-wide --target x86_64-v3-wide",
            "validate -f a.toml -f b.toml",
            "apply -f - --wait --timeout 1m",
            "apply -f dir --dry-run",
            "function list -w",
            "function describe a",
            "fn invoke a --call add(1,2) --node n --deadline 10s",
            "function invoke a --method PUT --path /x --header a:b --header c:d --data-file -",
            "function delete a b -y",
            "nodes ls -o wide -l zone=a -l site=b",
            "node revoke n --reason stolen -y",
            "token create --ttl 10m --uses 2 --label zone=a --label site=b",
            "token create --out /run/tokens/shop-1 --credential operator.toml",
            "token revoke t -y",
            "user create ada --role deployer",
            "context add a --from f.toml",
            "context use a",
            "context rm a -y",
            "events -f",
            "status",
            "version --client",
            "completion zsh",
        ] {
            parse(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        }
    }

    #[cfg(feature = "dev")]
    #[test]
    fn dev_is_understood() {
        for line in ["dev", "dev --nodes 5 --no-example --dir x", "dev --base-port 0 -v"] {
            parse(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        }
        assert!(parse("dev --nodes 0").is_err() && parse("dev --nodes 27").is_err());
    }

    #[test]
    fn mistakes_are_usage_errors() {
        for (line, kind) in [
            ("", ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand),
            ("nonsense", ErrorKind::InvalidSubcommand),
            ("apply", ErrorKind::MissingRequiredArgument),
            ("apply -f a --timeout soon", ErrorKind::ValueValidation),
            ("function invoke a --data x --data-file y", ErrorKind::ArgumentConflict),
            ("function invoke a --call f() --path /x", ErrorKind::ArgumentConflict),
            ("token create --label zone", ErrorKind::ValueValidation),
            ("user create ada --role king", ErrorKind::InvalidValue),
            ("status -q -v", ErrorKind::ArgumentConflict),
            ("status -o yaml", ErrorKind::InvalidValue),
        ] {
            let error = parse(line).unwrap_err();
            assert_eq!(error.kind(), kind, "{line}: {error}");
            assert_eq!(error.exit_code(), 2, "{line}");
        }
    }
}
