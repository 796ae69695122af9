//! A function's manifest: TOML as people write it.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::constraint::BadConstraint;
use crate::function::{BadSpec, Capabilities, FunctionSpec, HttpTrigger, Limits, Placement, Replicas};
use crate::id::{BadModuleRef, BadName, FunctionName, ModuleRef};
use crate::quantity::{BadBytes, BadDuration, duration};

/// A manifest is some dozens of lines; this is a thousand times that.
pub const MAX_MANIFEST: usize = 256 * 1024;

/// A manifest that was read and holds no contradiction. Its module may still be a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    pub name: FunctionName,
    pub module: ModuleSource,
    triggers: Vec<HttpTrigger>,
    placement: Placement,
    limits: Limits,
    args: Vec<String>,
    capabilities: Capabilities,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModuleSource {
    /// A module in the registry.
    Registry(ModuleRef),
    /// A file beside the manifest, to be pushed first.
    File(String),
}

#[derive(Debug, thiserror::Error)]
pub enum BadManifest {
    #[error("the manifest has {0} bytes: at most {MAX_MANIFEST}")]
    TooLarge(usize),
    /// The text names the line, the column and the key.
    #[error("{0}")]
    Toml(String),
    #[error("function.name: {0}")]
    Name(#[source] BadName),
    #[error("function.module: {0}; or give the path of a .wasm file")]
    Module(#[source] BadModuleRef),
    #[error("placement.replicas: `{0}` is neither a whole number nor \"every\"")]
    Replicas(String),
    #[error("placement.spread: `{0}` must be `label.KEY`")]
    Spread(String),
    #[error("placement.constraints: {0}")]
    Constraint(#[from] BadConstraint),
    #[error("{key}: {error}")]
    Bytes { key: &'static str, error: BadBytes },
    #[error("limits.timeout: {0}")]
    Duration(#[from] BadDuration),
    #[error(
        "limits.fuel: `{0}` is not supported: instructions are not counted; leave it out or write \"none\""
    )]
    Fuel(String),
    #[error(transparent)]
    Spec(#[from] BadSpec),
}

impl Manifest {
    /// Reads a manifest. Unknown keys are refused, with their line.
    pub fn parse(text: &str) -> Result<Self, BadManifest> {
        if text.len() > MAX_MANIFEST {
            return Err(BadManifest::TooLarge(text.len()));
        }
        let raw: RawManifest = toml::from_str(text).map_err(|e| BadManifest::Toml(e.to_string()))?;
        let manifest = Self {
            name: raw.function.name.parse().map_err(BadManifest::Name)?,
            module: ModuleSource::parse(&raw.function.module)?,
            triggers: raw.trigger.http.into_iter().map(RawHttp::read).collect(),
            placement: raw.placement.read()?,
            limits: raw.limits.read()?,
            args: raw.function.args,
            capabilities: Capabilities { env: raw.capabilities.env },
        };
        // A stand-in reference: what is checked here does not depend on it.
        let stand_in = ModuleRef {
            name: "module".parse().map_err(BadManifest::Name)?,
            version: "0".parse().map_err(BadManifest::Name)?,
        };
        manifest.clone().into_spec(stand_in).validate()?;
        Ok(manifest)
    }

    /// The spec, with the registry's name for its module.
    pub fn into_spec(self, module: ModuleRef) -> FunctionSpec {
        FunctionSpec {
            name: self.name,
            module,
            resolved: None,
            triggers: self.triggers,
            placement: self.placement,
            limits: self.limits,
            args: self.args,
            capabilities: self.capabilities,
        }
    }
}

impl ModuleSource {
    fn parse(text: &str) -> Result<Self, BadManifest> {
        if text.contains('/') || text.ends_with(".wasm") {
            return Ok(Self::File(text.to_owned()));
        }
        text.parse().map(Self::Registry).map_err(BadManifest::Module)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawManifest {
    function: RawFunction,
    #[serde(default)]
    trigger: RawTriggers,
    #[serde(default)]
    placement: RawPlacement,
    #[serde(default)]
    limits: RawLimits,
    #[serde(default)]
    capabilities: RawCapabilities,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFunction {
    name: String,
    module: String,
    #[serde(default)]
    args: Vec<String>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct RawTriggers {
    #[serde(default)]
    http: Vec<RawHttp>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawHttp {
    #[serde(default = "any_host")]
    host: String,
    path: String,
}

fn any_host() -> String {
    "*".to_owned()
}

impl RawHttp {
    fn read(self) -> HttpTrigger {
        HttpTrigger { host: self.host.to_ascii_lowercase(), path: self.path }
    }
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct RawPlacement {
    replicas: Option<RawReplicas>,
    #[serde(default)]
    constraints: Vec<String>,
    spread: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "`replicas` is a whole number, or \"every\"")]
enum RawReplicas {
    Count(u32),
    Word(String),
}

impl RawPlacement {
    fn read(self) -> Result<Placement, BadManifest> {
        let replicas = match self.replicas {
            None => Replicas::Count(1),
            Some(RawReplicas::Count(n)) => Replicas::Count(n),
            Some(RawReplicas::Word(word)) if word == "every" => Replicas::Every,
            Some(RawReplicas::Word(word)) => return Err(BadManifest::Replicas(word)),
        };
        let constraints = self.constraints.iter().map(|text| text.parse()).collect::<Result<_, _>>()?;
        Ok(Placement { replicas, constraints, spread: self.spread.map(|s| spread_key(&s)).transpose()? })
    }
}

/// The key in `label.KEY`.
fn spread_key(text: &str) -> Result<String, BadManifest> {
    let key = text.strip_prefix("label.").filter(|key| crate::label::check_key(key).is_ok());
    key.map(str::to_owned).ok_or_else(|| BadManifest::Spread(text.to_owned()))
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct RawLimits {
    timeout: Option<String>,
    memory: Option<String>,
    concurrency: Option<u32>,
    output: Option<String>,
    fuel: Option<String>,
}

impl RawLimits {
    fn read(self) -> Result<Limits, BadManifest> {
        if let Some(fuel) = self.fuel.filter(|fuel| fuel != "none") {
            return Err(BadManifest::Fuel(fuel));
        }
        let mut limits = Limits::default();
        if let Some(text) = self.timeout {
            limits.timeout = duration(&text)?;
        }
        if let Some(text) = self.memory {
            limits.memory =
                text.parse().map_err(|error| BadManifest::Bytes { key: "limits.memory", error })?;
        }
        if let Some(concurrency) = self.concurrency {
            limits.concurrency = concurrency;
        }
        if let Some(text) = self.output {
            limits.output =
                text.parse().map_err(|error| BadManifest::Bytes { key: "limits.output", error })?;
        }
        Ok(limits)
    }
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct RawCapabilities {
    #[serde(default)]
    env: BTreeMap<String, String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quantity::Bytes;

    const FULL: &str = r#"
        [function]
        name   = "resize"
        module = "resize@1.4.0"
        args   = ["-v"]

        [[trigger.http]]
        path = "/resize/*"

        [placement]
        replicas    = "every"
        constraints = ["arch == aarch64", "label.site ~ eu-*"]
        spread      = "label.zone"

        [limits]
        timeout = "2s"
        memory = "128MiB"
        fuel = "none"

        [capabilities]
        env = { LOG_LEVEL = "info" }
    "#;

    #[test]
    fn reads_a_full_manifest() {
        let manifest = Manifest::parse(FULL).unwrap();
        let ModuleSource::Registry(module) = manifest.module.clone() else { panic!("a registry module") };
        let spec = manifest.into_spec(module);
        assert_eq!(spec.module.to_string(), "resize@1.4.0");
        assert_eq!(spec.triggers, [HttpTrigger { host: "*".into(), path: "/resize/*".into() }]);
        assert_eq!(spec.placement.replicas, Replicas::Every);
        assert_eq!(spec.placement.spread.as_deref(), Some("zone"));
        assert_eq!(spec.limits.memory, Bytes::mib(128));
        assert_eq!(spec.limits.concurrency, 64, "the default");
    }

    #[test]
    fn a_path_is_a_file_to_push() {
        let text = "[function]\nname = \"a\"\nmodule = \"target/a.wasm\"\n";
        assert_eq!(Manifest::parse(text).unwrap().module, ModuleSource::File("target/a.wasm".into()));
    }

    #[test]
    fn errors_name_the_key_and_the_line() {
        let with = |line: &str| format!("[function]\nname = \"a\"\nmodule = \"a@1\"\n{line}\n");
        for (text, parts) in [
            (with("colour = \"red\""), vec!["line 4", "colour"]),
            (with("[placement]\nreplica = 3"), vec!["line 5", "replica"]),
            (with("[limits]\nmemory = \"much\""), vec!["limits.memory", "much"]),
            (with("[limits]\ntimeout = \"2 weeks ago\""), vec!["limits.timeout"]),
            (with("[limits]\nconcurrency = 0"), vec!["limits.concurrency", "1 to 4096"]),
            (with("[placement]\nreplicas = \"all\""), vec!["placement.replicas", "all"]),
            (with("[placement]\nreplicas = -1"), vec!["line 5", "whole number"]),
            (with("[placement]\nconstraints = [\"colour == red\"]"), vec!["constraint `colour == red`"]),
            (with("[placement]\nspread = \"zone\""), vec!["label.KEY"]),
            (with("[[trigger.http]]\npath = \"a\""), vec!["trigger.http.path", "begin with `/`"]),
            (with("[limits]\nfuel = \"5\""), vec!["limits.fuel"]),
            ("[function]\nname = \"A\"\nmodule = \"a@1\"".to_owned(), vec!["function.name"]),
            ("[function]\nname = \"a\"\nmodule = \"a\"".to_owned(), vec!["function.module", "NAME@VERSION"]),
            ("name = 1".to_owned(), vec!["line 1"]),
        ] {
            let error = Manifest::parse(&text).unwrap_err().to_string();
            for part in parts {
                assert!(error.contains(part), "`{part}` in: {error}");
            }
        }
    }
}
