//! The agent's directory: what lies where, and that only one agent uses it.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use littoral_platform::files::{self, FileError};
use rustix::fs::FlockOperation;
use rustix::io::Errno;

#[derive(Debug, thiserror::Error)]
pub(crate) enum DataDirError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("could not lock {}", path.display())]
    Lock {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(
        "another agent runs in {}: stop it, or give this one a directory of its own (--data-dir)",
        .0.display()
    )]
    InUse(PathBuf),
}

/// Paths inside the directory.
#[derive(Clone, Debug)]
pub(crate) struct DataDir {
    root: PathBuf,
}

/// Held for as long as the directory is used; the system releases it when the process ends, however it ends.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl DataDir {
    /// Names the directory without touching it.
    pub(crate) fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Creates the directory if need be and closes it to others.
    ///
    /// # Errors
    /// When it cannot be created or belongs to somebody else.
    pub(crate) fn create(&self) -> Result<(), FileError> {
        files::private_dir(&self.root)
    }

    /// # Errors
    /// `InUse` when another process holds it.
    pub(crate) fn lock(&self) -> Result<Lock, DataDirError> {
        self.create()?;
        let path = self.root.join("lock");
        let failed = |source| DataDirError::Lock { path: path.clone(), source };
        let open = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
        let file = open.map_err(failed)?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Lock { _file: file }),
            Err(Errno::WOULDBLOCK) => Err(DataDirError::InUse(self.root.clone())),
            Err(errno) => Err(failed(errno.into())),
        }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Certificate chain and private key.
    pub(crate) fn identity(&self) -> PathBuf {
        self.root.join("identity.pem")
    }

    /// Who this node is and where its control plane is. Written last by a join: with it the node is a member.
    pub(crate) fn node(&self) -> PathBuf {
        self.root.join("node.json")
    }

    /// CA certificates and signing keys that are believed.
    pub(crate) fn trust(&self) -> PathBuf {
        self.root.join("trust.json")
    }

    pub(crate) fn ledger(&self) -> PathBuf {
        self.root.join("ledger")
    }

    pub(crate) fn cache(&self) -> PathBuf {
        self.root.join("cache")
    }

    pub(crate) fn clock(&self) -> PathBuf {
        self.root.join("clock")
    }

    /// The unix socket that `status` asks.
    pub(crate) fn socket(&self) -> PathBuf {
        self.root.join("agent.sock")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_agent_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let data = DataDir::at(dir.path().join("agent"));
        let lock = data.lock().unwrap();
        let error = data.lock().unwrap_err();
        assert!(matches!(error, DataDirError::InUse(_)));
        assert!(error.to_string().contains("--data-dir"), "{error}");
        drop(lock);
        data.lock().unwrap();
    }
}
