//! Settings of `run`: flag, then environment, then file, then default.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use littoral_model::quantity::{self, Bytes};
use littoral_platform::files::{self, FileError};
use serde::Deserialize;

use crate::capacity::MemoryBudget;
use crate::data_dir::DataDir;

/// Ten settings of one line.
const MAX_CONFIG_FILE: usize = 256 * 1024;
const HTTP: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::UNSPECIFIED), 8080);
const ADMIN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 7481);
const CACHE_QUOTA: Bytes = Bytes::gib(2);
/// Longer than the default limit of a request, shorter than what systemd waits before it kills (90 s).
const DRAIN: Duration = Duration::from_secs(30);
const MEMORY_BUDGET: MemoryBudget = MemoryBudget::Percent(50);

#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("the configuration file {} is not UTF-8 text", .0.display())]
    NotText(PathBuf),
    #[error("the configuration file {} is not valid:\n{source}", path.display())]
    Syntax { path: PathBuf, source: toml::de::Error },
    #[error("`{key}` in the configuration file {}: {reason}", path.display())]
    Value { path: PathBuf, key: &'static str, reason: String },
}

/// What flags and the environment say; `None` where they say nothing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Overrides {
    pub data_dir: Option<PathBuf>,
    pub server: Option<String>,
    pub http: Option<SocketAddr>,
    pub admin: Option<SocketAddr>,
    pub memory_budget: Option<MemoryBudget>,
    pub cache_quota: Option<Bytes>,
    pub ingress_address: Option<String>,
    pub drain_timeout: Option<Duration>,
}

/// The file: TOML, all keys optional, values as on the command line.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ConfigFile {
    data_dir: Option<PathBuf>,
    server: Option<String>,
    http: Option<SocketAddr>,
    admin: Option<SocketAddr>,
    memory_budget: Option<String>,
    cache_quota: Option<String>,
    ingress_address: Option<String>,
    drain_timeout: Option<String>,
}

/// What `run` goes by.
#[derive(Clone, Debug)]
pub(crate) struct RunSettings {
    pub data: DataDir,
    /// None: the one that was joined.
    pub server: Option<String>,
    /// Where functions answer.
    pub http: SocketAddr,
    pub admin: SocketAddr,
    pub memory_budget: MemoryBudget,
    pub cache_quota: Bytes,
    /// HOST:PORT that others reach `http` by.
    pub ingress_address: Option<String>,
    /// For requests under way when the agent is asked to stop.
    pub drain_timeout: Duration,
}

impl RunSettings {
    /// # Errors
    /// When the file cannot be read, has an unknown key (named, with its line), or a value that is none.
    pub(crate) fn load(overrides: Overrides, file: Option<&Path>) -> Result<Self, ConfigError> {
        let Some(path) = file else {
            return Ok(Self::merge(overrides, ConfigFile::default(), Overrides::default()));
        };
        let bytes = files::read_capped(path, MAX_CONFIG_FILE)?;
        let text = String::from_utf8(bytes).map_err(|_| ConfigError::NotText(path.to_owned()))?;
        let file: ConfigFile =
            toml::from_str(&text).map_err(|source| ConfigError::Syntax { path: path.to_owned(), source })?;
        let quantities = Overrides {
            memory_budget: parsed(
                path,
                "memory_budget",
                file.memory_budget.as_deref(),
                MemoryBudget::from_str,
            )?,
            cache_quota: parsed(path, "cache_quota", file.cache_quota.as_deref(), Bytes::from_str)?,
            drain_timeout: parsed(path, "drain_timeout", file.drain_timeout.as_deref(), quantity::duration)?,
            ..Overrides::default()
        };
        Ok(Self::merge(overrides, file, quantities))
    }

    fn merge(first: Overrides, file: ConfigFile, quantities: Overrides) -> Self {
        Self {
            data: DataDir::at(first.data_dir.or(file.data_dir).unwrap_or_else(default_data_dir)),
            server: first.server.or(file.server),
            http: first.http.or(file.http).unwrap_or(HTTP),
            admin: first.admin.or(file.admin).unwrap_or(ADMIN),
            memory_budget: first.memory_budget.or(quantities.memory_budget).unwrap_or(MEMORY_BUDGET),
            cache_quota: first.cache_quota.or(quantities.cache_quota).unwrap_or(CACHE_QUOTA),
            ingress_address: first.ingress_address.or(file.ingress_address),
            drain_timeout: first.drain_timeout.or(quantities.drain_timeout).unwrap_or(DRAIN),
        }
    }
}

fn parsed<T, E: std::fmt::Display>(
    path: &Path,
    key: &'static str,
    text: Option<&str>,
    parse: impl Fn(&str) -> Result<T, E>,
) -> Result<Option<T>, ConfigError> {
    let wrong = |error: E| ConfigError::Value { path: path.to_owned(), key, reason: error.to_string() };
    text.map(parse).transpose().map_err(wrong)
}

/// `/var/lib/littoral-agent` for root, otherwise below the home folder.
pub(crate) fn default_data_dir() -> PathBuf {
    let home = std::env::var_os("HOME").filter(|home| !home.is_empty());
    match home {
        Some(home) if !rustix::process::geteuid().is_root() => {
            PathBuf::from(home).join(".local/share/littoral-agent")
        }
        _ => PathBuf::from("/var/lib/littoral-agent"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str, overrides: Overrides) -> Result<RunSettings, ConfigError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("agent.toml");
        std::fs::write(&path, text).unwrap();
        RunSettings::load(overrides, Some(&path))
    }

    #[test]
    fn flag_before_file_before_default() {
        let text = "http = \"127.0.0.1:1\"\nadmin = \"127.0.0.1:2\"\nmemory_budget = \"25%\"\ndrain_timeout = \"5s\"\n";
        let overrides = Overrides { http: Some("127.0.0.1:9".parse().unwrap()), ..Overrides::default() };
        let settings = load(text, overrides).unwrap();
        assert_eq!(settings.http.port(), 9);
        assert_eq!(settings.admin.port(), 2);
        assert_eq!(settings.memory_budget, MemoryBudget::Percent(25));
        assert_eq!(settings.drain_timeout, Duration::from_secs(5));
        assert_eq!(settings.cache_quota, CACHE_QUOTA);
    }

    #[test]
    fn unknown_keys_and_wrong_values_are_named() {
        let error = load("http = \"127.0.0.1:1\"\nadmn = \"x\"\n", Overrides::default()).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("admn") && text.contains("line 2"), "{text}");
        let error = load("cache_quota = \"2TB\"\n", Overrides::default()).unwrap_err();
        assert!(error.to_string().contains("`cache_quota`"), "{error}");
        assert!(load("http = 8080\n", Overrides::default()).is_err());
    }

    #[test]
    fn without_a_file_the_documented_defaults_hold() {
        let settings = RunSettings::load(Overrides::default(), None).unwrap();
        assert_eq!(settings.http.to_string(), "0.0.0.0:8080");
        assert_eq!(settings.admin.to_string(), "127.0.0.1:7481");
        assert_eq!(settings.memory_budget, MemoryBudget::Percent(50));
    }
}
