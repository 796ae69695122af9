pub(crate) mod invoke;

use clap::Subcommand;
use littoral_platform::clock;
use littoral_proto::v1 as pb;

use super::present;
use crate::Shell;
use crate::confirm::Confirm;
use crate::connection::{Connection, call};
use crate::errors::{Result, Tried};
use crate::views::function::FunctionView;
use crate::views::function::details::FunctionDetails;
use crate::watch;

#[derive(Debug, Subcommand)]
pub(crate) enum FunctionCommand {
    /// List the functions
    #[command(visible_alias = "ls")]
    List {
        /// Print changes until interrupted
        #[arg(short, long)]
        watch: bool,
    },
    /// Show a function: its spec, its rollout, why it waits, and how it is on each node
    Describe {
        /// Its name
        name: String,
    },
    Invoke(Box<invoke::Invoke>),
    /// Stop a function everywhere and forget it; its module stays
    #[command(visible_alias = "rm")]
    Delete {
        /// Its name; may be several
        #[arg(required = true)]
        names: Vec<String>,
        #[command(flatten)]
        confirm: Confirm,
    },
}

pub(crate) async fn run(command: FunctionCommand, shell: &Shell) -> Result<()> {
    match command {
        FunctionCommand::List { watch } => list(shell, watch).await,
        FunctionCommand::Describe { name } => describe(shell, &name).await,
        FunctionCommand::Invoke(invoke) => invoke::run(*invoke, shell).await,
        FunctionCommand::Delete { names, confirm } => delete(shell, names, confirm).await,
    }
}

async fn list(shell: &Shell, watch: bool) -> Result<()> {
    let connection = shell.target.connect().await?;
    let fetch = || async {
        let answer = connection.fleet().list_functions(call(pb::ListFunctionsRequest {})).await;
        let functions = answer.tried("list the functions")?.into_inner().functions;
        let mut rows: Vec<FunctionView> = functions.into_iter().map(FunctionView::from).collect();
        rows.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(rows)
    };
    watch::list(shell.output, watch, "functions: apply one with `littoral apply -f FILE`", fetch).await
}

async fn describe(shell: &Shell, name: &str) -> Result<()> {
    let details = fetch(&shell.target.connect().await?, name).await?;
    shell.output.object(&details, || details.text(clock::now(), shell.output.color))
}

/// A function as it is now.
pub(crate) async fn fetch(connection: &Connection, name: &str) -> Result<FunctionDetails> {
    let tried = format!("look at function `{name}`");
    let request = call(pb::GetFunctionRequest { name: name.to_owned() });
    let answer = connection.fleet().get_function(request).await.tried(&tried)?.into_inner();
    Ok(FunctionDetails::new(present(answer.function, &tried)?, answer.nodes))
}

async fn delete(shell: &Shell, names: Vec<String>, confirm: Confirm) -> Result<()> {
    confirm.ask(&format!("Stop and forget {}?", names.join(", ")))?;
    let mut fleet = shell.target.connect().await?.fleet();
    for name in names {
        let request = call(pb::DeleteFunctionRequest { name: name.clone() });
        fleet.delete_function(request).await.tried(format!("delete function `{name}`"))?;
        shell.output.note(&format!("function/{name} deleted"));
    }
    Ok(())
}
