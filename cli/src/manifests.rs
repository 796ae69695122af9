//! Which manifests are meant by `-f`, and the module files that they name.

use std::collections::BTreeSet;
use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};

use littoral_model::manifest::{MAX_MANIFEST, Manifest, ModuleSource};
use littoral_platform::files;

use crate::errors::{Exit, Failure, Result};

/// More belong into several commands, where a failure leaves less undone.
const MAX_MANIFESTS: usize = 1000;

/// A manifest that was read and is well-formed.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) origin: Origin,
    pub(crate) manifest: Manifest,
}

/// Where a manifest came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    Stdin,
    File(PathBuf),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdin => f.write_str("stdin"),
            Self::File(path) => path.display().fmt(f),
        }
    }
}

impl Loaded {
    /// The module's file, when it names one: relative paths begin at the manifest's folder.
    pub(crate) fn module_file(&self) -> Option<PathBuf> {
        let ModuleSource::File(named) = &self.manifest.module else { return None };
        let folder = match &self.origin {
            Origin::Stdin => None,
            Origin::File(path) => path.parent(),
        };
        Some(folder.map_or_else(|| PathBuf::from(named), |folder| folder.join(named)))
    }
}

/// Reads everything that is named before anything is done with it.
///
/// # Errors
/// The first file that cannot be read or is not a manifest; two manifests of one function.
pub(crate) fn load(named: &[PathBuf]) -> Result<Vec<Loaded>> {
    let mut loaded = Vec::new();
    for origin in origins(named)? {
        let text = read(&origin)?;
        let manifest = Manifest::parse(&text).map_err(|error| {
            Failure::caused(format!("understand {origin}"), &error)
                .hint("correct it, then check it with `littoral validate -f FILE`")
        })?;
        loaded.push(Loaded { origin, manifest });
    }
    let mut names = BTreeSet::new();
    for Loaded { origin, manifest } in &loaded {
        if !names.insert(manifest.name.as_str()) {
            let message = format!("{origin}: function `{}` has two manifests", manifest.name);
            return Err(Failure::new(Exit::Conflict, message).hint("leave one of them out"));
        }
    }
    Ok(loaded)
}

fn origins(named: &[PathBuf]) -> Result<Vec<Origin>> {
    let mut origins = Vec::new();
    for path in named {
        if path.as_os_str() == "-" {
            origins.push(Origin::Stdin);
        } else if path.is_dir() {
            origins.extend(in_folder(path)?.into_iter().map(Origin::File));
        } else {
            origins.push(Origin::File(path.clone()));
        }
    }
    if origins.iter().filter(|origin| **origin == Origin::Stdin).count() > 1 {
        return Err(Failure::usage("stdin can be read once: give `-f -` once"));
    }
    if origins.len() > MAX_MANIFESTS {
        return Err(Failure::usage(format!(
            "{} manifests are too many: at most {MAX_MANIFESTS}",
            origins.len()
        )));
    }
    Ok(origins)
}

/// A folder's `littoral.toml`, as beside a function's source; else all of its `.toml` files, by name.
fn in_folder(folder: &Path) -> Result<Vec<PathBuf>> {
    let own = folder.join("littoral.toml");
    if own.is_file() {
        return Ok(vec![own]);
    }
    let tried = format!("read the folder {}", folder.display());
    let failed = |error: std::io::Error| Failure::caused(&tried, &error);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|extension| extension == "toml") && path.is_file() {
            found.push(path);
        }
    }
    if found.is_empty() {
        return Err(Failure::new(Exit::NotFound, format!("{} holds no manifest", folder.display()))
            .hint("a manifest is a .toml file with a [function] table"));
    }
    found.sort();
    Ok(found)
}

fn read(origin: &Origin) -> Result<String> {
    let tried = format!("read {origin}");
    let bytes = match origin {
        Origin::File(path) => files::read_capped(path, MAX_MANIFEST).map_err(|error| {
            let exit = if error.is_not_found() { Exit::NotFound } else { Exit::Error };
            Failure { exit, ..Failure::caused(&tried, &error) }
        })?,
        Origin::Stdin => {
            let mut bytes = Vec::new();
            // One more than allowed: the parser then says that it is too much.
            let read = std::io::stdin().lock().take(MAX_MANIFEST as u64 + 1).read_to_end(&mut bytes);
            read.map_err(|error| Failure::caused(&tried, &error))?;
            bytes
        }
    };
    String::from_utf8(bytes).map_err(|error| Failure::caused(tried, &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(name: &str, module: &str) -> String {
        format!("[function]\nname = \"{name}\"\nmodule = \"{module}\"\n")
    }

    #[test]
    fn a_module_file_is_relative_to_its_manifest() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.toml");
        std::fs::write(&path, manifest("a", "out/a.wasm")).unwrap();
        let loaded = load(std::slice::from_ref(&path)).unwrap();
        assert_eq!(loaded[0].module_file().unwrap(), dir.path().join("out/a.wasm"));

        let at = |origin, module: &str| {
            let manifest = Manifest::parse(&manifest("a", module)).unwrap();
            Loaded { origin, manifest }.module_file()
        };
        assert_eq!(at(Origin::Stdin, "a.wasm").unwrap(), Path::new("a.wasm"));
        assert_eq!(at(Origin::File("x/a.toml".into()), "/abs/a.wasm").unwrap(), Path::new("/abs/a.wasm"));
        assert_eq!(at(Origin::File("x/a.toml".into()), "a@1"), None);
    }

    #[test]
    fn a_folder_means_its_littoral_toml_or_all_of_its_manifests() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        let folder = [dir.path().to_path_buf()];
        assert_eq!(load(&folder).unwrap_err().exit, Exit::NotFound);
        write("b.toml", &manifest("b", "b@1"));
        write("a.toml", &manifest("a", "a@1"));
        write("notes.txt", "nothing");
        let names = |loaded: Vec<Loaded>| -> Vec<String> {
            loaded.iter().map(|one| one.manifest.name.to_string()).collect()
        };
        assert_eq!(names(load(&folder).unwrap()), ["a", "b"]);
        write("littoral.toml", &manifest("own", "own@1"));
        assert_eq!(names(load(&folder).unwrap()), ["own"]);
    }

    #[test]
    fn nothing_is_done_before_all_of_them_are_good() {
        let dir = tempfile::tempdir().unwrap();
        let (good, bad) = (dir.path().join("a.toml"), dir.path().join("b.toml"));
        std::fs::write(&good, manifest("a", "a@1")).unwrap();
        std::fs::write(&bad, manifest("b", "b@1") + "colour = 1\n").unwrap();
        let failure = load(&[good.clone(), bad.clone()]).unwrap_err();
        assert!(failure.message.contains("b.toml") && failure.message.contains("colour"), "{failure}");
        std::fs::write(&bad, manifest("a", "b@1")).unwrap();
        assert_eq!(load(&[good.clone(), bad]).unwrap_err().exit, Exit::Conflict);
        assert_eq!(load(&[dir.path().join("none.toml")]).unwrap_err().exit, Exit::NotFound);
        assert_eq!(load(&["-".into(), "-".into()]).unwrap_err().exit, Exit::Usage);
    }
}
