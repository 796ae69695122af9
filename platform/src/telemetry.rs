//! Logs: to stderr, for people by default, as JSON for collectors.

use std::io::{self, IsTerminal};
use std::str::FromStr;

use tracing_subscriber::filter::{ParseError, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};

/// `LITTORAL_LOG`: levels in the notation of `tracing`, such as `info` or `info,littorald::planner=debug`.
pub const LOG_ENV: &str = "LITTORAL_LOG";
/// `LITTORAL_LOG_FORMAT`: `text` or `json`.
pub const LOG_FORMAT_ENV: &str = "LITTORAL_LOG_FORMAT";
const DEFAULT_FILTER: &str = "info";

#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    #[error(
        "`{text}` is not a log filter: write a level (error, warn, info, debug, trace) or target=level, ..."
    )]
    Filter {
        text: String,
        #[source]
        source: ParseError,
    },
    #[error("`{0}` is not a log format: write text or json")]
    Format(String),
    #[error("logging was already set up in this process")]
    AlreadySet(#[source] TryInitError),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

impl FromStr for LogFormat {
    type Err = TelemetryError;

    fn from_str(text: &str) -> Result<Self, TelemetryError> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            other => Err(TelemetryError::Format(other.to_owned())),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSettings {
    pub filter: String,
    pub format: LogFormat,
}

impl LogSettings {
    /// From `LITTORAL_LOG` and `LITTORAL_LOG_FORMAT`; unset or empty means `info` and `text`.
    ///
    /// # Errors
    /// For a format other than text and json.
    pub fn from_env() -> Result<Self, TelemetryError> {
        Self::from_variables(|name| std::env::var(name).ok())
    }

    fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Result<Self, TelemetryError> {
        let set = |name| variable(name).filter(|value| !value.is_empty());
        Ok(Self {
            filter: set(LOG_ENV).unwrap_or_else(|| DEFAULT_FILTER.to_owned()),
            format: set(LOG_FORMAT_ENV).map_or(Ok(LogFormat::default()), |text| text.parse())?,
        })
    }
}

/// Sets up logging for this process, once.
///
/// # Errors
/// For a filter that cannot be read, and at a second call.
pub fn init(settings: &LogSettings) -> Result<(), TelemetryError> {
    let filter: Targets = settings
        .filter
        .parse()
        .map_err(|source| TelemetryError::Filter { text: settings.filter.clone(), source })?;
    let colours = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    // `Targets` and not `EnvFilter`: that one also matches the fields of spans, for which it brings an engine of regular
    // expressions into every program.
    let lines = || tracing_subscriber::fmt::layer().with_writer(io::stderr).with_ansi(colours);
    let registry = tracing_subscriber::registry().with(filter);
    match settings.format {
        LogFormat::Text => registry.with(lines().compact()).try_init(),
        LogFormat::Json => registry.with(lines().json().flatten_event(true)).try_init(),
    }
    .map_err(TelemetryError::AlreadySet)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_come_from_the_two_variables() {
        let unset = LogSettings::from_variables(|_| None).unwrap();
        assert_eq!(unset, LogSettings { filter: "info".into(), format: LogFormat::Text });
        let set = LogSettings::from_variables(|name| {
            Some(if name == LOG_ENV { "warn,littorald=debug" } else { "json" }.into())
        });
        assert_eq!(
            set.unwrap(),
            LogSettings { filter: "warn,littorald=debug".into(), format: LogFormat::Json }
        );
    }

    #[test]
    fn wrong_values_are_named() {
        let error = LogSettings::from_variables(|_| Some("xml".into())).unwrap_err();
        assert!(error.to_string().contains("`xml`"), "{error}");
        let settings = LogSettings { filter: "a=b=c".into(), format: LogFormat::Text };
        let error = init(&settings).unwrap_err();
        assert!(error.to_string().contains("`a=b=c`"), "{error}");
    }
}
