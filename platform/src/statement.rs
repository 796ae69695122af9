//! Signed statements in the shape of DSSE: bytes, signed as bytes, and never serialised again.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::str::FromStr;

use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{DecodePrivateKey, EncodePrivateKey};
use ed25519_dalek::{Signer, VerifyingKey};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::files::{self, FileError};
use crate::random;

/// A PKCS#8 file of an Ed25519 key is about 200 bytes.
const MAX_KEY_FILE: usize = 4096;
/// Old and new key while keys rotate, and room to spare: every one costs a verification.
const MAX_SIGNATURES: usize = 8;
const SIGNATURE_BYTES: usize = 64;

#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("{} does not hold an Ed25519 private key (PKCS#8 PEM)", .0.display())]
    NotAKey(std::path::PathBuf, #[source] ed25519_dalek::pkcs8::Error),
    #[error("the key cannot be written as PKCS#8")]
    Encode(#[source] ed25519_dalek::pkcs8::Error),
    #[error(
        "not an Ed25519 public key: expected 32 bytes, or 64 hexadecimal digits, of a point of full order"
    )]
    NotAPublicKey,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum VerifyError {
    #[error("the statement carries no signature")]
    NoSignature,
    #[error("the statement carries more than {MAX_SIGNATURES} signatures")]
    TooManySignatures,
    #[error("the statement is signed by {}, and none of these keys is trusted for {purpose}", list(key_ids))]
    UnknownKey { purpose: Purpose, key_ids: Vec<KeyId> },
    #[error("the statement is a `{actual}` where a `{expected}` was expected")]
    WrongType { expected: String, actual: String },
    #[error("the signature by {0} does not fit the statement: it was changed, or signed by somebody else")]
    BadSignature(KeyId),
}

/// First 16 hexadecimal digits of the SHA-256 of a public key.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(String);

impl KeyId {
    /// As received; it selects a key and proves nothing.
    pub fn from_wire(text: &str) -> Self {
        Self(text.chars().take(16).collect())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An Ed25519 public key; its text form is 64 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey(VerifyingKey);

impl PublicKey {
    /// # Errors
    /// For anything but 32 bytes of a usable point.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, KeyError> {
        let key = VerifyingKey::try_from(bytes).map_err(|_| KeyError::NotAPublicKey)?;
        // A weak key accepts signatures that nobody made.
        if key.is_weak() { Err(KeyError::NotAPublicKey) } else { Ok(Self(key)) }
    }

    pub fn to_bytes(&self) -> [u8; 32] {
        self.0.to_bytes()
    }

    pub fn id(&self) -> KeyId {
        KeyId(hex::encode(&Sha256::digest(self.0.as_bytes())[..8]))
    }
}

impl FromStr for PublicKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| KeyError::NotAPublicKey)?;
        Self::from_bytes(&bytes)
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.to_bytes()))
    }
}

/// An Ed25519 private key; wiped on drop and never printed.
#[derive(Clone)]
pub struct SigningKey(ed25519_dalek::SigningKey);

impl SigningKey {
    pub fn generate() -> Self {
        Self(ed25519_dalek::SigningKey::from_bytes(&Zeroizing::new(random::bytes())))
    }

    /// # Errors
    /// When the file cannot be read or holds no PKCS#8 PEM of an Ed25519 key.
    pub fn load(path: &Path) -> Result<Self, KeyError> {
        let bytes = Zeroizing::new(files::read_capped(path, MAX_KEY_FILE)?);
        // Text that is not UTF-8 is no PEM either: the parser says so.
        let text = std::str::from_utf8(&bytes).unwrap_or_default();
        let key = ed25519_dalek::SigningKey::from_pkcs8_pem(text);
        key.map(Self).map_err(|source| KeyError::NotAKey(path.to_owned(), source))
    }

    /// Writes PKCS#8 PEM (0600), atomically.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), KeyError> {
        let text = self.0.to_pkcs8_pem(LineEnding::LF).map_err(KeyError::Encode)?;
        Ok(files::write_atomic(path, text.as_bytes())?)
    }

    pub fn public_key(&self) -> PublicKey {
        PublicKey(self.0.verifying_key())
    }

    /// Signs `payload` as what `payload_type` says it is.
    pub fn sign(&self, payload_type: &str, payload: Vec<u8>) -> Envelope {
        let signature = self.0.sign(&pre_authentication(payload_type, &payload));
        let signature = Signature { key_id: self.public_key().id(), bytes: signature.to_bytes().to_vec() };
        Envelope { payload_type: payload_type.to_owned(), payload, signatures: vec![signature] }
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SigningKey").field(&self.public_key().id()).finish()
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    pub key_id: KeyId,
    /// 64 bytes of Ed25519.
    pub bytes: Vec<u8>,
}

/// A statement with its signatures. The payload is not to be read before `TrustedKeys::verify` hands it out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    pub payload_type: String,
    pub payload: Vec<u8>,
    pub signatures: Vec<Signature>,
}

/// What a key is trusted to say: a compiler's key must not sign assignments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Purpose {
    /// "This native artifact was compiled from that source."
    Compiler,
    /// "This node runs these workloads."
    Assignment,
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Compiler => "artifacts",
            Self::Assignment => "assignments",
        })
    }
}

/// The public keys that are believed, each for one purpose. Several per purpose while keys rotate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedKeys {
    keys: BTreeMap<(Purpose, KeyId), PublicKey>,
}

impl TrustedKeys {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn trust(&mut self, purpose: Purpose, key: PublicKey) {
        self.keys.insert((purpose, key.id()), key);
    }

    pub fn keys(&self, purpose: Purpose) -> impl Iterator<Item = &PublicKey> {
        self.keys.iter().filter(move |((p, _), _)| *p == purpose).map(|(_, key)| key)
    }

    /// The payload, when a key trusted for `purpose` signed it as a `payload_type`.
    ///
    /// Signatures by unknown keys are passed over: during a rotation an old verifier sees the new key. A trusted
    /// key's signature that does not fit fails the whole.
    ///
    /// # Errors
    /// Says which of the checks failed.
    pub fn verify<'a>(
        &self,
        purpose: Purpose,
        payload_type: &str,
        envelope: &'a Envelope,
    ) -> Result<&'a [u8], VerifyError> {
        if envelope.payload_type != payload_type {
            let actual = envelope.payload_type.chars().take(120).collect();
            return Err(VerifyError::WrongType { expected: payload_type.to_owned(), actual });
        }
        if envelope.signatures.is_empty() {
            return Err(VerifyError::NoSignature);
        }
        if envelope.signatures.len() > MAX_SIGNATURES {
            return Err(VerifyError::TooManySignatures);
        }
        let message = pre_authentication(payload_type, &envelope.payload);
        let mut trusted = 0;
        for signature in &envelope.signatures {
            let Some(key) = self.keys.get(&(purpose, signature.key_id.clone())) else { continue };
            trusted += 1;
            if !fits(key, &message, &signature.bytes) {
                return Err(VerifyError::BadSignature(signature.key_id.clone()));
            }
        }
        if trusted == 0 {
            let key_ids = envelope.signatures.iter().map(|s| s.key_id.clone()).collect();
            return Err(VerifyError::UnknownKey { purpose, key_ids });
        }
        Ok(&envelope.payload)
    }
}

fn fits(key: &PublicKey, message: &[u8], signature: &[u8]) -> bool {
    let Ok(bytes) = <&[u8; SIGNATURE_BYTES]>::try_from(signature) else { return false };
    key.0.verify_strict(message, &ed25519_dalek::Signature::from_bytes(bytes)).is_ok()
}

/// DSSE's pre-authentication encoding: lengths before contents, so that type and payload cannot be shifted into
/// one another.
fn pre_authentication(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut message = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len()).into_bytes();
    message.extend_from_slice(payload);
    message
}

fn list(key_ids: &[KeyId]) -> String {
    key_ids.iter().map(KeyId::as_str).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
