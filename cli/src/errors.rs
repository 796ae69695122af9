//! What the command says and how it exits when something did not work.

use std::error::Error;
use std::fmt::{self, Display, Write as _};
use std::process::ExitCode;

use littoral_platform::channel::{ChannelError, TlsRefusal};
use littoral_platform::error::{ApiCode, ApiError, Chain};
use tonic::{Code, Status, TimeoutExpired};

/// How the command ends. Scripts branch on these numbers: they never change their meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    Ok = 0,
    Error = 1,
    Usage = 2,
    NotFound = 3,
    Conflict = 4,
    Denied = 5,
    Unreachable = 6,
    /// Out of patience; what was asked for goes on.
    TimedOut = 7,
    RolloutFailed = 8,
    /// Somebody or something is not what it claims to be.
    Unverified = 9,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// An error for people: what was tried, on what, and what to do next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    /// Empty: nothing is left to say.
    pub(crate) message: String,
    pub(crate) details: Vec<String>,
    pub(crate) hint: Option<String>,
}

pub(crate) type Result<T, E = Failure> = std::result::Result<T, E>;

impl Failure {
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), details: Vec::new(), hint: None }
    }

    pub(crate) fn error(message: impl Into<String>) -> Self {
        Self::new(Exit::Error, message)
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// Ends the command with this code and no more words: all has been said.
    pub(crate) fn silent(exit: Exit) -> Self {
        Self::new(exit, "")
    }

    /// `could not TRIED`, and everything that caused it.
    pub(crate) fn caused(tried: impl Display, cause: &(dyn Error + 'static)) -> Self {
        Self::error(format!("could not {tried}: {}", Chain(cause)))
    }

    /// What to do next.
    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// A refusal of the control plane, or a connection to it that was lost.
    pub(crate) fn refused(tried: impl Display, status: &Status) -> Self {
        if let Some(error) = ChannelError::from_status(status) {
            return Self::unconnected(tried, &error);
        }
        if is_timeout(status) {
            return Self::new(Exit::TimedOut, format!("could not {tried} in time; it may still be going on"))
                .hint("look at `littoral events`, and at `littoral status` for the control plane");
        }
        // A status that has a source was not sent by anybody: the connection broke.
        if let Some(source) = status.source() {
            let message =
                format!("could not {tried}: the connection to the control plane was lost: {}", Chain(source));
            return Self::new(Exit::Unreachable, message)
                .hint("look whether it is up with `littoral status`, then try again");
        }
        let error = ApiError::from(status);
        let exit = exit_of(error.code);
        let mut failure = Self::new(exit, format!("could not {tried}: {}", error.message));
        failure.details = error.details;
        failure.hint = hint_of(error.code).map(str::to_owned);
        failure
    }

    /// There is no connection to the control plane, or none that can be trusted.
    pub(crate) fn unconnected(tried: impl Display, error: &ChannelError) -> Self {
        let exit = match error {
            ChannelError::Unreachable { .. } => Exit::Unreachable,
            ChannelError::BadUrl { .. } => Exit::Usage,
            ChannelError::Tls { refusal, .. } => exit_of_refusal(refusal),
        };
        let hint = match exit {
            Exit::Denied => {
                "ask an admin for a new credential (`littoral user create`), then `littoral context add`"
            }
            Exit::Unverified => "do not go on before you know why: `littoral context list` shows the servers",
            _ => "`littoral context list` shows the servers; `littoral dev` starts a fleet on this machine",
        };
        Self::new(exit, format!("could not {tried}: {}", Chain(error))).hint(hint)
    }

    /// The text for stderr, each line ended.
    pub(crate) fn render(&self) -> String {
        let mut text = String::new();
        if self.message.is_empty() {
            return text;
        }
        // Writing into a string cannot fail.
        let _ = writeln!(text, "error: {}", clean(&self.message));
        for detail in &self.details {
            let _ = writeln!(text, "  - {}", clean(detail));
        }
        if let Some(hint) = &self.hint {
            let _ = writeln!(text, "next: {}", clean(hint));
        }
        text
    }
}

/// What comes from a server or a guest must not command the terminal. Line breaks stay, indented.
fn clean(text: &str) -> String {
    let mut cleaned = String::with_capacity(text.len());
    for char in text.trim_end().chars() {
        match char {
            '\n' => cleaned.push_str("\n    "),
            '\t' => cleaned.push_str("  "),
            c if c.is_control() => cleaned.push('\u{fffd}'),
            c => cleaned.push(c),
        }
    }
    cleaned
}

impl Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// Names what was tried when the control plane refused it.
pub(crate) trait Tried<T> {
    fn tried(self, what: impl Display) -> Result<T>;
}

impl<T> Tried<T> for std::result::Result<T, Status> {
    fn tried(self, what: impl Display) -> Result<T> {
        self.map_err(|status| Failure::refused(what, &status))
    }
}

fn exit_of_refusal(refusal: &TlsRefusal) -> Exit {
    match refusal {
        TlsRefusal::OwnExpired | TlsRefusal::OwnUnknownCa | TlsRefusal::OwnRefused(_) => Exit::Denied,
        TlsRefusal::NotGrpc | TlsRefusal::NotTls(_) => Exit::Unreachable,
        _ => Exit::Unverified,
    }
}

/// Our own deadline, or the server's for the same call.
fn is_timeout(status: &Status) -> bool {
    let mut source = status.source();
    while let Some(error) = source {
        if error.is::<TimeoutExpired>() {
            return true;
        }
        source = error.source();
    }
    status.code() == Code::Cancelled && status.message() == TimeoutExpired(()).to_string()
}

fn exit_of(code: ApiCode) -> Exit {
    match code {
        ApiCode::NotFound => Exit::NotFound,
        ApiCode::AlreadyExists | ApiCode::Conflict | ApiCode::FailedPrecondition => Exit::Conflict,
        ApiCode::PermissionDenied | ApiCode::Unauthenticated => Exit::Denied,
        ApiCode::DeadlineExceeded => Exit::TimedOut,
        ApiCode::InvalidArgument | ApiCode::ResourceExhausted | ApiCode::Unavailable | ApiCode::Internal => {
            Exit::Error
        }
    }
}

fn hint_of(code: ApiCode) -> Option<&'static str> {
    match code {
        ApiCode::Conflict => Some("somebody changed it meanwhile: look at it again, then decide again"),
        ApiCode::PermissionDenied => {
            Some("`littoral context list` shows who you are; an admin can grant a higher role")
        }
        ApiCode::Unauthenticated => {
            Some("check the credential of this context: it may have expired or been revoked")
        }
        ApiCode::Unavailable => Some("try again in a moment"),
        ApiCode::DeadlineExceeded => Some("it may still be going on: look at `littoral events`"),
        ApiCode::Internal => Some("the control plane's log has the cause"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_map_to_the_documented_exit_codes() {
        for (code, exit) in [
            (ApiCode::InvalidArgument, 1),
            (ApiCode::NotFound, 3),
            (ApiCode::AlreadyExists, 4),
            (ApiCode::Conflict, 4),
            (ApiCode::FailedPrecondition, 4),
            (ApiCode::PermissionDenied, 5),
            (ApiCode::Unauthenticated, 5),
            (ApiCode::DeadlineExceeded, 7),
            (ApiCode::Unavailable, 1),
            (ApiCode::Internal, 1),
        ] {
            let status = Status::from(ApiError::new(code, "m"));
            assert_eq!(Failure::refused("x", &status).exit as u8, exit, "{code:?}");
        }
    }

    #[test]
    fn a_broken_connection_is_unreachable() {
        let status = Status::from_error(Box::new(std::io::Error::other("reset")));
        let failure = Failure::refused("list the nodes", &status);
        assert_eq!(failure.exit, Exit::Unreachable);
        assert!(failure.message.contains("list the nodes") && failure.message.contains("reset"), "{failure}");
    }

    #[test]
    fn a_server_that_is_not_trusted_is_unverified_and_one_that_does_not_trust_us_denies() {
        let exit = |refusal| {
            let error = ChannelError::Tls { server: "https://a".into(), refusal };
            Failure::refused("x", &Status::from_error(Box::new(error))).exit
        };
        assert_eq!(exit(TlsRefusal::UnknownCa), Exit::Unverified);
        assert_eq!(exit(TlsRefusal::OwnExpired), Exit::Denied);
        assert_eq!(exit(TlsRefusal::NotGrpc), Exit::Unreachable);
        let bad = ChannelError::BadUrl { url: "x".into(), reason: "y" };
        assert_eq!(Failure::unconnected("connect", &bad).exit, Exit::Usage);
    }

    #[test]
    fn a_call_that_took_too_long_timed_out_wherever_the_clock_was() {
        let ours = Status::from_error(Box::new(TimeoutExpired(())));
        let theirs = Status::cancelled("Timeout expired");
        for status in [ours, theirs] {
            assert_eq!(Failure::refused("x", &status).exit, Exit::TimedOut, "{status:?}");
        }
    }

    #[test]
    fn prints_what_was_tried_the_findings_and_what_to_do_next() {
        let error =
            ApiError::new(ApiCode::Conflict, "its revision is 4").with_details(vec!["expected 3".into()]);
        let failure = Failure::refused("apply function `a`", &Status::from(error));
        let hint = failure.hint.clone().unwrap();
        assert_eq!(
            failure.render(),
            format!("error: could not apply function `a`: its revision is 4\n  - expected 3\nnext: {hint}\n")
        );
        assert_eq!(Failure::silent(Exit::Error).render(), "");
    }

    #[test]
    fn a_message_from_outside_cannot_command_the_terminal() {
        assert_eq!(Failure::error("a\x1b[2Jb\nc").render(), "error: a\u{fffd}[2Jb\n    c\n");
    }
}
