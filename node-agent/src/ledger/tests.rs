use littoral_platform::statement::SigningKey;

use super::*;

const NOW: Timestamp = Timestamp::from_millis(1_000);

struct Fixture {
    dir: tempfile::TempDir,
    key: SigningKey,
    keys: TrustedKeys,
}

impl Fixture {
    fn new() -> Self {
        let key = SigningKey::generate();
        let mut keys = TrustedKeys::new();
        keys.trust(Purpose::Assignment, key.public_key());
        Self { dir: tempfile::tempdir().unwrap(), key, keys }
    }

    fn open(&self) -> (Ledger, Vec<String>) {
        Ledger::open(self.dir.path(), "n1", &self.keys, NOW).unwrap()
    }

    fn clean(&self) -> Ledger {
        let (ledger, problems) = self.open();
        assert_eq!(problems, Vec::<String>::new());
        ledger
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn signed(&self, epoch: u64, generation: u64, function: &str) -> v1::Envelope {
        signed_by(&self.key, epoch, generation, function)
    }
}

fn signed_by(key: &SigningKey, epoch: u64, generation: u64, function: &str) -> v1::Envelope {
    let digest = |part: &str| Digest::of(part.as_bytes()).to_string();
    let workload = v1::Workload {
        function: function.into(),
        revision: 1,
        spec_digest: digest("spec"),
        artifact_digest: digest("artifact"),
        statement_digest: digest("statement"),
        target: String::new(),
        weight: 100,
    };
    let assignment = v1::NodeAssignment {
        node_id: "n1".into(),
        cluster_epoch: epoch,
        generation,
        workloads: vec![workload],
    };
    let envelope = key.sign(ASSIGNMENT_TYPE, assignment.encode_to_vec());
    let signature = |s: &littoral_platform::statement::Signature| v1::Signature {
        key_id: s.key_id.to_string(),
        sig: s.bytes.clone(),
    };
    v1::Envelope {
        payload_type: envelope.payload_type.clone(),
        payload: envelope.payload.clone(),
        signatures: envelope.signatures.iter().map(signature).collect(),
    }
}

fn held(ledger: &Ledger) -> Option<(u64, String)> {
    let current = ledger.current()?;
    Some((current.number.generation.0, current.workloads[0].function.to_string()))
}

#[test]
fn what_was_accepted_is_there_after_a_restart() {
    let f = Fixture::new();
    let ledger = f.clean();
    let mut woken = ledger.subscribe();
    assert_eq!(held(&ledger), None);
    assert_eq!(ledger.offer(f.signed(1, 1, "a"), &f.keys).unwrap(), Offered::Accepted);
    assert!(woken.has_changed().unwrap());
    assert_eq!(ledger.offer(f.signed(1, 2, "b"), &f.keys).unwrap(), Offered::Accepted);
    assert_eq!(woken.borrow_and_update().as_ref().unwrap().workloads[0].function.as_str(), "b");
    assert_eq!(held(&f.clean()), Some((2, "b".into())));
    assert_eq!(f.clean().blobs().len(), 6, "current and previous");
}

#[test]
fn older_is_ignored_the_same_is_nothing_new_and_other_content_is_an_error() {
    let f = Fixture::new();
    let ledger = f.clean();
    ledger.offer(f.signed(2, 5, "a"), &f.keys).unwrap();
    let mut woken = ledger.subscribe();
    woken.mark_unchanged();
    assert_eq!(ledger.offer(f.signed(2, 4, "b"), &f.keys).unwrap(), Offered::Older);
    assert_eq!(ledger.offer(f.signed(1, 900, "b"), &f.keys).unwrap(), Offered::Older);
    assert_eq!(ledger.offer(f.signed(2, 5, "a"), &f.keys).unwrap(), Offered::AlreadyHeld);
    let error = ledger.offer(f.signed(2, 5, "b"), &f.keys).unwrap_err();
    assert!(matches!(error, LedgerError::Conflict(_)), "{error}");
    assert!(!woken.has_changed().unwrap());
    assert_eq!(held(&ledger), Some((5, "a".into())));
    assert_eq!(ledger.offer(f.signed(3, 1, "c"), &f.keys).unwrap(), Offered::Accepted);
}

#[test]
fn only_a_trusted_key_and_only_for_this_node() {
    let f = Fixture::new();
    let ledger = f.clean();
    let foreign = signed_by(&SigningKey::generate(), 1, 1, "a");
    assert!(matches!(ledger.offer(foreign, &f.keys), Err(LedgerError::Verify(_))));
    let mut changed = f.signed(1, 1, "a");
    changed.payload[3] ^= 1;
    assert!(matches!(ledger.offer(changed, &f.keys), Err(LedgerError::Verify(_))));
    assert_eq!(held(&ledger), None);

    let (other, _) = Ledger::open(&f.file("other"), "n2", &f.keys, NOW).unwrap();
    assert!(matches!(other.offer(f.signed(1, 1, "a"), &f.keys), Err(LedgerError::Content(_))));
}

#[test]
fn a_file_cut_at_any_byte_or_with_any_byte_changed_never_stops_the_agent_and_falls_back() {
    let f = Fixture::new();
    let ledger = f.clean();
    ledger.offer(f.signed(1, 1, "a"), &f.keys).unwrap();
    ledger.offer(f.signed(1, 2, "b"), &f.keys).unwrap();
    let whole = fs::read(f.file(CURRENT)).unwrap();
    for position in 0..whole.len() {
        let mut flipped = whole.clone();
        flipped[position] ^= 1;
        for damaged in [&whole[..position], &flipped] {
            fs::write(f.file(CURRENT), damaged).unwrap();
            let (ledger, problems) = f.open();
            assert_eq!(held(&ledger), Some((1, "a".into())), "at {position}");
            assert_eq!(problems.len(), 1);
            assert!(problems[0].contains("quarantine"), "{problems:?}");
            assert!(!f.file(CURRENT).exists());
        }
    }
}

#[test]
fn with_both_files_damaged_the_ledger_is_empty_and_accepts_again() {
    let f = Fixture::new();
    for name in [CURRENT, PREVIOUS] {
        fs::write(f.file(name), b"\xff\xff\xff").unwrap();
    }
    let (ledger, problems) = f.open();
    assert_eq!((held(&ledger), problems.len()), (None, 2));
    ledger.offer(f.signed(1, 7, "a"), &f.keys).unwrap();
    assert_eq!(held(&f.clean()), Some((7, "a".into())));
}

#[test]
fn a_crash_between_the_two_writes_loses_nothing() {
    let f = Fixture::new();
    f.clean().offer(f.signed(1, 1, "a"), &f.keys).unwrap();
    // The previous one is written first: after a crash there, both files hold the same, and a temporary file may
    // lie beside them.
    fs::copy(f.file(CURRENT), f.file(PREVIOUS)).unwrap();
    fs::write(f.file(".current.0123.tmp"), b"half").unwrap();
    assert_eq!(held(&f.clean()), Some((1, "a".into())));
}

#[test]
fn an_assignment_that_cannot_be_stored_is_not_acted_upon() {
    let f = Fixture::new();
    let ledger = f.clean();
    ledger.offer(f.signed(1, 1, "a"), &f.keys).unwrap();
    // A directory with content cannot be replaced by a file, whoever asks.
    fs::remove_file(f.file(CURRENT)).unwrap();
    fs::create_dir_all(f.file(CURRENT).join("x")).unwrap();
    assert!(matches!(ledger.offer(f.signed(1, 2, "b"), &f.keys), Err(LedgerError::File(_))));
    assert_eq!(held(&ledger), Some((1, "a".into())));
}

#[test]
fn the_same_assignment_signed_by_a_new_key_is_stored_so_that_the_old_key_can_go() {
    let f = Fixture::new();
    let ledger = f.clean();
    ledger.offer(f.signed(1, 1, "a"), &f.keys).unwrap();
    let new = SigningKey::generate();
    let mut both = f.keys.clone();
    both.trust(Purpose::Assignment, new.public_key());
    assert_eq!(ledger.offer(signed_by(&new, 1, 1, "a"), &both).unwrap(), Offered::AlreadyHeld);

    let mut new_alone = TrustedKeys::new();
    new_alone.trust(Purpose::Assignment, new.public_key());
    let (ledger, problems) = Ledger::open(f.dir.path(), "n1", &new_alone, NOW).unwrap();
    assert_eq!((held(&ledger), problems.len()), (Some((1, "a".into())), 0));
}
