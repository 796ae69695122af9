//! The command's configuration: contexts, each a control plane and who one is there.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use littoral_platform::files;
use serde::{Deserialize, Serialize};

use crate::errors::{Exit, Failure, Result};

/// Some hundred contexts of 4 KiB each.
const MAX_CONFIG: usize = 1024 * 1024;
/// A credential is three PEM texts.
const MAX_CREDENTIAL: usize = 64 * 1024;

/// The file of contexts. It holds private keys: only its owner may read it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// The context that is used when none is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) current: Option<String>,
    #[serde(default)]
    pub(crate) contexts: BTreeMap<String, Context>,
}

/// A control plane, and a certificate that it accepts.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Context {
    /// `https://HOST:PORT`
    pub(crate) server: String,
    pub(crate) ca_pem: String,
    pub(crate) certificate_pem: String,
    pub(crate) key_pem: String,
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("server", &self.server).finish_non_exhaustive()
    }
}

/// What `littorald` and `littoral user create` write for an operator.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Credential {
    pub(crate) name: String,
    pub(crate) server: String,
    pub(crate) ca_pem: String,
    pub(crate) certificate_pem: String,
    pub(crate) key_pem: String,
}

impl From<Credential> for Context {
    fn from(credential: Credential) -> Self {
        Self {
            server: credential.server,
            ca_pem: credential.ca_pem,
            certificate_pem: credential.certificate_pem,
            key_pem: credential.key_pem,
        }
    }
}

impl Credential {
    /// # Errors
    /// When the file is missing, too large, or not a credential.
    pub(crate) fn load(path: &Path) -> Result<Self> {
        let tried = format!("read the credential {}", path.display());
        let text = read(path, MAX_CREDENTIAL, &tried)?;
        toml::from_str(&text).map_err(|error| {
            Failure::caused(&tried, &error)
                .hint("it must be a file that littorald or `littoral user create` has written")
        })
    }

    /// Writes it with mode 0600.
    pub(crate) fn save(&self, path: &Path) -> Result<()> {
        save(self, path, "the credential")
    }
}

impl Config {
    /// The configuration at `path`; an empty one when there is none.
    ///
    /// # Errors
    /// When the file cannot be read, has unknown keys, or is open to others.
    pub(crate) fn load(path: &Path) -> Result<Self> {
        let tried = format!("read the configuration {}", path.display());
        let mode = match std::fs::metadata(path) {
            Ok(metadata) => metadata.permissions().mode(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(Failure::caused(tried, &error)),
        };
        if mode & 0o077 != 0 {
            let message = format!("{} holds private keys and is open to other users", path.display());
            return Err(Failure::error(message).hint(format!("close it: chmod 600 {}", path.display())));
        }
        let text = read(path, MAX_CONFIG, &tried)?;
        toml::from_str(&text).map_err(|error| {
            Failure::caused(tried, &error).hint("correct it, or move it away and add contexts anew")
        })
    }

    /// Replaces the file, with mode 0600.
    pub(crate) fn save(&self, path: &Path) -> Result<()> {
        save(self, path, "the configuration")
    }

    /// The context to use: the named one, else the current one.
    ///
    /// # Errors
    /// When there is none, or none of that name.
    pub(crate) fn context(&self, named: Option<&str>) -> Result<(&str, &Context)> {
        let Some(name) = named.or(self.current.as_deref()) else {
            let failure = Failure::usage("no context is chosen: which control plane, and as whom?");
            return Err(failure.hint(match self.contexts.keys().next() {
                Some(one) => format!("choose one: littoral context use {one}"),
                None => "start a fleet on this machine with `littoral dev`, or add one: littoral context add NAME --from FILE".into(),
            }));
        };
        let found = self.contexts.get_key_value(name);
        found.map(|(name, context)| (name.as_str(), context)).ok_or_else(|| unknown(name, &self.contexts))
    }
}

pub(crate) fn unknown(name: &str, contexts: &BTreeMap<String, Context>) -> Failure {
    let names: Vec<&str> = contexts.keys().map(String::as_str).collect();
    let known =
        if names.is_empty() { "there is none yet".into() } else { format!("there are {}", names.join(", ")) };
    Failure::new(Exit::NotFound, format!("there is no context `{name}`: {known}"))
        .hint("add it: littoral context add NAME --from FILE")
}

fn read(path: &Path, max: usize, tried: &str) -> Result<String> {
    let bytes = files::read_capped(path, max).map_err(|error| Failure::caused(tried, &error))?;
    String::from_utf8(bytes).map_err(|error| Failure::caused(tried, &error))
}

fn save(value: &impl Serialize, path: &Path, what: &str) -> Result<()> {
    let tried = format!("write {what} {}", path.display());
    let text = toml::to_string_pretty(value).map_err(|error| Failure::caused(&tried, &error))?;
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        // Only what does not exist yet: a folder that is there may be shared on purpose.
        if !parent.exists() {
            files::private_dir(parent).map_err(|error| Failure::caused(&tried, &error))?;
        }
    }
    files::write_atomic(path, text.as_bytes()).map_err(|error| Failure::caused(&tried, &error))
}

/// Where the configuration is by default: below `XDG_CONFIG_HOME`, else below `~/.config`.
///
/// # Errors
/// When neither variable is set.
pub(crate) fn default_path(variable: impl Fn(&str) -> Option<OsString>) -> Result<PathBuf> {
    let base = variable("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .or_else(|| variable("HOME").map(|home| PathBuf::from(home).join(".config")));
    base.map(|base| base.join("littoral").join("config.toml")).ok_or_else(|| {
        Failure::error("there is no place for the configuration: HOME is not set")
            .hint("set LITTORAL_CONFIG to a file")
    })
}

/// A variable of the environment; an empty one counts as not set.
pub(crate) fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context(server: &str) -> Context {
        Context {
            server: server.into(),
            ca_pem: "ca".into(),
            certificate_pem: "certificate".into(),
            key_pem: "-----SECRET-----".into(),
        }
    }

    #[test]
    fn a_configuration_survives_its_file_which_only_the_owner_reads() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new").join("config.toml");
        let mut config = Config::load(&path).unwrap();
        assert!(config.contexts.is_empty());
        config.contexts.insert("shop".into(), context("https://shop:7443"));
        config.current = Some("shop".into());
        config.save(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let loaded = Config::load(&path).unwrap();
        assert_eq!(loaded.context(None).unwrap(), ("shop", &context("https://shop:7443")));
    }

    #[test]
    fn a_file_that_others_can_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.toml");
        Config::default().save(&path).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let failure = Config::load(&path).unwrap_err();
        assert!(failure.hint.unwrap().contains("chmod 600"));
    }

    #[test]
    fn unknown_keys_are_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.toml");
        files::write_atomic(&path, b"current = \"a\"\ncolour = true\n").unwrap();
        let failure = Config::load(&path).unwrap_err();
        assert!(failure.message.contains("colour") && failure.message.contains("line 2"), "{failure}");

        let credential = dir.path().join("credential.toml");
        files::write_atomic(&credential, b"name = \"a\"\nserver = \"s\"\nca_pem = \"\"\nextra = 1\n")
            .unwrap();
        assert!(Credential::load(&credential).err().unwrap().message.contains("extra"));
    }

    #[test]
    fn a_missing_context_says_what_there_is() {
        let mut config = Config::default();
        assert!(config.context(None).unwrap_err().hint.unwrap().contains("littoral dev"));
        config.contexts.insert("shop".into(), context("s"));
        assert!(config.context(None).unwrap_err().hint.unwrap().contains("context use shop"));
        let failure = config.context(Some("other")).unwrap_err();
        assert_eq!(failure.exit, Exit::NotFound);
        assert!(failure.message.contains("shop"), "{failure}");
    }

    #[test]
    fn the_path_comes_from_the_environment() {
        let of = |pairs: &[(&str, &str)]| {
            let pairs: Vec<(String, OsString)> =
                pairs.iter().map(|(name, value)| ((*name).to_owned(), OsString::from(value))).collect();
            default_path(move |name| pairs.iter().find(|pair| pair.0 == name).map(|pair| pair.1.clone()))
        };
        let home = ("HOME", "/home/ada");
        assert_eq!(of(&[home]).unwrap(), Path::new("/home/ada/.config/littoral/config.toml"));
        assert_eq!(of(&[home, ("XDG_CONFIG_HOME", "/x")]).unwrap(), Path::new("/x/littoral/config.toml"));
        assert_eq!(of(&[home, ("XDG_CONFIG_HOME", "relative")]).unwrap(), of(&[home]).unwrap());
        assert!(of(&[]).is_err());
    }

    #[test]
    fn a_private_key_is_never_printed() {
        assert!(!format!("{:?}", context("s")).contains("SECRET"));
    }
}
