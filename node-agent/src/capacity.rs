//! What this node's hardware and software can do.

use std::net::SocketAddr;

use littoral_engine::{fingerprint, host_target};
use littoral_model::quantity::Bytes;
use littoral_model::target::MemoryClass;
use littoral_proto::v1::NodeCapacity;
use littoral_proto::worker::StartResponse;

use crate::host;

/// The part that does not change while the agent runs.
#[derive(Clone, Debug)]
pub(crate) struct Hardware {
    pub cores: u32,
    pub memory_bytes: u64,
    pub memory_budget_bytes: u64,
    pub ingress_address: String,
}

/// How much memory guests may hold together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MemoryBudget {
    Percent(u8),
    Bytes(Bytes),
}

impl MemoryBudget {
    pub(crate) fn of(self, memory_bytes: u64) -> u64 {
        match self {
            Self::Percent(percent) => memory_bytes / 100 * u64::from(percent),
            Self::Bytes(bytes) => bytes.0,
        }
    }
}

impl std::str::FromStr for MemoryBudget {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some(percent) = text.trim().strip_suffix('%') else {
            return text.parse().map(Self::Bytes).map_err(|error: littoral_model::quantity::BadBytes| {
                format!("{error}; or a share of the memory, as in 50%")
            });
        };
        match percent.parse() {
            Ok(percent @ 1..=100) => Ok(Self::Percent(percent)),
            _ => Err(format!("`{}` is not a share of the memory: write 1% to 100%", text.trim())),
        }
    }
}

impl Hardware {
    pub(crate) fn detect(budget: MemoryBudget, ingress_address: String) -> Self {
        let memory_bytes = host::memory_total();
        Self {
            cores: host::cores(),
            memory_bytes,
            memory_budget_bytes: budget.of(memory_bytes),
            ingress_address,
        }
    }

    /// With what the worker found out. Before it has, what every node of this kind can run is told.
    pub(crate) fn capacity(&self, worker: Option<&StartResponse>) -> NodeCapacity {
        let (target, engine, confinement) = match worker {
            Some(info) => (info.target.clone(), info.engine.clone(), info.confinement.clone()),
            None => {
                let target = host_target(MemoryClass::Narrow);
                (target.to_string(), fingerprint(target), "none".to_owned())
            }
        };
        NodeCapacity {
            target,
            cores: self.cores,
            memory_bytes: self.memory_bytes,
            engine,
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            ingress_address: self.ingress_address.clone(),
            confinement,
            memory_budget_bytes: self.memory_budget_bytes,
        }
    }
}

/// Where this node's functions can be reached: as configured, or the bound address, with this machine's name in the
/// place of "all addresses".
pub(crate) fn ingress_address(configured: Option<&str>, bound: SocketAddr) -> String {
    match configured {
        Some(address) => address.to_owned(),
        None if bound.ip().is_unspecified() => {
            let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
            format!("{name}:{}", bound.port())
        }
        None => bound.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_a_share_or_a_size() {
        let parse = |text: &str| text.parse::<MemoryBudget>();
        assert_eq!(parse("50%").unwrap().of(1000), 500);
        assert_eq!(parse("512MiB").unwrap().of(1000), 512 << 20);
        for wrong in ["0%", "101%", "half", "%", "-1%"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_ingress_is_told_by_a_name_that_others_can_use() {
        let bound: SocketAddr = "127.0.0.1:8080".parse().unwrap();
        assert_eq!(ingress_address(None, bound), "127.0.0.1:8080");
        assert_eq!(ingress_address(Some("edge-1.example.net:80"), bound), "edge-1.example.net:80");
        let all = ingress_address(None, "0.0.0.0:8081".parse().unwrap());
        assert!(all.ends_with(":8081") && !all.starts_with("0.0.0.0"), "{all}");
    }

    #[test]
    fn a_node_without_a_worker_still_tells_what_it_is() {
        let hardware = Hardware::detect(MemoryBudget::Percent(50), "here:1".into());
        let capacity = hardware.capacity(None);
        assert!(capacity.target.ends_with("-narrow"));
        assert!(
            capacity.memory_budget_bytes > 0 && capacity.memory_budget_bytes <= capacity.memory_bytes / 2
        );
    }
}
