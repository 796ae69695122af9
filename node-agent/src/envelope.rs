//! Signed envelopes between the protocol and the platform's verification. Bytes pass through as they are.

use littoral_platform::statement::{Envelope, KeyId, Signature};
use littoral_proto::v1;

/// What the control plane signs for a node.
pub(crate) const ASSIGNMENT_TYPE: &str = "application/vnd.littoral.assignment.v1+protobuf";

/// For verification; the message is used up.
pub(crate) fn from_proto(message: v1::Envelope) -> Envelope {
    let signature = |s: v1::Signature| Signature { key_id: KeyId::from_wire(&s.key_id), bytes: s.sig };
    Envelope {
        payload_type: message.payload_type,
        payload: message.payload,
        signatures: message.signatures.into_iter().map(signature).collect(),
    }
}
