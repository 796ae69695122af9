//! Random transactions against a plain map, with crashes and losses in between.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    /// Keys with a value or a deletion; the first key is compared with what is (or is not) known of it.
    Commit {
        writes: Vec<(u8, Option<u8>)>,
        stale: bool,
    },
    Reopen,
    Snapshot,
    /// Reopen without the index.
    LoseIndex,
}

fn step() -> impl Strategy<Value = Step> {
    let writes = prop::collection::btree_map(0..8_u8, prop::option::weighted(0.7, any::<u8>()), 1..4);
    prop_oneof![
        12 => (writes, prop::bool::weighted(0.2))
            .prop_map(|(writes, stale)| Step::Commit { writes: writes.into_iter().collect(), stale }),
        1 => Just(Step::Reopen),
        1 => Just(Step::Snapshot),
        1 => Just(Step::LoseIndex),
    ]
}

#[derive(Default)]
struct Expected {
    map: BTreeMap<String, (u8, Revision)>,
    revision: Revision,
}

impl Expected {
    async fn commit(&mut self, store: &SledStore, writes: &[(u8, Option<u8>)], stale: bool) {
        let name = |key: u8| format!("k/{key}");
        let first = name(writes[0].0);
        let known = self.map.get(&first).map(|(_, revision)| *revision);
        let mut txn = match (known, stale) {
            (Some(revision), false) => Txn::new().revision(&first, revision),
            (None, false) | (Some(_), true) => Txn::new().absent(&first),
            (None, true) => Txn::new().revision(&first, Revision(1)),
        };
        for (key, value) in writes {
            txn = match value {
                Some(value) => txn.put(name(*key), vec![*value]),
                None => txn.delete(name(*key)),
            };
        }
        let result = store.commit(txn).await;
        if stale {
            assert!(matches!(result, Err(StoreError::Conflict { key }) if key == first));
            return;
        }
        self.revision = self.revision.next();
        assert_eq!(result.unwrap(), self.revision);
        for (key, value) in writes {
            match value {
                Some(value) => self.map.insert(name(*key), (*value, self.revision)),
                None => self.map.remove(&name(*key)),
            };
        }
    }

    async fn check(&self, store: &SledStore) {
        let scan = store.scan("").await.unwrap();
        let found: BTreeMap<_, _> =
            scan.entries.into_iter().map(|entry| (entry.key, (entry.value[0], entry.revision))).collect();
        assert_eq!((scan.revision, &found), (self.revision, &self.map));
    }
}

async fn run(steps: Vec<Step>) {
    let scratch = Scratch::new();
    let small = || SledOptions { segment_bytes: 300, snapshot_after_bytes: 1000, ..options() };
    let mut store = scratch.open_with(small()).unwrap();
    let mut expected = Expected::default();
    for step in steps {
        match step {
            Step::Commit { writes, stale } => expected.commit(&store, &writes, stale).await,
            Step::Snapshot => assert_eq!(store.snapshot().await.unwrap().revision, expected.revision),
            Step::Reopen | Step::LoseIndex => {
                store.close().await;
                if matches!(step, Step::LoseIndex) {
                    fs::remove_dir_all(scratch.path("sled")).unwrap();
                }
                store = scratch.open_with(small()).unwrap();
                assert_eq!(*store.watch().borrow(), expected.revision);
            }
        }
        expected.check(&store).await;
    }
    store.close().await;
    expected.check(&scratch.open()).await;
    assert_eq!(scratch.quarantines(), 0);
}

proptest! {
    // Each case opens real stores on a real disk.
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn behaves_as_a_map_through_reopening_and_loss(steps in prop::collection::vec(step(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(run(steps));
    }
}
