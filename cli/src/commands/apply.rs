pub(crate) mod wait;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use littoral_model::digest::Digest;
use littoral_model::id::ModuleRef;
use littoral_model::manifest::{Manifest, ModuleSource};
use littoral_proto::{convert, v1 as pb};
use serde::Serialize;

use super::duration;
use super::module::push::push_file;
use crate::Shell;
use crate::connection::{Connection, call};
use crate::errors::{Exit, Failure, Result, Tried};
use crate::manifests::{self, Loaded};
use crate::output::{Format, plain};

/// Check manifests on this machine; asks nobody
#[derive(Debug, Args)]
pub(crate) struct Validate {
    /// Manifest, folder of manifests, or `-` for stdin; may be repeated
    #[arg(short, long = "file", value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
}

/// Make functions as their manifests say
#[derive(Debug, Args)]
#[command(after_help = "\
A manifest whose module is a path to a .wasm file has that file pushed first,
under the function's name and with a version made of its digest. A folder means
its littoral.toml, or else all of its .toml files.

Examples:
  littoral apply -f examples/hello-http --wait
  littoral apply -f a.toml -f b.toml --dry-run
  cat a.toml | littoral apply -f -")]
pub(crate) struct Apply {
    /// Manifest, folder of manifests, or `-` for stdin; may be repeated
    #[arg(short, long = "file", value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Say what would change, and change nothing
    #[arg(long, conflicts_with = "wait")]
    dry_run: bool,
    /// Wait until each runs wherever it should
    #[arg(long)]
    wait: bool,
    /// How long to wait
    #[arg(long, default_value = "5m", value_name = "TIME", value_parser = duration)]
    timeout: Duration,
}

/// What became of one manifest.
#[derive(Debug, Serialize)]
struct Applied {
    function: String,
    module: String,
    /// 0 when nothing was there and nothing was made.
    revision: u64,
    changed: bool,
    dry_run: bool,
    changes: Vec<String>,
}

impl Applied {
    fn text(&self) -> String {
        let what = match (self.changed, self.dry_run) {
            (true, false) => format!("applied (revision {})", self.revision),
            (true, true) => "would change (dry run)".into(),
            (false, false) => format!("unchanged (revision {})", self.revision),
            (false, true) => "would not change (dry run)".into(),
        };
        let mut text = format!("function/{} {what}", self.function);
        for change in &self.changes {
            text.push_str(&format!("\n  {}", plain(change)));
        }
        text
    }
}

pub(crate) fn validate(validate: &Validate, shell: &Shell) -> Result<()> {
    for loaded in manifests::load(&validate.files)? {
        if let Some(file) = loaded.module_file() {
            check_file(&file, &loaded)?;
        }
        let name = &loaded.manifest.name;
        match shell.output.format {
            Format::Json => shell.output.json_line(&serde_json::json!({ "function": name.as_str() }))?,
            Format::Name => shell.output.line(name.as_str())?,
            _ => shell.output.line(&format!("function/{name} is valid ({})", loaded.origin))?,
        }
    }
    Ok(())
}

fn check_file(file: &Path, loaded: &Loaded) -> Result<()> {
    let tried = format!("find the module of {}: look at {}", loaded.origin, file.display());
    let metadata = std::fs::metadata(file)
        .map_err(|error| Failure { exit: Exit::NotFound, ..Failure::caused(&tried, &error) })?;
    if metadata.is_file() {
        Ok(())
    } else {
        Err(Failure::error(format!("could not {tried}: it is not a file")))
    }
}

pub(crate) async fn run(apply: Apply, shell: &Shell) -> Result<()> {
    let loaded = manifests::load(&apply.files)?;
    let connection = shell.target.connect().await?;
    let mut done = Vec::new();
    let mut first_failure = None;
    for one in loaded {
        match apply_one(shell, &connection, one, apply.dry_run).await {
            Ok(applied) => {
                print(shell, &applied)?;
                done.push(applied);
            }
            // The others do not depend on it.
            Err(failure) if first_failure.is_some() => crate::output::say(failure.render().trim_end()),
            Err(failure) => first_failure = Some(failure),
        }
    }
    if shell.output.is_json() {
        shell.output.json(&done)?;
    }
    if apply.wait {
        let wanted = done.iter().map(|applied| (applied.function.as_str(), applied.revision));
        wait::until_running(shell, &connection, wanted, apply.timeout).await?;
    }
    first_failure.map_or(Ok(()), Err)
}

fn print(shell: &Shell, applied: &Applied) -> Result<()> {
    match shell.output.format {
        // One array, at the end.
        Format::Json => Ok(()),
        Format::Name => shell.output.line(&applied.function),
        Format::Table | Format::Wide => shell.output.line(&applied.text()),
    }
}

async fn apply_one(shell: &Shell, connection: &Connection, loaded: Loaded, dry_run: bool) -> Result<Applied> {
    let file = loaded.module_file();
    let manifest = loaded.manifest;
    let module = match (&manifest.module, file) {
        (ModuleSource::Registry(module), _) => module.clone(),
        (ModuleSource::File(_), file) => {
            let file = file.unwrap_or_default();
            let module = module_of(&manifest, &file).await?;
            if !is_there(connection, &module).await? {
                if dry_run {
                    return Ok(unpushed(&manifest, &module, &file));
                }
                let (name, version) = (module.name.to_string(), module.version.to_string());
                let pushed = push_file(shell, connection, &file, name, version, String::new()).await?;
                shell.output.note(&pushed.summary());
            }
            module
        }
    };
    apply_spec(connection, manifest, module, dry_run).await
}

async fn apply_spec(
    connection: &Connection,
    manifest: Manifest,
    module: ModuleRef,
    dry_run: bool,
) -> Result<Applied> {
    let (function, shown) = (manifest.name.to_string(), module.to_string());
    let spec = convert::spec_to_pb(&manifest.into_spec(module));
    let request = pb::ApplyFunctionRequest { spec: Some(spec), expected_revision: 0, dry_run };
    let answer = connection.fleet().apply_function(call(request)).await;
    let answer = answer.tried(format!("apply function `{function}`"))?.into_inner();
    Ok(Applied {
        function,
        module: shown,
        revision: answer.revision,
        changed: answer.changed,
        dry_run,
        changes: answer.changes,
    })
}

/// What a module file is called in the registry: the function's name, and a version made of its digest.
async fn module_of(manifest: &Manifest, file: &Path) -> Result<ModuleRef> {
    let tried = format!("name the module {}", file.display());
    let digest = digest(file).await?;
    Ok(ModuleRef {
        name: manifest.name.as_str().parse().map_err(|error| Failure::caused(&tried, &error))?,
        version: format!("sha-{}", digest.short())
            .parse()
            .map_err(|error| Failure::caused(&tried, &error))?,
    })
}

async fn digest(file: &Path) -> Result<Digest> {
    let failed = |error: std::io::Error| {
        let exit = if error.kind() == std::io::ErrorKind::NotFound { Exit::NotFound } else { Exit::Error };
        let failure = Failure::caused(format!("read the module {}", file.display()), &error);
        Failure { exit, ..failure }.hint("build it first, or correct function.module")
    };
    let size = tokio::fs::metadata(file).await.map_err(failed)?.len();
    if size > MAX_HASHED {
        return Err(Failure::error(format!(
            "{} has {size} bytes: a module has at most {MAX_HASHED}",
            file.display()
        )));
    }
    Ok(Digest::of(&tokio::fs::read(file).await.map_err(failed)?))
}

/// It is read into memory to be named; the control plane's own limit is lower.
const MAX_HASHED: u64 = 512 * 1024 * 1024;

/// Pushing the same again would do no harm, and would take its time.
async fn is_there(connection: &Connection, module: &ModuleRef) -> Result<bool> {
    let request = call(pb::GetModuleRequest { module: module.to_string() });
    match connection.registry().get_module(request).await.tried(format!("look for module `{module}`")) {
        Ok(_) => Ok(true),
        Err(failure) if failure.exit == Exit::NotFound => Ok(false),
        Err(failure) => Err(failure),
    }
}

/// A dry run changes nothing, so what depends on the module is not known.
fn unpushed(manifest: &Manifest, module: &ModuleRef, file: &Path) -> Applied {
    let change = format!("module {module} would be pushed from {}", file.display());
    Applied {
        function: manifest.name.to_string(),
        module: module.to_string(),
        revision: 0,
        changed: true,
        dry_run: true,
        changes: vec![change],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_became_of_a_manifest() {
        let applied = |changed, dry_run, changes: &[&str]| {
            let changes = changes.iter().map(|change| (*change).to_owned()).collect();
            Applied { function: "a".into(), module: "a@1".into(), revision: 3, changed, dry_run, changes }
                .text()
        };
        assert_eq!(
            applied(true, false, &["memory: 64MiB -> 128MiB"]),
            "function/a applied (revision 3)\n  memory: 64MiB -> 128MiB"
        );
        assert_eq!(applied(false, false, &[]), "function/a unchanged (revision 3)");
        assert_eq!(applied(true, true, &[]), "function/a would change (dry run)");
        assert_eq!(applied(false, true, &[]), "function/a would not change (dry run)");
    }

    #[tokio::test]
    async fn a_module_file_is_named_by_function_and_digest() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.wasm");
        std::fs::write(&file, b"abc").unwrap();
        let manifest = Manifest::parse("[function]\nname = \"resize\"\nmodule = \"a.wasm\"\n").unwrap();
        let module = module_of(&manifest, &file).await.unwrap();
        assert_eq!(module.to_string(), "resize@sha-ba7816bf8f01");
        let failure = module_of(&manifest, &dir.path().join("none.wasm")).await.unwrap_err();
        assert_eq!(failure.exit, Exit::NotFound);
    }
}
