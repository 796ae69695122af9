//! What `littorald` can be told: flag, else environment, else file, else default.

mod file;
mod flags;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use littoral_model::quantity::{BadBytes, BadDuration, Bytes};
use littoral_platform::spiffe::{BadSpiffeId, ClusterName};
use littoral_platform::telemetry::LogSettings;

pub use self::flags::Flags;

/// Everything that a control plane is started with.
#[derive(Clone, Debug)]
pub struct Config {
    /// Store, blobs, keys and the operator's credential. Created with mode 0700.
    pub data_dir: PathBuf,
    /// Written at the first start, and never read. Elsewhere than in `data_dir` for operators who must not see the keys.
    pub operator_credential: PathBuf,
    /// gRPC over mutual TLS.
    pub listen: SocketAddr,
    /// Plain HTTP: metrics and health. Loopback by default, since it asks nobody who they are.
    pub http: SocketAddr,
    /// Host names and addresses that clients call it by, beside localhost and this machine's name. The first goes into
    /// the operator's credential.
    pub advertise: Vec<String>,
    /// Only at the first start; afterwards the cluster keeps its name.
    pub cluster: ClusterName,
    pub store: StoreKind,
    /// Larger modules are refused before they are sent.
    pub max_module_size: Bytes,
    pub certificates: Lifetimes,
    pub compile: CompileLimits,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreKind {
    /// Durable, in the data directory.
    Sled,
    /// For tests: gone with the process.
    Memory,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lifetimes {
    /// Of the control plane's own certificate, which renews itself.
    pub server: Duration,
    pub node: Duration,
    pub user: Duration,
    /// How long after its certificate expired a node may still come back by itself.
    pub rejoin_window: Duration,
}

/// What one compilation may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompileLimits {
    /// Compilations at once.
    pub parallel: usize,
    /// Address space.
    pub memory: Bytes,
    pub cpu_time: Duration,
    pub wall_time: Duration,
    /// Of the native code.
    pub artifact_size: Bytes,
}

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error(transparent)]
    File(#[from] littoral_platform::files::FileError),
    /// The text names the line and the key.
    #[error("{path}: {text}")]
    Toml { path: String, text: String },
    #[error("{key}: {error}")]
    Bytes { key: &'static str, error: BadBytes },
    #[error("{key}: {error}")]
    Duration { key: &'static str, error: BadDuration },
    #[error("{key}: `{value}` is not an address: write IP:PORT, as in {example}")]
    Address { key: &'static str, value: String, example: &'static str },
    #[error("cluster: {0}")]
    Cluster(#[from] BadSpiffeId),
    #[error("advertise: `{0}` is not a host name or an address")]
    Advertise(String),
    #[error("store: `{0}` is not a store: write sled or memory")]
    Store(String),
    #[error("{key}: it must be {range}")]
    Range { key: &'static str, range: &'static str },
    #[error(transparent)]
    Log(#[from] littoral_platform::telemetry::TelemetryError),
}

const DEFAULT_DATA_DIR: &str = "/var/lib/littorald";
/// Where the first operator's credential is written, in the data directory.
const OPERATOR_FILE: &str = "operator.toml";
const DEFAULT_CLUSTER: &str = "littoral";
const DAY: Duration = Duration::from_secs(24 * 3600);

impl Config {
    /// The defaults, with everything in `data_dir`.
    ///
    /// # Panics
    /// Never: the default cluster name is a name.
    pub fn new(data_dir: PathBuf) -> Self {
        Self {
            operator_credential: data_dir.join(OPERATOR_FILE),
            data_dir,
            listen: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 7443)),
            http: SocketAddr::from((Ipv4Addr::LOCALHOST, 7480)),
            advertise: Vec::new(),
            cluster: DEFAULT_CLUSTER.parse().expect("a valid name"),
            store: StoreKind::Sled,
            // The largest module that compiles within the compiler's memory has about 70 MB.
            max_module_size: Bytes::mib(256),
            certificates: Lifetimes::default(),
            compile: CompileLimits::default(),
        }
    }

    /// What flags, environment and file say together, and how to log.
    ///
    /// # Errors
    /// Names the key and, in a file, the line.
    pub fn load(flags: Flags) -> Result<(Self, LogSettings), ConfigError> {
        let file = flags.config.as_deref().map(file::read).transpose()?.unwrap_or_default();
        flags.or(file).into_config()
    }
}

impl Default for Lifetimes {
    fn default() -> Self {
        Self { server: 90 * DAY, node: DAY, user: 365 * DAY, rejoin_window: 30 * DAY }
    }
}

impl Default for CompileLimits {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self {
            // Each uses several threads and up to gigabytes: more at once makes all of them late.
            parallel: cores.min(2),
            // A legitimate 45 MB module took 1.4 GB.
            memory: Bytes::gib(4),
            cpu_time: Duration::from_secs(300),
            wall_time: Duration::from_secs(600),
            artifact_size: Bytes::gib(1),
        }
    }
}
