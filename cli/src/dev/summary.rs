//! What is said when the fleet is up.

use serde::Serialize;

use super::ports::Ports;

/// Where everything is, for people and, as JSON, for programs.
#[derive(Debug, Serialize)]
pub(super) struct Summary {
    pub(super) context: String,
    /// The context is the current one.
    pub(super) current: bool,
    pub(super) server: String,
    pub(super) control_plane_url: String,
    pub(super) nodes: Vec<NodeAddress>,
    pub(super) dir: String,
    /// Functions that are deployed.
    pub(super) functions: Vec<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct NodeAddress {
    pub(super) name: String,
    pub(super) url: String,
    pub(super) metrics_url: String,
}

/// Of agents 1 to n.
pub(super) fn addresses(ports: &Ports, name: impl Fn(u16) -> String) -> Vec<NodeAddress> {
    let address = |(k, agent): (u16, &super::ports::AgentPorts)| NodeAddress {
        name: name(k),
        url: format!("http://127.0.0.1:{}", agent.http),
        metrics_url: format!("http://127.0.0.1:{}/metrics", agent.metrics),
    };
    (1..).zip(&ports.agents).map(address).collect()
}

impl Summary {
    pub(super) fn text(&self) -> String {
        let mut text = String::from("\nThe fleet is up.\n\n");
        for node in &self.nodes {
            text.push_str(&format!("  {:<8} {}   metrics {}\n", node.name, node.url, node.metrics_url));
        }
        text.push_str(&format!("  control  {}   gRPC {}\n", self.control_plane_url, self.server));
        text.push_str(&format!("  state    {}\n\nTry, in another terminal:\n\n", self.dir));
        // The context has to be named while another is the current one.
        let littoral =
            if self.current { "littoral".into() } else { format!("littoral --context {}", self.context) };
        let has_hello = self.functions.iter().any(|name| name == "hello");
        if let Some(node) = self.nodes.first().filter(|_| has_hello) {
            text.push_str(&format!("  curl {}/\n", node.url));
            text.push_str(&format!("  {littoral} function describe hello\n"));
            text.push_str(&format!("  {littoral} function invoke hello -v\n"));
        } else {
            text.push_str(&format!("  {littoral} function list\n"));
        }
        text.push_str(&format!("  {littoral} node list\n"));
        text.push_str(&format!("  {littoral} apply -f FOLDER --wait\n\nCtrl-C stops all of it.\n"));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(current: bool, functions: &[&str]) -> String {
        Summary {
            context: "dev".into(),
            current,
            server: "https://127.0.0.1:7443".into(),
            control_plane_url: "http://127.0.0.1:7480".into(),
            nodes: addresses(&Ports::fixed(None, 2).unwrap(), |k| format!("node-{k}")),
            dir: "/state".into(),
            functions: functions.iter().map(|name| (*name).to_owned()).collect(),
        }
        .text()
    }

    #[test]
    fn says_where_everything_is_and_what_to_try() {
        let text = summary(true, &["hello"]);
        assert!(
            text.contains("  node-2   http://127.0.0.1:8081   metrics http://127.0.0.1:7482/metrics\n"),
            "{text}"
        );
        assert!(
            text.contains("\n  curl http://127.0.0.1:8080/\n  littoral function describe hello\n"),
            "{text}"
        );
    }

    #[test]
    fn names_the_context_while_another_is_current() {
        let text = summary(false, &[]);
        assert!(text.contains("  littoral --context dev node list\n") && !text.contains("curl"), "{text}");
    }
}
