//! The configuration file: the keys of the flags, in TOML.

use std::path::{Path, PathBuf};

use littoral_platform::files;
use serde::Deserialize;

use super::{ConfigError, Flags};

/// It has some twenty lines.
const MAX_FILE: usize = 64 * 1024;

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Keys {
    data_dir: Option<PathBuf>,
    operator_credential: Option<PathBuf>,
    listen: Option<String>,
    http: Option<String>,
    advertise: Vec<String>,
    cluster: Option<String>,
    store: Option<String>,
    max_module_size: Option<String>,
    server_certificate_life: Option<String>,
    node_certificate_life: Option<String>,
    user_certificate_life: Option<String>,
    rejoin_window: Option<String>,
    compile_parallel: Option<usize>,
    compile_memory: Option<String>,
    compile_cpu_time: Option<String>,
    compile_wall_time: Option<String>,
    log: Option<String>,
    log_format: Option<String>,
}

/// # Errors
/// When it cannot be read; an unknown key is named with its line.
pub(super) fn read(path: &Path) -> Result<Flags, ConfigError> {
    let bytes = files::read_capped(path, MAX_FILE)?;
    let bad = |text: String| ConfigError::Toml { path: path.display().to_string(), text };
    let text = String::from_utf8(bytes).map_err(|error| bad(error.to_string()))?;
    let keys: Keys = toml::from_str(&text).map_err(|error| bad(error.to_string()))?;
    Ok(Flags {
        config: None,
        data_dir: keys.data_dir,
        operator_credential: keys.operator_credential,
        listen: keys.listen,
        http: keys.http,
        advertise: keys.advertise,
        cluster: keys.cluster,
        store: keys.store,
        max_module_size: keys.max_module_size,
        server_certificate_life: keys.server_certificate_life,
        node_certificate_life: keys.node_certificate_life,
        user_certificate_life: keys.user_certificate_life,
        rejoin_window: keys.rejoin_window,
        compile_parallel: keys.compile_parallel,
        compile_memory: keys.compile_memory,
        compile_cpu_time: keys.compile_cpu_time,
        compile_wall_time: keys.compile_wall_time,
        log: keys.log,
        log_format: keys.log_format,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::{Config, StoreKind};

    fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("littorald.toml");
        std::fs::write(&path, text).unwrap();
        (dir, path)
    }

    #[test]
    fn a_flag_wins_over_the_file_and_the_file_over_the_default() {
        let (_dir, path) =
            file("listen = \"127.0.0.1:1\"\nhttp = \"127.0.0.1:2\"\nnode_certificate_life = \"2h\"\n");
        let flags = Flags { config: Some(path), listen: Some("127.0.0.1:3".into()), ..Flags::default() };
        let (config, _) = Config::load(flags).unwrap();
        assert_eq!(config.listen.port(), 3);
        assert_eq!(config.http.port(), 2);
        assert_eq!(config.certificates.node, Duration::from_secs(7200));
        assert_eq!(config.store, StoreKind::Sled);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, parts) in [
            ("http = \"127.0.0.1:2\"\ncolour = 1\n", vec!["line 2", "colour", "littorald.toml"]),
            ("listen = \"7443\"\n", vec!["listen", "IP:PORT"]),
            ("max_module_size = \"big\"\n", vec!["max_module_size", "big"]),
            ("node_certificate_life = \"1s\"\n", vec!["node_certificate_life", "at least 1m"]),
            ("compile_parallel = 0\n", vec!["compile_parallel"]),
            ("compile_memory = \"1MiB\"\n", vec!["compile_memory", "256MiB"]),
            ("advertise = [\"a b\"]\n", vec!["advertise", "a b"]),
            ("store = \"etcd\"\n", vec!["store", "sled or memory"]),
            ("cluster = \"A/B\"\n", vec!["cluster", "A/B"]),
        ] {
            let (_dir, path) = file(text);
            let error =
                Config::load(Flags { config: Some(path), ..Flags::default() }).unwrap_err().to_string();
            for part in parts {
                assert!(error.contains(part), "`{part}` in: {error}");
            }
        }
    }
}
