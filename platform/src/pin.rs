//! The fingerprint of a CA's public key, which a join token carries.

use std::fmt;
use std::str::FromStr;

use rustls::pki_types::CertificateDer;
use sha2::{Digest, Sha256};
use x509_parser::prelude::{FromDer, X509Certificate};

const PREFIX: &str = "sha256:";

/// SHA-256 over a CA certificate's SubjectPublicKeyInfo (DER), written `sha256:<64 hex digits>`.
///
/// The key and not the certificate, so that the CA's certificate can be renewed under the same key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CaPin([u8; 32]);

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum BadPin {
    #[error("`{0}` is not a pin: expected sha256: and 64 hexadecimal digits")]
    Text(String),
    #[error("the certificate to pin cannot be read")]
    Certificate,
}

/// The server that was reached belongs to another CA than the one that the token names.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "expected the CA {expected}, the server presented {}: either the token is of another cluster, or somebody stands in between",
    list(seen)
)]
pub struct PinMismatch {
    pub expected: CaPin,
    /// Pins of the CA certificates that the server sent.
    pub seen: Vec<CaPin>,
}

impl CaPin {
    /// # Errors
    /// When the certificate cannot be parsed.
    pub fn of_certificate(certificate: &CertificateDer<'_>) -> Result<Self, BadPin> {
        let (_, parsed) = X509Certificate::from_der(certificate).map_err(|_| BadPin::Certificate)?;
        Ok(Self(Sha256::digest(parsed.public_key().raw).into()))
    }
}

impl FromStr for CaPin {
    type Err = BadPin;

    fn from_str(text: &str) -> Result<Self, BadPin> {
        let mut digest = [0; 32];
        text.strip_prefix(PREFIX)
            .and_then(|digits| hex::decode_to_slice(digits, &mut digest).ok())
            .ok_or_else(|| BadPin::Text(text.chars().take(80).collect()))?;
        Ok(Self(digest))
    }
}

impl fmt::Display for CaPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", hex::encode(self.0))
    }
}

impl fmt::Debug for CaPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn list(pins: &[CaPin]) -> String {
    if pins.is_empty() {
        return "no CA certificate".to_owned();
    }
    pins.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_back() {
        let text = format!("sha256:{}", "0f".repeat(32));
        assert_eq!(text.parse::<CaPin>().unwrap().to_string(), text);
        for wrong in ["", "sha256:", "sha256:0f", &"0f".repeat(32), &format!("{text}00")] {
            assert!(wrong.parse::<CaPin>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_mismatch_says_what_was_expected_and_what_was_seen() {
        let (expected, seen) = (CaPin([0; 32]), CaPin([1; 32]));
        let text = PinMismatch { expected, seen: vec![seen] }.to_string();
        assert!(text.contains(&expected.to_string()) && text.contains(&seen.to_string()), "{text}");
        assert!(PinMismatch { expected, seen: vec![] }.to_string().contains("no CA certificate"));
    }
}
