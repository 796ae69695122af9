//! Errors of commands, with the exit code that scripts branch on.

use std::error::Error;
use std::fmt;

use littoral_platform::channel::ChannelError;
use tonic::Code;

use crate::credentials::CredentialsError;
use crate::join::JoinError;
use crate::run::RunError;

const ERROR: u8 = 1;
const USAGE: u8 = 2;
const CONFLICT: u8 = 4;
const DENIED: u8 = 5;
const UNREACHABLE: u8 = 6;
const NOT_VERIFIED: u8 = 9;

/// An error and its exit code.
#[derive(Debug)]
pub(super) struct Failure {
    pub error: Box<dyn Error + Send + Sync>,
    pub code: u8,
}

#[derive(Debug)]
struct Usage(String);

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for Usage {}

impl Failure {
    pub(super) fn usage(text: String) -> Self {
        Self { error: Box::new(Usage(text)), code: USAGE }
    }

    /// Trying again may help, with nothing changed here.
    pub(super) fn is_unreachable(&self) -> bool {
        self.code == UNREACHABLE
    }

    pub(super) fn other(error: Box<dyn Error + Send + Sync>) -> Self {
        Self { error, code: ERROR }
    }
}

impl<E: Error + Send + Sync + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        let error: Box<dyn Error + Send + Sync> = Box::new(error);
        let code = code_of(error.as_ref());
        Self { error, code }
    }
}

fn code_of(error: &(dyn Error + 'static)) -> u8 {
    if let Some(error) = error.downcast_ref::<JoinError>() {
        return match error {
            JoinError::AlreadyJoined { .. } | JoinError::Leftover => CONFLICT,
            JoinError::Channel(error) => of_channel(error),
            JoinError::Silent => UNREACHABLE,
            JoinError::Refused(status) => match ChannelError::from_status(status) {
                Some(error) => of_channel(&error),
                None => of_status(status.code()),
            },
            _ => ERROR,
        };
    }
    match error.downcast_ref::<RunError>() {
        Some(RunError::Credentials(CredentialsError::Server(_))) => USAGE,
        _ => ERROR,
    }
}

fn of_channel(error: &ChannelError) -> u8 {
    match error {
        ChannelError::Unreachable { .. } => UNREACHABLE,
        ChannelError::Tls { .. } => NOT_VERIFIED,
        ChannelError::BadUrl { .. } => USAGE,
    }
}

fn of_status(code: Code) -> u8 {
    match code {
        Code::PermissionDenied | Code::Unauthenticated => DENIED,
        Code::AlreadyExists | Code::Aborted => CONFLICT,
        Code::InvalidArgument => USAGE,
        Code::Unavailable | Code::DeadlineExceeded => UNREACHABLE,
        _ => ERROR,
    }
}

#[cfg(test)]
mod tests {
    use tonic::Status;

    use super::*;

    #[test]
    fn scripts_can_tell_a_used_token_from_an_unreachable_server() {
        let code = |error: JoinError| Failure::from(error).code;
        assert_eq!(code(JoinError::Refused(Status::permission_denied("used"))), DENIED);
        assert_eq!(code(JoinError::Refused(Status::already_exists("name"))), CONFLICT);
        assert_eq!(code(JoinError::Refused(Status::unavailable("later"))), UNREACHABLE);
        assert_eq!(code(JoinError::AlreadyJoined { name: "n".into(), id: "1".into() }), CONFLICT);
    }
}
