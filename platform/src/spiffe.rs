//! Who somebody is: `spiffe://<cluster>/node/<id>`, `/user/<name>` or `/control-plane/<id>`.

use std::fmt;
use std::str::FromStr;

use littoral_model::id::{NodeId, UserName};

/// The SPIFFE specification's limit for a whole id.
const MAX_ID: usize = 2048;
/// The limit for a trust domain, which is what a cluster's name is here.
const MAX_CLUSTER: usize = 255;
const MAX_CONTROL_PLANE: usize = 63;

/// An identity in a cluster. There is no other kind, and one certificate holds exactly one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpiffeId {
    cluster: ClusterName,
    kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    Node(NodeId),
    User(UserName),
    /// One of the cluster's control planes.
    ControlPlane(ControlPlaneId),
}

/// A cluster's name: the trust domain of its ids. Lower-case letters, digits, `.`, `-` and `_`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterName(String);

/// Tells several control planes of one cluster apart: lower-case letters, digits and `-`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ControlPlaneId(String);

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum BadSpiffeId {
    #[error(
        "`{0}` is not an identity: expected spiffe://CLUSTER/node/ID, .../user/NAME or .../control-plane/ID"
    )]
    Shape(String),
    #[error("`{0}` is not a cluster name: use 1 to {MAX_CLUSTER} characters a-z, 0-9, `.`, `-` and `_`")]
    Cluster(String),
    #[error("`{0}` is not a control plane's id: use 1 to {MAX_CONTROL_PLANE} characters a-z, 0-9 and `-`")]
    ControlPlane(String),
}

impl SpiffeId {
    pub fn new(cluster: &ClusterName, kind: Kind) -> Self {
        Self { cluster: cluster.clone(), kind }
    }

    pub fn cluster(&self) -> &ClusterName {
        &self.cluster
    }

    pub fn kind(&self) -> &Kind {
        &self.kind
    }
}

impl FromStr for SpiffeId {
    type Err = BadSpiffeId;

    fn from_str(text: &str) -> Result<Self, BadSpiffeId> {
        let shape = || BadSpiffeId::Shape(shorten(text));
        if text.len() > MAX_ID {
            return Err(shape());
        }
        let (cluster, path) =
            text.strip_prefix("spiffe://").and_then(|rest| rest.split_once('/')).ok_or_else(shape)?;
        let (kind, name) = path.split_once('/').ok_or_else(shape)?;
        let kind = match kind {
            "node" => Kind::Node(name.parse().map_err(|_| shape())?),
            "user" => Kind::User(name.parse().map_err(|_| shape())?),
            "control-plane" => Kind::ControlPlane(name.parse()?),
            _ => return Err(shape()),
        };
        Ok(Self { cluster: cluster.parse()?, kind })
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "spiffe://{}/{}", self.cluster, self.kind)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(id) => write!(f, "node/{id}"),
            Self::User(name) => write!(f, "user/{name}"),
            Self::ControlPlane(id) => write!(f, "control-plane/{id}"),
        }
    }
}

impl ClusterName {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ClusterName {
    type Err = BadSpiffeId;

    fn from_str(text: &str) -> Result<Self, BadSpiffeId> {
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b".-_".contains(&b);
        if (1..=MAX_CLUSTER).contains(&text.len()) && text.bytes().all(allowed) {
            return Ok(Self(text.to_owned()));
        }
        Err(BadSpiffeId::Cluster(shorten(text)))
    }
}

impl fmt::Display for ClusterName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for ControlPlaneId {
    type Err = BadSpiffeId;

    fn from_str(text: &str) -> Result<Self, BadSpiffeId> {
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if (1..=MAX_CONTROL_PLANE).contains(&text.len()) && text.bytes().all(allowed) {
            return Ok(Self(text.to_owned()));
        }
        Err(BadSpiffeId::ControlPlane(shorten(text)))
    }
}

impl fmt::Display for ControlPlaneId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Enough of a wrong text to recognise it, and not a page of it.
fn shorten(text: &str) -> String {
    text.chars().take(120).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_kinds_survive_the_way_through_text() {
        for text in [
            "spiffe://edge-1/node/7b0a4a0e-6c1b-4f53-9f0e-0a4f8d1c2b3a",
            "spiffe://edge.example_2/user/ada",
            "spiffe://edge-1/control-plane/cp-1",
        ] {
            assert_eq!(text.parse::<SpiffeId>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn nothing_else_is_an_identity() {
        for text in [
            "",
            "https://edge/node/a",
            "spiffe://edge",
            "spiffe://edge/node",
            "spiffe://edge/node/",
            "spiffe://edge/admin/a",
            "spiffe://edge/node/a/b",
            "spiffe://edge/node/../user/root",
            "spiffe:///node/a",
            "spiffe://Edge/node/a",
            "spiffe://edge@evil/node/a",
            "spiffe://edge/control-plane/%2e",
            "spiffe://edge/node/a\n",
        ] {
            assert!(text.parse::<SpiffeId>().is_err(), "{text}");
        }
        let long = format!("spiffe://edge/user/{}", "a".repeat(5000));
        assert!(long.parse::<SpiffeId>().unwrap_err().to_string().len() < 300);
    }
}
