//! Waits, in a time that passes at once: a feature of tokio that neither the agent nor its tests on ARM are built with.

use std::sync::atomic::{AtomicU64, Ordering};

use futures::FutureExt;

use super::*;

#[tokio::test(start_paused = true)]
async fn a_worker_that_cannot_start_is_tried_again_with_growing_waits() {
    let f = Fixture::new();
    let tries = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&tries);
    let launcher: Launcher = Arc::new(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        Err(std::io::Error::other("no such program"))
    });
    f.supervise(launcher);
    sleep(Duration::from_secs(60)).await;
    let tries = tries.load(Ordering::Relaxed);
    assert!((6..100).contains(&tries), "{tries} tries in a minute");
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_says_nothing_is_given_up() {
    let f = Fixture::new();
    let ends = Arc::new(std::sync::Mutex::new(Vec::new()));
    let kept = Arc::clone(&ends);
    let launcher: Launcher = Arc::new(move || {
        let (ours, theirs) = tokio::net::UnixStream::pair()?;
        kept.lock().unwrap().push(theirs);
        Ok(Launched { control: ours, ended: std::future::pending().boxed() })
    });
    f.supervise(launcher);
    sleep(START_DEADLINE * 3).await;
    assert!(f.restarts.get() >= 1);
    assert!(f.events.take(1)[0].message.contains("did not answer"));
}
