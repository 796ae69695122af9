//! The directory of a fleet on this machine.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use littoral_platform::files;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::ports::Ports;
use crate::errors::{Exit, Failure, Result};

const MAX_RECORD: usize = 64 * 1024;

/// Paths below the directory, which is held until the process ends.
#[derive(Debug)]
pub(super) struct StateDir {
    root: PathBuf,
    _lock: File,
}

/// `dev.toml`: what a restart has to know.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Record {
    /// The example was applied once: whoever removed it does not want it back.
    #[serde(default)]
    pub(super) example: bool,
    /// Ports that were chosen because they were free.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) ports: Option<Ports>,
}

impl StateDir {
    /// # Errors
    /// When the directory cannot be made, or another fleet runs in it.
    pub(super) fn open(root: &Path) -> Result<Self> {
        let tried = format!("use the directory {}", root.display());
        files::private_dir(root).map_err(|error| Failure::caused(&tried, &error))?;
        // Children have directories of their own: a relative path would mean another place to them.
        let root = std::fs::canonicalize(root).map_err(|error| Failure::caused(&tried, &error))?;
        files::private_dir(&root.join("log")).map_err(|error| Failure::caused(&tried, &error))?;
        let lock =
            OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(root.join("lock"));
        let lock = lock.map_err(|error| Failure::caused(&tried, &error))?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { root, _lock: lock }),
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let message = format!("a fleet is running in {} already", root.display());
                Err(Failure::new(Exit::Conflict, message)
                    .hint("use it, stop it, or choose another place: --dir DIR"))
            }
            Err(error) => Err(Failure::caused(tried, &error)),
        }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn control_plane(&self) -> PathBuf {
        self.root.join("littorald")
    }

    /// Of agent k, from 1.
    pub(super) fn agent(&self, k: u16) -> PathBuf {
        self.root.join(format!("agent-{k}"))
    }

    pub(super) fn log(&self, name: &str) -> PathBuf {
        self.root.join("log").join(format!("{name}.log"))
    }

    pub(super) fn record(&self) -> Result<Record> {
        let path = self.record_path();
        let tried = format!("read {}", path.display());
        let bytes = match files::read_capped(&path, MAX_RECORD) {
            Ok(bytes) => bytes,
            Err(error) if error.is_not_found() => return Ok(Record::default()),
            Err(error) => return Err(Failure::caused(tried, &error)),
        };
        toml::from_str(&String::from_utf8_lossy(&bytes)).map_err(|error| {
            Failure::caused(tried, &error).hint(format!("start afresh: remove {}", self.root.display()))
        })
    }

    pub(super) fn save(&self, record: &Record) -> Result<()> {
        let path = self.record_path();
        let tried = format!("write {}", path.display());
        let text = toml::to_string_pretty(record).map_err(|error| Failure::caused(&tried, &error))?;
        files::write_atomic(&path, text.as_bytes()).map_err(|error| Failure::caused(&tried, &error))
    }

    fn record_path(&self) -> PathBuf {
        self.root.join("dev.toml")
    }
}

/// Where the fleet is when nobody says: below `XDG_STATE_HOME`, else below `~/.local/state`.
///
/// # Errors
/// When neither variable is set.
pub(super) fn default_dir(variable: impl Fn(&str) -> Option<OsString>) -> Result<PathBuf> {
    let base = variable("XDG_STATE_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .or_else(|| variable("HOME").map(|home| PathBuf::from(home).join(".local").join("state")));
    base.map(|base| base.join("littoral").join("dev")).ok_or_else(|| {
        Failure::error("there is no place for the fleet's state: HOME is not set")
            .hint("choose one: --dir DIR")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_fleet_in_one_directory() {
        let dir = tempfile::tempdir().unwrap();
        let first = StateDir::open(dir.path()).unwrap();
        let failure = StateDir::open(dir.path()).unwrap_err();
        assert_eq!(failure.exit, Exit::Conflict);
        drop(first);
        StateDir::open(dir.path()).unwrap();
    }

    #[test]
    fn the_record_survives() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::open(dir.path()).unwrap();
        assert!(!state.record().unwrap().example);
        let ports = Some(Ports::fixed(Some(2000), 2).unwrap());
        state.save(&Record { example: true, ports: ports.clone() }).unwrap();
        let record = state.record().unwrap();
        assert!(record.example);
        assert_eq!(record.ports, ports);
        std::fs::write(dir.path().join("dev.toml"), "unknown = 1").unwrap();
        assert!(state.record().unwrap_err().message.contains("unknown"));
    }

    #[test]
    fn the_directory_comes_from_the_environment() {
        let home = |name: &str| (name == "HOME").then(|| "/home/ada".into());
        assert_eq!(default_dir(home).unwrap(), Path::new("/home/ada/.local/state/littoral/dev"));
        let xdg = |name: &str| (name == "XDG_STATE_HOME").then(|| "/state".into());
        assert_eq!(default_dir(xdg).unwrap(), Path::new("/state/littoral/dev"));
    }
}
