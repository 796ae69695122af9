//! From what parts of the control plane say to what a caller is told.

use littoral_platform::error::{ApiCode, ApiError, Chain};

use crate::blobs::BlobError;
use crate::records::RecordError;
use crate::store::{Retry, StoreError};

/// A record could not be read or written.
pub fn store(error: RecordError) -> ApiError {
    match error {
        RecordError::Store(error) => error.into(),
        damaged @ RecordError::Decode { .. } => {
            tracing::error!("{}", Chain(&damaged));
            ApiError::internal(damaged.to_string())
        }
    }
}

impl From<RecordError> for ApiError {
    fn from(error: RecordError) -> Self {
        store(error)
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        let code = match (&error, error.retry()) {
            (StoreError::Conflict { .. }, _) => ApiCode::Conflict,
            (StoreError::TooLarge { .. }, _) => ApiCode::InvalidArgument,
            (StoreError::Full { .. }, _) => ApiCode::ResourceExhausted,
            (_, Retry::LookAgain | Retry::Later) => ApiCode::Unavailable,
            (StoreError::Closed, _) => ApiCode::Unavailable,
            (_, Retry::Never) => ApiCode::Internal,
        };
        if code == ApiCode::Internal {
            tracing::error!("{}", Chain(&error));
        }
        Self::new(code, error.to_string())
    }
}

impl From<BlobError> for ApiError {
    fn from(error: BlobError) -> Self {
        let code = match &error {
            BlobError::NotFound { .. } => ApiCode::NotFound,
            BlobError::TooLarge { .. } | BlobError::Full => ApiCode::ResourceExhausted,
            BlobError::BeyondEnd { .. } => ApiCode::InvalidArgument,
            BlobError::Damaged { .. }
            | BlobError::Clean { .. }
            | BlobError::Objects { .. }
            | BlobError::File(_) => ApiCode::Internal,
        };
        if code == ApiCode::Internal {
            tracing::error!("{}", Chain(&error));
        }
        Self::new(code, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_learns_whether_trying_again_helps() {
        let conflict = ApiError::from(StoreError::Conflict { key: "function/a".into() });
        assert_eq!(conflict.code, ApiCode::Conflict);
        assert!(conflict.message.contains("function/a"));
        assert!(ApiError::from(StoreError::Unknown).code.is_retryable());
        assert!(ApiError::from(BlobError::Full).code.is_retryable());
        assert_eq!(ApiError::from(StoreError::Closed).code, ApiCode::Unavailable);
    }
}
