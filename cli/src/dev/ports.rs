//! Which port is whose.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use serde::{Deserialize, Serialize};

use crate::errors::{Failure, Result};

/// The ports that the documentation names.
const GRPC: u16 = 7443;
const CONTROL_HTTP: u16 = 7480;
/// Agent k, from 1, serves on these plus k.
const BEFORE_AGENT_HTTP: u16 = 8079;
const BEFORE_AGENT_METRICS: u16 = 7480;

/// All ports of a fleet on this machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Ports {
    pub(super) grpc: u16,
    pub(super) control_http: u16,
    pub(super) agents: Vec<AgentPorts>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AgentPorts {
    pub(super) http: u16,
    pub(super) metrics: u16,
}

impl Ports {
    /// The documented ports, or from `base` on: gRPC, control HTTP, then HTTP and metrics of each agent.
    pub(super) fn fixed(base: Option<u16>, nodes: u16) -> Result<Self> {
        let agent = |k: u16| match base {
            None => Some((BEFORE_AGENT_HTTP.checked_add(k)?, BEFORE_AGENT_METRICS.checked_add(k)?)),
            Some(base) => {
                let http = base.checked_add(k.checked_mul(2)?)?;
                Some((http, http.checked_add(1)?))
            }
        };
        let agents: Option<Vec<AgentPorts>> =
            (1..=nodes).map(|k| agent(k).map(|(http, metrics)| AgentPorts { http, metrics })).collect();
        let (grpc, control_http) = match base {
            None => (GRPC, Some(CONTROL_HTTP)),
            Some(base) => (base, base.checked_add(1)),
        };
        match (agents, control_http) {
            (Some(agents), Some(control_http)) => Ok(Self { grpc, control_http, agents }),
            _ => {
                Err(Failure::usage("there are not that many ports above --base-port")
                    .hint("choose a lower one"))
            }
        }
    }

    /// Ports that nobody uses now; those of `before` are kept.
    pub(super) fn free(before: Option<Self>, nodes: u16) -> Result<Self> {
        // All are held until the last is found, so that none is given twice.
        let mut held = Vec::new();
        let mut next = || -> Result<u16> {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
            let listener = listener.map_err(|error| Failure::caused("find a free port", &error))?;
            let port =
                listener.local_addr().map_err(|error| Failure::caused("find a free port", &error))?.port();
            held.push(listener);
            Ok(port)
        };
        let mut ports = match before {
            Some(ports) => ports,
            None => Self { grpc: next()?, control_http: next()?, agents: Vec::new() },
        };
        ports.agents.truncate(nodes.into());
        while ports.agents.len() < nodes.into() {
            ports.agents.push(AgentPorts { http: next()?, metrics: next()? });
        }
        Ok(ports)
    }

    /// # Errors
    /// Names the first port that somebody else listens on, and what it is for.
    pub(super) fn check(&self) -> Result<()> {
        for (port, purpose) in self.purposes() {
            if let Err(error) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
                let message = format!("port {port} on 127.0.0.1, for {purpose}, cannot be had: {error}");
                return Err(Failure::error(message).hint(
                    "stop the program that uses it (`ss -ltnp` names it), or choose others: --base-port PORT",
                ));
            }
        }
        Ok(())
    }

    fn purposes(&self) -> Vec<(u16, String)> {
        let mut all = vec![
            (self.grpc, "the control plane's gRPC".to_owned()),
            (self.control_http, "the control plane's HTTP".to_owned()),
        ];
        for (k, agent) in (1..).zip(&self.agents) {
            all.push((agent.http, format!("the HTTP of node {k}")));
            all.push((agent.metrics, format!("the metrics of node {k}")));
        }
        all
    }

    /// Where the control plane is called.
    pub(super) fn server(&self) -> String {
        format!("https://127.0.0.1:{}", self.grpc)
    }
}

/// A port on this machine alone.
pub(super) fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_ports_and_those_from_a_base() {
        let ports = Ports::fixed(None, 3).unwrap();
        assert_eq!((ports.grpc, ports.control_http), (7443, 7480));
        let agents: Vec<(u16, u16)> = ports.agents.iter().map(|agent| (agent.http, agent.metrics)).collect();
        assert_eq!(agents, [(8080, 7481), (8081, 7482), (8082, 7483)]);

        let ports = Ports::fixed(Some(20_000), 2).unwrap();
        let all: Vec<u16> = ports.purposes().into_iter().map(|(port, _)| port).collect();
        assert_eq!(all, [20_000, 20_001, 20_002, 20_003, 20_004, 20_005]);
        assert!(Ports::fixed(Some(65_530), 9).is_err());
    }

    #[test]
    fn free_ports_differ_and_are_kept() {
        let ports = Ports::free(None, 2).unwrap();
        let mut all: Vec<u16> = ports.purposes().into_iter().map(|(port, _)| port).collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 6);
        let more = Ports::free(Some(ports.clone()), 3).unwrap();
        assert_eq!((more.grpc, &more.agents[..2]), (ports.grpc, &ports.agents[..]));
    }

    #[test]
    fn a_port_that_is_taken_is_named_with_its_purpose() {
        let held = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let taken = held.local_addr().unwrap().port();
        let mut ports = Ports::free(None, 1).unwrap();
        ports.agents[0].metrics = taken;
        let failure = ports.check().unwrap_err();
        assert!(
            failure.message.starts_with(&format!("port {taken} on 127.0.0.1, for the metrics of node 1"))
        );
    }
}
