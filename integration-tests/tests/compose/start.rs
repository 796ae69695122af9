//! From nothing to a fleet, without a manual step.

use harness::compose::{Compose, NODES};
use harness::process::wait_for;
use serde_json::Value;

pub fn up_from_nothing(fleet: &Compose) {
    fleet.up();
    fleet.wait_for_ready(&NODES);
    let list = fleet.json(&["node", "list"]);
    let node = |name: &str| list.as_array().unwrap().iter().find(|n| n["name"] == name).unwrap().clone();
    for (name, zone, arch) in
        [("shop-1", "a", "x86_64-"), ("shop-2", "b", "x86_64-"), ("pi-1", "b", "aarch64-")]
    {
        let node = node(name);
        assert_eq!(node["labels"]["zone"], zone, "{name}");
        assert!(node["target"].as_str().unwrap().starts_with(arch), "{node}");
    }
    let shop = node("shop-1");
    assert_eq!(shop["memory_bytes"], 1_u64 << 30, "the container's memory, not the machine's");
    assert!(shop["memory_budget_bytes"].as_u64().unwrap() <= 1 << 29, "half of it: {shop}");
    for service in ["littorald", "shop-1", "shop-2", "pi-1"] {
        wait_for(&format!("{service} being healthy"), || {
            fleet.inspect(service, "{{.State.Health.Status}}") == "healthy"
        });
        assert_eq!(fleet.inspect(service, "{{.Config.User}}"), "10001:10001", "{service}");
        assert_eq!(fleet.inspect(service, "{{.HostConfig.Privileged}}"), "false", "{service}");
    }
    // Once as users type it; later without what it costs.
    let status = fleet.compose(["run", "--rm", "-T", "littoral", "status"]).ok();
    assert!(status.contains('3'), "{status}");
}

pub fn up_again_changes_nothing(fleet: &Compose) {
    let seen = || {
        let started = ["littorald", "shop-1", "shop-2", "pi-1"]
            .map(|s| fleet.inspect(s, "{{.Id}} {{.State.StartedAt}}"));
        (started, node_ids(fleet))
    };
    let before = seen();
    fleet.up();
    assert_eq!(seen(), before);
}

/// Names and ids, in order.
pub fn node_ids(fleet: &Compose) -> Vec<(String, String)> {
    let list = fleet.json(&["node", "list"]);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let mut ids: Vec<_> =
        list.as_array().unwrap().iter().map(|n| (text(&n["name"]), text(&n["id"]))).collect();
    ids.sort();
    ids
}
