//! Which nodes a function belongs on.
//!
//! Filter, then an ordered score of integers. What is placed stays where it is while it passes the filters, so that a
//! second look at an unchanged fleet changes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use sha2::{Digest as _, Sha256};

use crate::function::{FunctionSpec, Replicas};
use crate::id::{FunctionName, NodeId};
use crate::node::{Availability, Node};
use crate::quantity::Bytes;

/// Why a node cannot have a function.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unfit {
    /// The constraint that it does not meet.
    Constraint(String),
    /// Its budget has no room for the function's memory.
    Memory,
    /// No new work for a node that does not answer.
    Away,
    /// The module could not be compiled for it.
    NotCompiled(String),
    /// The module is being compiled for it.
    Compiling,
    /// Its agent is of another release than the control plane, whose code it cannot map.
    OtherEngine,
}

/// Why part of a function waits, and for how many nodes that is so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// So many replicas are wanted, and only so many nodes fit.
    TooFewNodes { wanted: u32, fit: usize, nodes: usize, unfit: BTreeMap<Unfit, usize> },
    /// So many nodes silent at once are our fault, not theirs: nothing is moved.
    FleetSilent { silent: usize, nodes: usize },
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Constraint(text) => write!(f, "not meet `{text}`"),
            Self::Memory => f.write_str("have no memory left in their budget"),
            Self::Away => f.write_str("are not connected"),
            Self::NotCompiled(message) => {
                write!(f, "have a CPU that it could not be compiled for ({message})")
            }
            Self::Compiling => f.write_str("wait for it to be compiled"),
            Self::OtherEngine => {
                f.write_str("run an agent whose engine differs from the control plane's: upgrade them")
            }
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooFewNodes { fit, nodes: 0, .. } => {
                write!(
                    f,
                    "{fit} of 0 nodes fit: no node has joined; `littoral token create` makes a join token"
                )
            }
            Self::TooFewNodes { wanted, fit, nodes, unfit } => {
                write!(f, "{fit} of {nodes} nodes fit, {wanted} wanted")?;
                for (index, (why, count)) in unfit.iter().enumerate() {
                    let joint = if index == 0 { ": " } else { ", " };
                    match why {
                        Unfit::Constraint(_) => write!(f, "{joint}{count} do {why}")?,
                        _ => write!(f, "{joint}{count} {why}")?,
                    }
                }
                Ok(())
            }
            Self::FleetSilent { silent, nodes } => write!(
                f,
                "{silent} of {nodes} nodes are silent at once: nothing is moved until they are back or revoked"
            ),
        }
    }
}

/// What one function's placement is decided from.
pub struct Request<'a> {
    pub spec: &'a FunctionSpec,
    pub nodes: &'a BTreeMap<NodeId, Node>,
    /// Where it is now.
    pub current: &'a BTreeSet<NodeId>,
    /// Memory of each node's budget that other functions hold.
    pub reserved: &'a BTreeMap<NodeId, Bytes>,
    /// Whether replicas on lost nodes may be replaced now.
    pub replace_lost: bool,
}

/// Where a function belongs, and why it is not on more nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// In the order in which they get a new revision.
    pub nodes: Vec<NodeId>,
    /// How many it asks for.
    pub wanted: u32,
    pub reason: Option<Reason>,
}

/// Memory that a function reserves on a node: one instance at its limit.
pub fn reservation(spec: &FunctionSpec) -> Bytes {
    spec.limits.memory
}

/// Chooses the nodes of a function.
///
/// `compiled` says why a node has no artifact of it, and `None` when it has one.
pub fn place(request: &Request<'_>, compiled: impl Fn(&Node) -> Option<Unfit>) -> Placed {
    let mut kept: Vec<&Node> = Vec::new();
    let mut lost: Vec<&Node> = Vec::new();
    let mut fresh: Vec<&Node> = Vec::new();
    let mut unfit: BTreeMap<Unfit, usize> = BTreeMap::new();
    for node in request.nodes.values() {
        let here = request.current.contains(&node.id);
        match refuse(request, node, here).or_else(|| if here { None } else { compiled(node) }) {
            Some(why) => *unfit.entry(why).or_default() += 1,
            None if !here => fresh.push(node),
            None if node.availability == Availability::Lost && request.replace_lost => lost.push(node),
            None => kept.push(node),
        }
    }
    let name = &request.spec.name;
    let fit = kept.len() + fresh.len();
    let total = request.nodes.len();
    let (chosen, wanted) = match request.spec.placement.replicas {
        Replicas::Every => {
            kept.append(&mut fresh);
            let wanted = total - unfit.iter().filter(|(why, _)| !waits(why)).map(|(_, n)| n).sum::<usize>();
            (kept, u32::try_from(wanted).unwrap_or(u32::MAX))
        }
        Replicas::Count(count) => {
            let spread = request.spec.placement.spread.as_deref();
            (choose(name, count as usize, spread, kept, fresh), count)
        }
    };
    let short = (chosen.len() as u64) < u64::from(wanted) || (wanted > 0 && chosen.is_empty());
    let reason = short.then_some(Reason::TooFewNodes { wanted, fit, nodes: total, unfit });
    let mut nodes: Vec<NodeId> = chosen.into_iter().map(|node| node.id.clone()).collect();
    // Silence never deletes: a lost node keeps what it has, and is counted no more.
    nodes.extend(lost.into_iter().map(|node| node.id.clone()));
    nodes.sort_by_key(|id| (rendezvous(name, id), id.clone()));
    Placed { nodes, wanted, reason }
}

/// Whether time alone may make the node fit.
fn waits(why: &Unfit) -> bool {
    matches!(why, Unfit::Away | Unfit::Compiling | Unfit::Memory | Unfit::NotCompiled(_) | Unfit::OtherEngine)
}

fn refuse(request: &Request<'_>, node: &Node, here: bool) -> Option<Unfit> {
    if let Some(constraint) = request.spec.placement.constraints.iter().find(|c| !c.allows(node)) {
        return Some(Unfit::Constraint(constraint.to_string()));
    }
    if !here && !node.availability.is_connected() {
        return Some(Unfit::Away);
    }
    let reserved = request.reserved.get(&node.id).copied().unwrap_or_default();
    let room = node.memory_budget.0.saturating_sub(reserved.0);
    (room < reservation(request.spec).0).then_some(Unfit::Memory)
}

/// Keeps what is placed, drops the worst of too many, adds the best of the rest.
fn choose<'a>(
    name: &FunctionName,
    count: usize,
    spread: Option<&str>,
    mut kept: Vec<&'a Node>,
    mut fresh: Vec<&'a Node>,
) -> Vec<&'a Node> {
    let zone = |node: &Node| spread.and_then(|key| node.labels.get(key).cloned()).unwrap_or_default();
    let mut in_zone: BTreeMap<String, usize> = BTreeMap::new();
    for node in &kept {
        *in_zone.entry(zone(node)).or_default() += 1;
    }
    while kept.len() > count {
        let worst = kept
            .iter()
            .enumerate()
            .max_by_key(|(_, node)| (in_zone.get(&zone(node)).copied(), score(name, node)))
            .map(|(index, _)| index);
        let Some(worst) = worst else { break };
        let dropped = kept.swap_remove(worst);
        in_zone.entry(zone(dropped)).and_modify(|n| *n = n.saturating_sub(1));
    }
    while kept.len() < count && !fresh.is_empty() {
        let best = fresh
            .iter()
            .enumerate()
            .min_by_key(|(_, node)| (in_zone.get(&zone(node)).copied().unwrap_or(0), score(name, node)))
            .map(|(index, _)| index);
        let Some(best) = best else { break };
        let added = fresh.swap_remove(best);
        *in_zone.entry(zone(added)).or_default() += 1;
        kept.push(added);
    }
    kept
}

/// Lower is better; total, because it ends in the id.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Score {
    availability: Availability,
    rendezvous: u64,
    id: NodeId,
}

fn score(name: &FunctionName, node: &Node) -> Score {
    // Connected nodes are equals: that one warms up right now says nothing about tomorrow.
    let availability = if node.availability.is_connected() { Availability::Ready } else { node.availability };
    Score { availability, rendezvous: rendezvous(name, &node.id), id: node.id.clone() }
}

/// Rendezvous hashing (Thaler and Ravishankar, 1998): a node that comes or goes moves only its own share.
fn rendezvous(name: &FunctionName, id: &NodeId) -> u64 {
    let mut hasher = Sha256::new();
    hasher.update(name.as_str());
    hasher.update([0]);
    hasher.update(id.as_str());
    let hash = hasher.finalize();
    hash.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}
