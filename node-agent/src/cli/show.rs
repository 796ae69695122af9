//! The agent's status for people, and for programs.

use std::fmt::Write;

use crate::local::Status;

pub(super) fn json(status: &Status) -> String {
    let mut text = serde_json::to_string_pretty(status).unwrap_or_default();
    text.push('\n');
    text
}

pub(super) fn text(status: &Status) -> String {
    let mut out = String::new();
    let reason = if status.session_message.is_empty() {
        String::new()
    } else {
        format!(": {}", status.session_message)
    };
    let settled = if status.settled { "settled" } else { "changing" };
    let lines = [
        ("node", format!("{} ({})", status.node_name, status.node_id)),
        ("cluster", format!("{} at {}", status.cluster, status.server)),
        ("session", format!("{} since {}{reason}", status.session, status.session_since)),
        (
            "assignment",
            format!("generation {} of epoch {}, {settled}", status.generation, status.cluster_epoch),
        ),
        ("worker", status.worker.clone()),
        ("certificate", format!("until {}", status.certificate_expires)),
    ];
    // Writing to a string cannot fail.
    for (name, value) in lines {
        let _ = writeln!(out, "{name:<12} {value}");
    }
    if status.workloads.is_empty() {
        let _ = writeln!(out, "\nno functions are assigned to this node");
        return out;
    }
    let widest = status.workloads.iter().map(|w| w.function.len()).max().unwrap_or(0).max(8);
    let _ = writeln!(
        out,
        "\n{:<widest$}  REVISION  STATE     FAILURES  SINCE                     MESSAGE",
        "FUNCTION"
    );
    for w in &status.workloads {
        let row = format!(
            "{:<widest$}  {:>8}  {:<8}  {:>8}  {:<24}  {}",
            w.function, w.revision, w.state, w.failures, w.since, w.message
        );
        let _ = writeln!(out, "{}", row.trim_end());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local::WorkloadLine;

    #[test]
    fn shows_why_there_is_no_session_and_what_each_function_does() {
        let line = WorkloadLine {
            function: "resize".into(),
            revision: 3,
            state: "failed".into(),
            failures: 2,
            since: "2026-01-01T00:00:00.000Z".into(),
            message: "connection cut".into(),
        };
        let status = Status {
            node_id: "n1".into(),
            node_name: "edge-1".into(),
            cluster: "c".into(),
            server: "https://h:7443".into(),
            session: "disconnected".into(),
            session_since: "t".into(),
            session_message: "nothing listens there".into(),
            cluster_epoch: 1,
            generation: 9,
            settled: true,
            worker: "up".into(),
            certificate_expires: "t".into(),
            workloads: vec![line],
        };
        let shown = text(&status);
        assert!(shown.contains("disconnected since t: nothing listens there"), "{shown}");
        assert!(shown.lines().any(|l| l.starts_with("resize") && l.ends_with("connection cut")), "{shown}");
        assert!(json(&status).contains("\"generation\": 9"));
    }
}
