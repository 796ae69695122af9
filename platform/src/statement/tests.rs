use std::os::unix::fs::PermissionsExt;

use super::*;

const TYPE: &str = "application/vnd.littoral.artifact.v1";

fn trusting(purpose: Purpose, key: &SigningKey) -> TrustedKeys {
    let mut trusted = TrustedKeys::new();
    trusted.trust(purpose, key.public_key());
    trusted
}

#[test]
fn the_encoding_is_dsse() {
    // The example of the DSSE specification.
    let encoded = pre_authentication("http://example.com/HelloWorld", b"hello world");
    assert_eq!(encoded, b"DSSEv1 29 http://example.com/HelloWorld 11 hello world");
}

#[test]
fn a_signed_statement_is_handed_out() {
    let key = SigningKey::generate();
    let envelope = key.sign(TYPE, b"S is A".to_vec());
    let trusted = trusting(Purpose::Compiler, &key);
    assert_eq!(trusted.verify(Purpose::Compiler, TYPE, &envelope).unwrap(), b"S is A");
}

#[test]
fn any_flipped_bit_is_found() {
    let key = SigningKey::generate();
    let trusted = trusting(Purpose::Compiler, &key);
    let good = key.sign(TYPE, b"S is A".to_vec());
    let bad = VerifyError::BadSignature(key.public_key().id());
    for bit in 0..good.payload.len() * 8 {
        let mut envelope = good.clone();
        envelope.payload[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(trusted.verify(Purpose::Compiler, TYPE, &envelope).unwrap_err(), bad);
    }
    for bit in 0..SIGNATURE_BYTES * 8 {
        let mut envelope = good.clone();
        envelope.signatures[0].bytes[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(trusted.verify(Purpose::Compiler, TYPE, &envelope).unwrap_err(), bad);
    }
}

#[test]
fn each_failure_has_its_own_error() {
    let (key, stranger) = (SigningKey::generate(), SigningKey::generate());
    let trusted = trusting(Purpose::Compiler, &key);
    let good = key.sign(TYPE, b"x".to_vec());
    let verify = |envelope: &Envelope| trusted.verify(Purpose::Compiler, TYPE, envelope).unwrap_err();

    let unsigned = Envelope { signatures: vec![], ..good.clone() };
    assert_eq!(verify(&unsigned), VerifyError::NoSignature);
    let flood = Envelope { signatures: vec![good.signatures[0].clone(); 9], ..good.clone() };
    assert_eq!(verify(&flood), VerifyError::TooManySignatures);
    let unknown = verify(&stranger.sign(TYPE, b"x".to_vec()));
    assert!(matches!(unknown, VerifyError::UnknownKey { .. }), "{unknown}");
    let retyped = key.sign("application/other", b"x".to_vec());
    assert!(matches!(verify(&retyped), VerifyError::WrongType { .. }));
    // Claiming the expected type does not help: the type is signed too.
    let relabelled = Envelope { payload_type: TYPE.into(), ..retyped };
    assert!(matches!(verify(&relabelled), VerifyError::BadSignature(_)));
    let mut short = good;
    short.signatures[0].bytes.truncate(63);
    assert!(matches!(verify(&short), VerifyError::BadSignature(_)));
}

#[test]
fn a_key_is_trusted_for_its_purpose_only() {
    let key = SigningKey::generate();
    let trusted = trusting(Purpose::Compiler, &key);
    let envelope = key.sign(TYPE, b"x".to_vec());
    let error = trusted.verify(Purpose::Assignment, TYPE, &envelope).unwrap_err();
    assert!(matches!(error, VerifyError::UnknownKey { purpose: Purpose::Assignment, .. }));
}

#[test]
fn claiming_a_trusted_key_id_does_not_help() {
    let (key, thief) = (SigningKey::generate(), SigningKey::generate());
    let mut envelope = thief.sign(TYPE, b"x".to_vec());
    envelope.signatures[0].key_id = key.public_key().id();
    let error = trusting(Purpose::Compiler, &key).verify(Purpose::Compiler, TYPE, &envelope).unwrap_err();
    assert!(matches!(error, VerifyError::BadSignature(_)));
}

#[test]
fn during_a_rotation_the_signature_of_the_newer_key_is_passed_over() {
    let (old, new) = (SigningKey::generate(), SigningKey::generate());
    let mut envelope = new.sign(TYPE, b"x".to_vec());
    envelope.signatures.extend(old.sign(TYPE, b"x".to_vec()).signatures);
    assert!(trusting(Purpose::Compiler, &old).verify(Purpose::Compiler, TYPE, &envelope).is_ok());
}

#[test]
fn keys_survive_their_files_and_are_not_printed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("compiler.pem");
    let key = SigningKey::generate();
    key.save(&path).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(SigningKey::load(&path).unwrap().public_key(), key.public_key());
    std::fs::write(&path, "garbage").unwrap();
    assert!(matches!(SigningKey::load(&path), Err(KeyError::NotAKey(..))));

    let public = key.public_key();
    assert_eq!(public.to_string().parse::<PublicKey>().unwrap(), public);
    assert_eq!(format!("{key:?}"), format!("SigningKey({})", public.id()));
    assert_eq!(public.id().as_str().len(), 16);
}

#[test]
fn weak_and_malformed_public_keys_are_refused() {
    for bytes in [&[0_u8; 32][..], &[1; 31], &[]] {
        assert!(PublicKey::from_bytes(bytes).is_err());
    }
    let mut neutral = [0; 32];
    neutral[0] = 1;
    assert!(PublicKey::from_bytes(&neutral).is_err());
}
