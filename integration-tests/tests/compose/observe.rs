//! The profiles: a load, and a Prometheus that sees what it does.

use std::net::SocketAddr;

use harness::compose::{Compose, NODES, docker};
use harness::http;
use harness::process::wait_for;
use serde_json::Value;

pub fn load_and_metrics(fleet: &Compose) {
    fleet.compose(["--profile", "load", "--profile", "metrics", "up", "-d", "--no-build"]).ok();
    let prometheus = fleet.published("PROMETHEUS_PORT");
    wait_for("four programs that are scraped", || {
        values(prometheus, "up").iter().filter(|v| **v == 1.0).count() == 4
    });
    let served = "littoral_faas_invocations_total{function=\"hello\",outcome=\"ok\",trigger=\"http\"}";
    let loaded = format!("increase({served}[1m]) > 20");
    wait_for("load on every node", || values(prometheus, &loaded).len() == NODES.len());
    for service in ["load", "prometheus"] {
        docker(["stop", "-t", "5", &fleet.container(service)]);
    }
}

/// The values of an instant query.
fn values(prometheus: SocketAddr, query: &str) -> Vec<f64> {
    let encoded: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let path = format!("/api/v1/query?query={encoded}");
    let Ok(answer) = http::try_send(prometheus, "GET", &path, b"") else { return Vec::new() };
    let answer: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let rows = answer["data"]["result"].as_array().cloned().unwrap_or_default();
    rows.iter().map(|row| row["value"][1].as_str().unwrap().parse().unwrap()).collect()
}
