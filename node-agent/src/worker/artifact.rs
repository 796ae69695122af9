//! Native code from the cache, verified before anything of it is mapped.
//!
//! wasmtime's loader checks versions and flags, and nothing of integrity: a file with a flipped bit loads. Whoever can
//! make this process map a file owns it, so a [`VerifiedArtifact`] is all that the loader accepts, and [`Verifier`] is
//! the only place that makes one.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Component, Path};

use littoral_model::digest::Digest;
use littoral_model::target::Target;
use littoral_platform::statement::{KeyError, PublicKey, Purpose, TrustedKeys, VerifyError};
use littoral_proto::v1::{self, ModuleKind};
use littoral_proto::worker::LoadFailure;
use prost::Message as _;
use sha2::{Digest as _, Sha256};

use crate::envelope;

/// What a compiler signs.
pub const ARTIFACT_TYPE: &str = "application/vnd.littoral.artifact.v1+protobuf";
/// The largest modules there are compile to about 200 MiB.
const MAX_ARTIFACT: u64 = 1 << 30;
/// Large enough that hashing is bound by the processor, and small enough that the allocator has it at hand: fresh pages
/// for a larger one took as long as hashing a small artifact.
const READ_BUFFER: usize = 32 << 10;

/// Why a revision could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("the statement about the artifact cannot be decoded")]
    Decode(#[source] prost::DecodeError),
    #[error("the statement about the artifact is not to be believed")]
    Statement(#[source] VerifyError),
    #[error("the artifact does not fit its statement: {what} is {found}, stated is {stated}")]
    Mismatch { what: &'static str, found: String, stated: String },
    #[error("the artifact is for {artifact} and this node runs {host}")]
    Target { artifact: String, host: Target },
    #[error("the artifact was compiled by the engine {artifact} and this node has {host}: compile it again")]
    Engine { artifact: String, host: String },
    #[error("the engine does not accept the artifact: {0}")]
    Map(String),
    #[error("the module cannot be linked: {0}")]
    Link(String),
    #[error("the function's spec cannot be used: {0}")]
    Spec(String),
    #[error("{0}")]
    Limit(String),
    #[error("could not read the artifact {name}")]
    Read {
        name: String,
        #[source]
        source: io::Error,
    },
    #[error("{0}")]
    Host(String),
}

impl LoadError {
    pub fn failure(&self) -> LoadFailure {
        match self {
            Self::Decode(_) | Self::Statement(_) | Self::Mismatch { .. } => LoadFailure::Verification,
            Self::Target { .. } | Self::Engine { .. } | Self::Map(_) | Self::Link(_) | Self::Spec(_) => {
                LoadFailure::Incompatible
            }
            Self::Limit(_) => LoadFailure::Limit,
            Self::Read { .. } | Self::Host(_) => LoadFailure::Host,
        }
    }
}

/// A file whose content a trusted compiler vouched for, for a target and an engine that this host has. The content is
/// reached through the descriptor that was hashed, so nothing can be put in its place.
#[derive(Debug)]
pub struct VerifiedArtifact {
    file: File,
    kind: ModuleKind,
    source: String,
}

impl VerifiedArtifact {
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    pub(crate) fn kind(&self) -> ModuleKind {
        self.kind
    }

    /// Digest of the WebAssembly that it was compiled from.
    pub(crate) fn source(&self) -> &str {
        &self.source
    }
}

/// Knows the compilers' keys and what this host runs.
#[derive(Debug)]
pub struct Verifier {
    keys: TrustedKeys,
    target: Target,
    engine: String,
}

impl Verifier {
    /// `compiler_keys` are Ed25519 public keys of 32 bytes; without one nothing verifies.
    ///
    /// # Errors
    /// For bytes that are no key.
    pub fn new(compiler_keys: &[Vec<u8>], target: Target) -> Result<Self, KeyError> {
        let mut keys = TrustedKeys::new();
        for key in compiler_keys {
            keys.trust(Purpose::Compiler, PublicKey::from_bytes(key)?);
        }
        Ok(Self { keys, target, engine: littoral_engine::fingerprint(target) })
    }

    /// Checks signature, target, engine, size and digest, in this order: the cheap ones first.
    ///
    /// `statement` is an encoded `Envelope`; `digest` is what the assignment names. Reads the whole file.
    ///
    /// # Errors
    /// Says which check failed; nothing has been mapped then.
    pub fn verify(
        &self,
        mut file: File,
        digest: &str,
        statement: &[u8],
    ) -> Result<VerifiedArtifact, LoadError> {
        let envelope = envelope::from_proto(v1::Envelope::decode(statement).map_err(LoadError::Decode)?);
        let payload =
            self.keys.verify(Purpose::Compiler, ARTIFACT_TYPE, &envelope).map_err(LoadError::Statement)?;
        let stated = v1::ArtifactStatement::decode(payload).map_err(LoadError::Decode)?;
        same("the assigned digest", digest, &stated.artifact_digest)?;
        self.check_host(&stated)?;
        check_content(&mut file, &stated)?;
        Ok(VerifiedArtifact { file, kind: stated.kind(), source: stated.source_digest })
    }

    fn check_host(&self, stated: &v1::ArtifactStatement) -> Result<(), LoadError> {
        let runs = stated.target.parse::<Target>().is_ok_and(|artifact| self.target.runs(artifact));
        if !runs {
            return Err(LoadError::Target { artifact: clip(&stated.target), host: self.target });
        }
        if stated.engine != self.engine {
            return Err(LoadError::Engine { artifact: clip(&stated.engine), host: self.engine.clone() });
        }
        Ok(())
    }
}

/// Opens `name` in the cache folder, without following links.
///
/// # Errors
/// When the name leads out of the folder or the file is not there.
pub fn open(cache: &Path, name: &str) -> Result<File, LoadError> {
    let inside = Path::new(name).components().all(|part| matches!(part, Component::Normal(_)));
    if !inside || name.is_empty() {
        return Err(LoadError::Host(format!("`{}` is not a file name inside the cache", clip(name))));
    }
    let flags = i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).unwrap_or_default();
    OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(cache.join(name))
        .map_err(|source| LoadError::Read { name: clip(name), source })
}

fn check_content(file: &mut File, stated: &v1::ArtifactStatement) -> Result<(), LoadError> {
    let read = |source| LoadError::Read { name: stated.artifact_digest.clone(), source };
    let size = file.metadata().map_err(read)?.len();
    same("the size", &size.to_string(), &stated.artifact_size_bytes.to_string())?;
    if size > MAX_ARTIFACT {
        return Err(LoadError::Limit(format!(
            "the artifact has {size} bytes; at most {MAX_ARTIFACT} are mapped"
        )));
    }
    let digest = digest(file).map_err(read)?;
    same("the digest", &digest.to_string(), &stated.artifact_digest)
}

fn digest(file: &mut File) -> io::Result<Digest> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; READ_BUFFER];
    file.rewind()?;
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            read => hasher.update(&buffer[..read]),
        }
    }
    file.rewind()?;
    Ok(Digest::from_bytes(hasher.finalize().into()))
}

fn same(what: &'static str, found: &str, stated: &str) -> Result<(), LoadError> {
    if found == stated {
        return Ok(());
    }
    Err(LoadError::Mismatch { what, found: clip(found), stated: clip(stated) })
}

/// Foreign text in messages: enough to recognise it.
fn clip(text: &str) -> String {
    text.chars().take(120).collect()
}
