//! The one error type at the edge of a program, and its mapping to gRPC and HTTP.

use std::error::Error;
use std::fmt;

use http::StatusCode;
use tonic::metadata::MetadataValue;
use tonic::{Code, Status};

/// Carries one detail each; binary, so that any text passes.
const DETAIL_KEY: &str = "littoral-detail-bin";
/// Clients accept 16 KiB of headers by default: sixteen details of 512 bytes stay well below, encoded.
const MAX_DETAILS: usize = 16;
const MAX_DETAIL: usize = 512;
/// The message travels in a header too.
const MAX_MESSAGE: usize = 2048;

/// What kind of refusal it is. Callers branch on this and on nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ApiCode {
    /// The request is wrong and stays wrong.
    InvalidArgument,
    NotFound,
    AlreadyExists,
    /// Somebody changed the thing meanwhile: read it again and decide again.
    Conflict,
    /// The state of the system does not allow it.
    FailedPrecondition,
    PermissionDenied,
    /// No client certificate, or one that does not fit the method.
    Unauthenticated,
    /// A quota, a queue or a size limit.
    ResourceExhausted,
    /// Not now; trying again helps.
    Unavailable,
    DeadlineExceeded,
    /// A fault of ours.
    Internal,
}

impl ApiCode {
    const ALL: [(Self, Code, StatusCode); 11] = [
        (Self::InvalidArgument, Code::InvalidArgument, StatusCode::BAD_REQUEST),
        (Self::NotFound, Code::NotFound, StatusCode::NOT_FOUND),
        (Self::AlreadyExists, Code::AlreadyExists, StatusCode::CONFLICT),
        (Self::Conflict, Code::Aborted, StatusCode::CONFLICT),
        (Self::FailedPrecondition, Code::FailedPrecondition, StatusCode::PRECONDITION_FAILED),
        (Self::PermissionDenied, Code::PermissionDenied, StatusCode::FORBIDDEN),
        (Self::Unauthenticated, Code::Unauthenticated, StatusCode::UNAUTHORIZED),
        (Self::ResourceExhausted, Code::ResourceExhausted, StatusCode::TOO_MANY_REQUESTS),
        (Self::Unavailable, Code::Unavailable, StatusCode::SERVICE_UNAVAILABLE),
        (Self::DeadlineExceeded, Code::DeadlineExceeded, StatusCode::GATEWAY_TIMEOUT),
        (Self::Internal, Code::Internal, StatusCode::INTERNAL_SERVER_ERROR),
    ];

    /// Whether the same request can succeed later without anybody changing it.
    pub fn is_retryable(self) -> bool {
        matches!(self, Self::Unavailable | Self::DeadlineExceeded | Self::ResourceExhausted)
    }

    pub fn http_status(self) -> StatusCode {
        self.row().2
    }

    fn grpc(self) -> Code {
        self.row().1
    }

    fn row(self) -> (Self, Code, StatusCode) {
        Self::ALL.into_iter().find(|row| row.0 == self).expect("every code has a row")
    }

    /// Codes that we never send count as our fault, but for the transport's own ones.
    fn from_grpc(code: Code) -> Self {
        match code {
            Code::OutOfRange => Self::InvalidArgument,
            Code::Cancelled => Self::Unavailable,
            _ => Self::ALL.into_iter().find(|row| row.1 == code).map_or(Self::Internal, |row| row.0),
        }
    }
}

/// What a caller is told: a kind, a sentence, and lines of detail (one per finding, without an order).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    pub code: ApiCode,
    pub message: String,
    pub details: Vec<String>,
}

impl ApiError {
    pub fn new(code: ApiCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), details: Vec::new() }
    }

    #[must_use]
    pub fn with_details(mut self, details: Vec<String>) -> Self {
        self.details = details;
        self
    }

    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ApiCode::InvalidArgument, message)
    }

    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(ApiCode::NotFound, message)
    }

    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(ApiCode::Conflict, message)
    }

    pub fn denied(message: impl Into<String>) -> Self {
        Self::new(ApiCode::PermissionDenied, message)
    }

    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(ApiCode::Unavailable, message)
    }

    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ApiCode::Internal, message)
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for ApiError {}

impl From<ApiError> for Status {
    fn from(error: ApiError) -> Self {
        let mut status = Self::new(error.code.grpc(), clip(&error.message, MAX_MESSAGE));
        for detail in error.details.iter().take(MAX_DETAILS) {
            let value = MetadataValue::from_bytes(clip(detail, MAX_DETAIL).as_bytes());
            status.metadata_mut().append_bin(DETAIL_KEY, value);
        }
        status
    }
}

impl From<&Status> for ApiError {
    fn from(status: &Status) -> Self {
        let values = status.metadata().get_all_bin(DETAIL_KEY);
        let details = values
            .iter()
            .take(MAX_DETAILS)
            .filter_map(|value| value.to_bytes().ok())
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .collect();
        Self { code: ApiCode::from_grpc(status.code()), message: status.message().to_owned(), details }
    }
}

/// The longest beginning of `text` that has at most `max` bytes.
fn clip(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max)]
}

/// Prints an error and everything that caused it on one line, for logs.
#[derive(Debug)]
pub struct Chain<'a>(pub &'a (dyn Error + 'a));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source = self.0.source();
        while let Some(error) = source {
            write!(f, ": {error}")?;
            source = error.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_survives_the_way_over_grpc() {
        for (code, _, _) in ApiCode::ALL {
            let error = ApiError::new(code, "m").with_details(vec!["one\ntwo".into(), "ü".into()]);
            assert_eq!(ApiError::from(&Status::from(error.clone())), error);
        }
    }

    #[test]
    fn a_flood_of_details_fits_into_headers() {
        let details = vec!["ä".repeat(10_000); 100];
        let error = ApiError::invalid("x".repeat(100_000)).with_details(details);
        let received = ApiError::from(&Status::from(error));
        assert_eq!(received.message.len(), MAX_MESSAGE);
        assert_eq!(received.details.len(), MAX_DETAILS);
        assert!(received.details.iter().all(|d| d.len() <= MAX_DETAIL));
    }

    #[test]
    fn codes_of_others_become_ours() {
        assert_eq!(ApiError::from(&Status::unimplemented("x")).code, ApiCode::Internal);
        assert_eq!(ApiError::from(&Status::cancelled("x")).code, ApiCode::Unavailable);
        assert_eq!(ApiCode::Conflict.http_status(), StatusCode::CONFLICT);
    }

    #[test]
    fn a_chain_prints_each_cause_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("could not start")]
        struct Outer(#[source] std::io::Error);
        let error = Outer(std::io::Error::other("no disk"));
        assert_eq!(Chain(&error).to_string(), "could not start: no disk");
    }
}
