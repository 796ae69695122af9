//! Flags of `littorald`; each has an environment variable and a key in the file.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use littoral_model::quantity::{Bytes, duration};
use littoral_platform::spiffe::ClusterName;
use littoral_platform::telemetry::LogSettings;
use rustls::pki_types::ServerName;

use super::{CompileLimits, Config, ConfigError, DEFAULT_DATA_DIR, Lifetimes, StoreKind};

/// Everything as text: it is read once, whichever way it came in.
#[derive(Clone, Debug, Default, PartialEq, Eq, clap::Args)]
pub struct Flags {
    /// TOML file with the keys of the flags (with `_` for `-`)
    #[arg(long, env = "LITTORAL_CONFIG_FILE", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// State, keys and the operator's credential [default: /var/lib/littorald]
    #[arg(long, env = "LITTORAL_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Where the first operator's credential is written [default: operator.toml in the data directory]
    #[arg(long, env = "LITTORAL_OPERATOR_CREDENTIAL", value_name = "FILE")]
    pub operator_credential: Option<PathBuf>,
    /// gRPC for agents and operators [default: 0.0.0.0:7443]
    #[arg(long, env = "LITTORAL_LISTEN", value_name = "IP:PORT")]
    pub listen: Option<String>,
    /// Metrics and health, without TLS [default: 127.0.0.1:7480]
    #[arg(long, env = "LITTORAL_HTTP", value_name = "IP:PORT")]
    pub http: Option<String>,
    /// Name or address that clients call this control plane by; may be repeated
    #[arg(long, env = "LITTORAL_ADVERTISE", value_name = "HOST", value_delimiter = ',')]
    pub advertise: Vec<String>,
    /// Name of the cluster, given at its first start [default: littoral]
    #[arg(long, env = "LITTORAL_CLUSTER", value_name = "NAME")]
    pub cluster: Option<String>,
    /// Where records are kept: sled, or memory (gone with the process) [default: sled]
    #[arg(long, env = "LITTORAL_STORE", value_name = "KIND")]
    pub store: Option<String>,
    /// Largest module that can be pushed [default: 256MiB]
    #[arg(long, env = "LITTORAL_MAX_MODULE_SIZE", value_name = "SIZE")]
    pub max_module_size: Option<String>,
    /// Life of the control plane's own certificate [default: 90d]
    #[arg(long, env = "LITTORAL_SERVER_CERTIFICATE_LIFE", value_name = "DURATION")]
    pub server_certificate_life: Option<String>,
    /// Life of a node's certificate [default: 24h]
    #[arg(long, env = "LITTORAL_NODE_CERTIFICATE_LIFE", value_name = "DURATION")]
    pub node_certificate_life: Option<String>,
    /// Life of an operator's certificate [default: 365d]
    #[arg(long, env = "LITTORAL_USER_CERTIFICATE_LIFE", value_name = "DURATION")]
    pub user_certificate_life: Option<String>,
    /// How long a node may come back after its certificate expired [default: 30d]
    #[arg(long, env = "LITTORAL_REJOIN_WINDOW", value_name = "DURATION")]
    pub rejoin_window: Option<String>,
    /// Compilations at once [default: 2, or 1 on one core]
    #[arg(long, env = "LITTORAL_COMPILE_PARALLEL", value_name = "N")]
    pub compile_parallel: Option<usize>,
    /// Address space of one compilation [default: 4GiB]
    #[arg(long, env = "LITTORAL_COMPILE_MEMORY", value_name = "SIZE")]
    pub compile_memory: Option<String>,
    /// CPU time of one compilation [default: 5m]
    #[arg(long, env = "LITTORAL_COMPILE_CPU_TIME", value_name = "DURATION")]
    pub compile_cpu_time: Option<String>,
    /// Time that one compilation may take [default: 10m]
    #[arg(long, env = "LITTORAL_COMPILE_WALL_TIME", value_name = "DURATION")]
    pub compile_wall_time: Option<String>,
    /// What to log: a level, or target=level,... [default: info]
    #[arg(long, env = "LITTORAL_LOG", value_name = "FILTER")]
    pub log: Option<String>,
    /// text or json [default: text]
    #[arg(long, env = "LITTORAL_LOG_FORMAT", value_name = "FORMAT")]
    pub log_format: Option<String>,
}

impl Flags {
    /// Fills in from `file` what is not set here.
    pub(super) fn or(self, file: Self) -> Self {
        Self {
            config: self.config,
            data_dir: self.data_dir.or(file.data_dir),
            operator_credential: self.operator_credential.or(file.operator_credential),
            listen: self.listen.or(file.listen),
            http: self.http.or(file.http),
            advertise: if self.advertise.is_empty() { file.advertise } else { self.advertise },
            cluster: self.cluster.or(file.cluster),
            store: self.store.or(file.store),
            max_module_size: self.max_module_size.or(file.max_module_size),
            server_certificate_life: self.server_certificate_life.or(file.server_certificate_life),
            node_certificate_life: self.node_certificate_life.or(file.node_certificate_life),
            user_certificate_life: self.user_certificate_life.or(file.user_certificate_life),
            rejoin_window: self.rejoin_window.or(file.rejoin_window),
            compile_parallel: self.compile_parallel.or(file.compile_parallel),
            compile_memory: self.compile_memory.or(file.compile_memory),
            compile_cpu_time: self.compile_cpu_time.or(file.compile_cpu_time),
            compile_wall_time: self.compile_wall_time.or(file.compile_wall_time),
            log: self.log.or(file.log),
            log_format: self.log_format.or(file.log_format),
        }
    }

    pub(super) fn into_config(self) -> Result<(Config, LogSettings), ConfigError> {
        let data_dir = self.data_dir.as_deref().unwrap_or_else(|| Path::new(DEFAULT_DATA_DIR));
        let defaults = Config::new(data_dir.to_owned());
        let config = Config {
            operator_credential: self
                .operator_credential
                .clone()
                .unwrap_or_else(|| defaults.operator_credential.clone()),
            listen: address("listen", "0.0.0.0:7443", self.listen.as_deref(), defaults.listen)?,
            http: address("http", "127.0.0.1:7480", self.http.as_deref(), defaults.http)?,
            advertise: self.advertise.iter().map(|name| server_name(name)).collect::<Result<_, _>>()?,
            cluster: self
                .cluster
                .as_deref()
                .map(str::parse::<ClusterName>)
                .transpose()?
                .unwrap_or(defaults.cluster),
            store: self.store.as_deref().map(store).transpose()?.unwrap_or(defaults.store),
            max_module_size: bytes(
                "max_module_size",
                self.max_module_size.as_deref(),
                defaults.max_module_size,
            )?,
            certificates: self.lifetimes(defaults.certificates)?,
            compile: self.compile(defaults.compile)?,
            data_dir: defaults.data_dir,
        };
        let unset = LogSettings::from_env()?;
        let log = LogSettings {
            filter: self.log.unwrap_or(unset.filter),
            format: self.log_format.map_or(Ok(unset.format), |format| format.parse())?,
        };
        Ok((config, log))
    }

    fn lifetimes(&self, defaults: Lifetimes) -> Result<Lifetimes, ConfigError> {
        Ok(Lifetimes {
            server: life(
                "server_certificate_life",
                self.server_certificate_life.as_deref(),
                defaults.server,
            )?,
            node: life("node_certificate_life", self.node_certificate_life.as_deref(), defaults.node)?,
            user: life("user_certificate_life", self.user_certificate_life.as_deref(), defaults.user)?,
            rejoin_window: span("rejoin_window", self.rejoin_window.as_deref(), defaults.rejoin_window)?,
        })
    }

    fn compile(&self, defaults: CompileLimits) -> Result<CompileLimits, ConfigError> {
        let limits = CompileLimits {
            parallel: self.compile_parallel.unwrap_or(defaults.parallel),
            memory: bytes("compile_memory", self.compile_memory.as_deref(), defaults.memory)?,
            cpu_time: span("compile_cpu_time", self.compile_cpu_time.as_deref(), defaults.cpu_time)?,
            wall_time: span("compile_wall_time", self.compile_wall_time.as_deref(), defaults.wall_time)?,
            artifact_size: defaults.artifact_size,
        };
        if !(1..=64).contains(&limits.parallel) {
            return Err(ConfigError::Range { key: "compile_parallel", range: "1 to 64" });
        }
        // The program itself, with its libraries and stacks, takes some of it.
        if limits.memory < Bytes::mib(256) {
            return Err(ConfigError::Range { key: "compile_memory", range: "at least 256MiB" });
        }
        if limits.cpu_time < Duration::from_secs(1) || limits.wall_time < Duration::from_secs(1) {
            return Err(ConfigError::Range {
                key: "compile_cpu_time and compile_wall_time",
                range: "at least 1s",
            });
        }
        Ok(limits)
    }
}

fn address(
    key: &'static str,
    example: &'static str,
    text: Option<&str>,
    default: SocketAddr,
) -> Result<SocketAddr, ConfigError> {
    let Some(text) = text else { return Ok(default) };
    text.parse().map_err(|_| ConfigError::Address { key, value: text.to_owned(), example })
}

fn bytes(key: &'static str, text: Option<&str>, default: Bytes) -> Result<Bytes, ConfigError> {
    text.map_or(Ok(default), |text| text.parse().map_err(|error| ConfigError::Bytes { key, error }))
}

fn span(key: &'static str, text: Option<&str>, default: Duration) -> Result<Duration, ConfigError> {
    text.map_or(Ok(default), |text| duration(text).map_err(|error| ConfigError::Duration { key, error }))
}

/// A certificate that lives for less than a minute is over before its renewal is.
fn life(key: &'static str, text: Option<&str>, default: Duration) -> Result<Duration, ConfigError> {
    let life = span(key, text, default)?;
    if life < Duration::from_secs(60) {
        return Err(ConfigError::Range { key, range: "at least 1m" });
    }
    Ok(life)
}

fn server_name(name: &str) -> Result<String, ConfigError> {
    match ServerName::try_from(name) {
        Ok(_) => Ok(name.to_owned()),
        Err(_) => Err(ConfigError::Advertise(name.chars().take(120).collect())),
    }
}

fn store(text: &str) -> Result<StoreKind, ConfigError> {
    match text {
        "sled" => Ok(StoreKind::Sled),
        "memory" => Ok(StoreKind::Memory),
        other => Err(ConfigError::Store(other.to_owned())),
    }
}
