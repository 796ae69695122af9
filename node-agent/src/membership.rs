//! What a join leaves on the disk: who the node is, and whom it believes.

use std::path::Path;

use littoral_model::id::{NodeId, NodeName};
use littoral_platform::files::{self, FileError};
use littoral_platform::statement::{KeyError, PublicKey, Purpose, TrustedKeys};
use littoral_platform::trust::{TrustBundle, TrustError};
use littoral_proto::v1;
use serde::{Deserialize, Serialize};

/// A few hundred bytes.
const MAX_NODE_FILE: usize = 16 * 1024;
/// Eight CA certificates and some keys stay well below.
const MAX_TRUST_FILE: usize = 256 * 1024;

#[derive(Debug, thiserror::Error)]
pub(crate) enum MembershipError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("{file} cannot be read: it was damaged; join again with --force")]
    Json {
        file: &'static str,
        #[source]
        source: serde_json::Error,
    },
    #[error("the CA certificates to believe are not usable")]
    Trust(#[from] TrustError),
    #[error("a signing key to believe is not usable")]
    Key(#[from] KeyError),
    #[error("the control plane named no key that signs {0}")]
    NoKey(Purpose),
    #[error("the node id `{0}` is not valid")]
    Id(String),
}

/// `node.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NodeRecord {
    pub id: String,
    pub name: String,
    pub cluster: String,
    /// URL of the control plane that it joined.
    pub server: String,
}

impl NodeRecord {
    /// # Errors
    /// When the file is missing (`File`, not found: the node has not joined), damaged, or names no valid node.
    pub(crate) fn load(path: &Path) -> Result<Self, MembershipError> {
        let bytes = files::read_capped(path, MAX_NODE_FILE)?;
        let record: Self = serde_json::from_slice(&bytes)
            .map_err(|source| MembershipError::Json { file: "node.json", source })?;
        record.check()?;
        Ok(record)
    }

    /// # Errors
    /// When id or name are not valid, or the file cannot be written.
    pub(crate) fn save(&self, path: &Path) -> Result<(), MembershipError> {
        self.check()?;
        Ok(files::write_atomic(path, &to_json(self))?)
    }

    fn check(&self) -> Result<(), MembershipError> {
        let id: Result<NodeId, _> = self.id.parse();
        id.map_err(|_| MembershipError::Id(self.id.chars().take(80).collect()))?;
        let name: Result<NodeName, _> = self.name.parse();
        name.map_err(|_| MembershipError::Id(self.name.chars().take(80).collect()))?;
        Ok(())
    }
}

/// Whom the node believes: CAs for connections, keys for statements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trust {
    pub cas: TrustBundle,
    pub keys: TrustedKeys,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TrustFile {
    ca_pem: String,
    /// Hexadecimal.
    compiler: Vec<String>,
    assignment: Vec<String>,
}

impl Trust {
    /// # Errors
    /// When a certificate or key is not usable, or there is no key for one of the purposes.
    pub(crate) fn from_proto(ca_pem: &str, keys: &v1::TrustedKeys) -> Result<Self, MembershipError> {
        let read =
            |all: &[Vec<u8>]| all.iter().map(|k| PublicKey::from_bytes(k)).collect::<Result<Vec<_>, _>>();
        Self::new(ca_pem, read(&keys.compiler)?, read(&keys.assignment)?)
    }

    /// # Errors
    /// When the file is missing, damaged, or holds nothing usable.
    pub(crate) fn load(path: &Path) -> Result<Self, MembershipError> {
        let bytes = files::read_capped(path, MAX_TRUST_FILE)?;
        let file: TrustFile = serde_json::from_slice(&bytes)
            .map_err(|source| MembershipError::Json { file: "trust.json", source })?;
        let read = |all: &[String]| all.iter().map(|k| k.parse()).collect::<Result<Vec<PublicKey>, _>>();
        Self::new(&file.ca_pem, read(&file.compiler)?, read(&file.assignment)?)
    }

    /// # Errors
    /// When the file cannot be written; the old one stays then.
    pub(crate) fn save(&self, path: &Path) -> Result<(), FileError> {
        let texts = |purpose| self.keys.keys(purpose).map(ToString::to_string).collect();
        let file = TrustFile {
            ca_pem: self.cas.to_pem(),
            compiler: texts(Purpose::Compiler),
            assignment: texts(Purpose::Assignment),
        };
        files::write_atomic(path, &to_json(&file))
    }

    /// The compiler's keys as the worker is told them.
    pub(crate) fn compiler_keys(&self) -> Vec<Vec<u8>> {
        self.keys.keys(Purpose::Compiler).map(|key| key.to_bytes().to_vec()).collect()
    }

    fn new(
        ca_pem: &str,
        compiler: Vec<PublicKey>,
        assignment: Vec<PublicKey>,
    ) -> Result<Self, MembershipError> {
        let mut keys = TrustedKeys::new();
        for (purpose, all) in [(Purpose::Compiler, compiler), (Purpose::Assignment, assignment)] {
            if all.is_empty() {
                return Err(MembershipError::NoKey(purpose));
            }
            for key in all {
                keys.trust(purpose, key);
            }
        }
        Ok(Self { cas: TrustBundle::from_pem(ca_pem.as_bytes())?, keys })
    }
}

fn to_json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec_pretty(value).expect("texts and lists of texts are always JSON")
}
