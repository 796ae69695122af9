pub(crate) mod push;

use std::path::PathBuf;

use clap::Subcommand;
use littoral_platform::clock;
use littoral_proto::v1 as pb;

use super::present;
use crate::Shell;
use crate::confirm::Confirm;
use crate::connection::call;
use crate::errors::{Result, Tried};
use crate::views::module::{DiffView, ModuleDetails, ModuleView};

#[derive(Debug, Subcommand)]
pub(crate) enum ModuleCommand {
    /// Push a .wasm file: a component or a core module
    #[command(after_help = "\
Examples:
  littoral module push hello.wasm
  littoral module push target/hello.wasm --name hello --version 1.4.0 --message 'faster'")]
    Push {
        /// The file
        file: PathBuf,
        /// Name of the module [default: the file's name without .wasm]
        #[arg(long)]
        name: Option<String>,
        /// Version, immutable once pushed [default: sha- and 12 digits of its digest]
        #[arg(long)]
        version: Option<String>,
        /// What it is, for people
        #[arg(long, short, default_value = "", hide_default_value = true, value_name = "TEXT")]
        message: String,
    },
    /// List all modules, or the versions of one
    #[command(visible_alias = "ls")]
    List {
        /// Only this one
        name: Option<String>,
    },
    /// Show imports, exports, and native code for each kind of CPU
    #[command(visible_alias = "describe")]
    Inspect {
        /// NAME@VERSION, or NAME for the newest
        module: String,
    },
    /// Compare what two modules import and export
    Diff {
        /// NAME@VERSION
        a: String,
        /// NAME@VERSION
        b: String,
    },
    /// Compile for CPUs that the fleet does not have yet, or again after a failure
    #[command(after_help = "\
Example:
  littoral module compile hello@1.4.0 --target aarch64-v8.1-wide")]
    Compile {
        /// NAME@VERSION, or NAME for the newest
        module: String,
        /// As in x86_64-v3-wide; may be repeated [default: all that the fleet has]
        #[arg(long = "target", value_name = "TARGET")]
        targets: Vec<String>,
    },
    /// Remove a version that no function uses
    #[command(visible_aliases = ["remove", "delete"])]
    Rm {
        /// NAME@VERSION; may be several
        #[arg(required = true)]
        modules: Vec<String>,
        #[command(flatten)]
        confirm: Confirm,
    },
}

pub(crate) async fn run(command: ModuleCommand, shell: &Shell) -> Result<()> {
    match command {
        ModuleCommand::Push { file, name, version, message } => {
            push::run(shell, &file, name, version.unwrap_or_default(), message).await
        }
        ModuleCommand::List { name } => list(shell, name.unwrap_or_default()).await,
        ModuleCommand::Inspect { module } => inspect(shell, module).await,
        ModuleCommand::Diff { a, b } => diff(shell, a, b).await,
        ModuleCommand::Compile { module, targets } => compile(shell, module, targets).await,
        ModuleCommand::Rm { modules, confirm } => remove(shell, modules, confirm).await,
    }
}

async fn list(shell: &Shell, name: String) -> Result<()> {
    let mut registry = shell.target.connect().await?.registry();
    let answer =
        registry.list_modules(call(pb::ListModulesRequest { name })).await.tried("list the modules")?;
    let rows: Vec<ModuleView> = answer.into_inner().modules.into_iter().map(ModuleView::from).collect();
    shell.output.list(&rows, "modules: push one with `littoral module push FILE`")
}

async fn inspect(shell: &Shell, module: String) -> Result<()> {
    let tried = format!("inspect module `{module}`");
    let mut registry = shell.target.connect().await?.registry();
    let mut answer =
        registry.get_module(call(pb::GetModuleRequest { module })).await.tried(&tried)?.into_inner();
    let version = present(answer.module.take(), &tried)?;
    let details = ModuleDetails::new(version, answer);
    shell.output.object(&details, || details.text(clock::now(), shell.output.color))
}

async fn diff(shell: &Shell, a: String, b: String) -> Result<()> {
    let tried = format!("compare `{a}` and `{b}`");
    let mut registry = shell.target.connect().await?.registry();
    let request = call(pb::DiffModulesRequest { a, b });
    let mut answer = registry.diff_modules(request).await.tried(&tried)?.into_inner();
    let (a, b) = (present(answer.a.take(), &tried)?, present(answer.b.take(), &tried)?);
    let view = DiffView::new(a, b, answer);
    if shell.output.is_json() { shell.output.json(&view) } else { shell.output.line(&view.text()) }
}

async fn compile(shell: &Shell, module: String, targets: Vec<String>) -> Result<()> {
    let tried = format!("have `{module}` compiled");
    let mut registry = shell.target.connect().await?.registry();
    let request = call(pb::CompileModuleRequest { module: module.clone(), targets });
    let queued = registry.compile_module(request).await.tried(&tried)?.into_inner().queued;
    if shell.output.is_json() {
        return shell.output.json(&queued);
    }
    if queued.is_empty() {
        shell.output.note("nothing to do: native code is there for every target");
        return Ok(());
    }
    queued.iter().try_for_each(|target| shell.output.line(target))?;
    shell.output.note(&format!("queued; see how it goes: littoral module inspect {module}"));
    Ok(())
}

async fn remove(shell: &Shell, modules: Vec<String>, confirm: Confirm) -> Result<()> {
    confirm.ask(&format!("Remove {}?", modules.join(", ")))?;
    let mut registry = shell.target.connect().await?.registry();
    for module in modules {
        let request = call(pb::RemoveModuleRequest { module: module.clone() });
        registry.remove_module(request).await.tried(format!("remove module `{module}`"))?;
        shell.output.note(&format!("module/{module} removed"));
    }
    Ok(())
}
