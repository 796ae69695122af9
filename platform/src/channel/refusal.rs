//! What a failed TLS handshake means to the person who reads about it.

use std::io;

use rustls::{AlertDescription, CertificateError, Error};

use crate::pin::PinMismatch;

/// Why TLS did not come about. All of these stay until somebody changes something.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum TlsRefusal {
    #[error("its certificate is not of a CA that is trusted here: is it the right cluster?")]
    UnknownCa,
    #[error("its certificate has expired (or the clock here is ahead)")]
    Expired,
    #[error("its certificate is not valid yet (or the clock here is behind)")]
    NotYetValid,
    #[error("its certificate is not for the name it was called by; it is for {}", .presented.join(", "))]
    WrongName { presented: Vec<String> },
    #[error(transparent)]
    PinMismatch(PinMismatch),
    #[error("its certificate was refused: {0}")]
    Certificate(String),
    #[error("it refused the certificate presented here, which has expired or is not valid yet")]
    OwnExpired,
    #[error("it refused the certificate presented here, which is not of a CA that it trusts")]
    OwnUnknownCa,
    #[error("it refused the certificate presented here ({0})")]
    OwnRefused(String),
    #[error("it does not speak gRPC: is it the right port?")]
    NotGrpc,
    #[error("it does not speak TLS 1.3: is it the right port? ({0})")]
    NotTls(String),
}

/// The refusal behind an I/O error, if TLS is the reason at all.
pub(super) fn of(error: &io::Error) -> Option<TlsRefusal> {
    let error = error.get_ref()?.downcast_ref::<Error>()?;
    Some(match error {
        Error::InvalidCertificate(reason) => of_certificate(reason),
        Error::AlertReceived(alert) => of_alert(*alert),
        Error::NoApplicationProtocol => TlsRefusal::NotGrpc,
        other => TlsRefusal::NotTls(other.to_string()),
    })
}

fn of_certificate(reason: &CertificateError) -> TlsRefusal {
    match reason {
        // Another CA under the same name shows as a bad signature.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => TlsRefusal::UnknownCa,
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => TlsRefusal::Expired,
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            TlsRefusal::NotYetValid
        }
        CertificateError::NotValidForNameContext { presented, .. } => {
            TlsRefusal::WrongName { presented: presented.clone() }
        }
        CertificateError::Other(cause) => match cause.0.downcast_ref::<PinMismatch>() {
            Some(mismatch) => TlsRefusal::PinMismatch(mismatch.clone()),
            None => TlsRefusal::Certificate(cause.to_string()),
        },
        other => TlsRefusal::Certificate(other.to_string()),
    }
}

fn of_alert(alert: AlertDescription) -> TlsRefusal {
    match alert {
        AlertDescription::CertificateExpired => TlsRefusal::OwnExpired,
        AlertDescription::UnknownCA | AlertDescription::DecryptError => TlsRefusal::OwnUnknownCa,
        AlertDescription::NoApplicationProtocol => TlsRefusal::NotGrpc,
        AlertDescription::ProtocolVersion | AlertDescription::HandshakeFailure => {
            TlsRefusal::NotTls(format!("{alert:?}"))
        }
        other => TlsRefusal::OwnRefused(format!("{other:?}")),
    }
}
