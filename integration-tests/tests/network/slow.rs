//! Links that are far, lossy and thin.

use std::time::{Duration, Instant};

use harness::fleet::{everywhere, example};
use harness::lab::Conditions;

use crate::cuts::large_module;
use crate::fleet::Fleet;

#[test]
fn far_and_lossy_links_carry_joins_deployments_and_calls() {
    let mut fleet = Fleet::empty();
    for _ in 0..3 {
        let node = fleet.host();
        // A satellite on a bad day: 200 ms each way, one packet of twenty lost.
        let (delay, jitter) = (Duration::from_millis(200), Duration::from_millis(20));
        node.2.set(Conditions { delay, jitter, loss_permille: 50, ..Conditions::default() });
        fleet.join(&node);
        fleet.run(node);
    }
    fleet.wait_until_all("Ready");
    fleet.apply("hello", &example("hello-http"), &everywhere("/*"), &["--wait", "--timeout", "60s"]).ok();
    for node in &fleet.nodes {
        node.serves("/");
        let answer = fleet.cli(&["function", "invoke", "hello", "--node", &node.name]).ok();
        assert_eq!(answer, "Hello from Littoral\n");
    }
}

#[test]
fn an_artifact_on_a_thin_link_starves_no_heartbeat() {
    let fleet = Fleet::start(1);
    let node = &fleet.nodes[0];
    let thin = Conditions {
        bits_per_second: Some(256_000),
        delay: Duration::from_millis(30),
        ..Conditions::default()
    };
    node.link.set(thin);
    let module = large_module(&fleet, 900_000);
    fleet.apply("large", &module, "[placement]\nreplicas = \"every\"", &[]).ok();
    let began = Instant::now();
    loop {
        let availability = fleet.availability(&node.name);
        assert!(["Ready", "WarmingUp"].contains(&availability.as_str()), "{availability}");
        if fleet.json(&["function", "describe", "large"]).to_string().contains("\"Running\"") {
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(90), "900 kB take half a minute at 256 kbit/s");
        std::thread::sleep(Duration::from_millis(300));
    }
    // Long enough that three reports would have been missed.
    assert!(began.elapsed() > Duration::from_secs(16), "{:?}: too fast for this link", began.elapsed());
    assert_eq!(node.sessions(), 1, "the session was lost meanwhile");
}
