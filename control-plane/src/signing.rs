//! The control plane's signing keys: one vouches for artifacts, one for assignments.

use std::path::Path;

use littoral_platform::statement::{Envelope, KeyError, SigningKey};
use littoral_proto::v1::{self, ArtifactStatement, NodeAssignment};
use prost::Message;

/// Payload type of a signed [`ArtifactStatement`].
pub const ARTIFACT_TYPE: &str = "application/vnd.littoral.artifact.v1+protobuf";
/// Payload type of a signed [`NodeAssignment`].
pub const ASSIGNMENT_TYPE: &str = "application/vnd.littoral.assignment.v1+protobuf";

/// Two keys, since a compiler must not be able to say what a node runs, nor a planner what is native code.
#[derive(Debug)]
pub struct Signer {
    compiler: SigningKey,
    assignment: SigningKey,
}

impl Signer {
    /// Reads the keys in `dir`, making those that are missing.
    ///
    /// # Errors
    /// When a key cannot be read or written. A damaged key is never replaced: nodes trust the old one.
    pub fn open(dir: &Path) -> Result<Self, KeyError> {
        Ok(Self {
            compiler: load_or_make(&dir.join("compiler.key"))?,
            assignment: load_or_make(&dir.join("assignment.key"))?,
        })
    }

    pub fn sign_artifact(&self, statement: &ArtifactStatement) -> v1::Envelope {
        to_proto(self.compiler.sign(ARTIFACT_TYPE, statement.encode_to_vec()))
    }

    pub fn sign_assignment(&self, assignment: &NodeAssignment) -> v1::Envelope {
        to_proto(self.assignment.sign(ASSIGNMENT_TYPE, assignment.encode_to_vec()))
    }

    /// What nodes are given to verify with.
    pub fn trusted_keys(&self) -> v1::TrustedKeys {
        v1::TrustedKeys {
            compiler: vec![self.compiler.public_key().to_bytes().to_vec()],
            assignment: vec![self.assignment.public_key().to_bytes().to_vec()],
        }
    }
}

fn load_or_make(path: &Path) -> Result<SigningKey, KeyError> {
    match SigningKey::load(path) {
        Err(KeyError::File(error)) if error.is_not_found() => {
            let key = SigningKey::generate();
            key.save(path)?;
            Ok(key)
        }
        loaded => loaded,
    }
}

fn to_proto(envelope: Envelope) -> v1::Envelope {
    let signature = |s: littoral_platform::statement::Signature| v1::Signature {
        key_id: s.key_id.as_str().to_owned(),
        sig: s.bytes,
    };
    v1::Envelope {
        payload_type: envelope.payload_type,
        payload: envelope.payload,
        signatures: envelope.signatures.into_iter().map(signature).collect(),
    }
}

#[cfg(test)]
mod tests {
    use littoral_platform::statement::{KeyId, PublicKey, Purpose, Signature, TrustedKeys};

    use super::*;

    fn read(envelope: v1::Envelope) -> Envelope {
        let signature = |s: v1::Signature| Signature { key_id: KeyId::from_wire(&s.key_id), bytes: s.sig };
        Envelope {
            payload_type: envelope.payload_type,
            payload: envelope.payload,
            signatures: envelope.signatures.into_iter().map(signature).collect(),
        }
    }

    #[test]
    fn the_keys_stay_and_each_vouches_for_its_own_kind() {
        let dir = tempfile::tempdir().unwrap();
        let signer = Signer::open(dir.path()).unwrap();
        let keys = Signer::open(dir.path()).unwrap().trusted_keys();
        assert_eq!(keys, signer.trusted_keys());

        let mut trusted = TrustedKeys::new();
        trusted.trust(Purpose::Compiler, PublicKey::from_bytes(&keys.compiler[0]).unwrap());
        trusted.trust(Purpose::Assignment, PublicKey::from_bytes(&keys.assignment[0]).unwrap());
        let statement = ArtifactStatement { target: "x86_64-v1-wide".into(), ..ArtifactStatement::default() };
        let envelope = read(signer.sign_artifact(&statement));
        let payload = trusted.verify(Purpose::Compiler, ARTIFACT_TYPE, &envelope).unwrap();
        assert_eq!(ArtifactStatement::decode(payload).unwrap(), statement);
        assert!(trusted.verify(Purpose::Assignment, ARTIFACT_TYPE, &envelope).is_err());
        let assignment = read(signer.sign_assignment(&NodeAssignment::default()));
        assert!(trusted.verify(Purpose::Assignment, ASSIGNMENT_TYPE, &assignment).is_ok());
    }

    #[test]
    fn a_damaged_key_is_reported_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("compiler.key"), "garbage").unwrap();
        assert!(Signer::open(dir.path()).unwrap_err().to_string().contains("compiler.key"));
        assert_eq!(std::fs::read(dir.path().join("compiler.key")).unwrap(), b"garbage");
    }
}
