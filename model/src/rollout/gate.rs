//! What ends a rollout or takes a node out of it.

use std::time::Duration;

use crate::evidence::{Evidence, Metric};
use crate::id::NodeId;
use crate::rollout::policy::{Policy, Strategy};
use crate::rollout::state::{Code, Reason, Rollout, State};
use crate::rollout::view::{Compiled, Member, Standing, View};

/// One bad node is a bad node; two are a bad revision.
const FAILURES: usize = 2;
/// A share of traps says nothing with fewer requests.
const TRAPS_REQUESTS: u64 = 20;
/// Nodes with the candidate are gone this much more often than others.
const LOST_RATIO: usize = 3;
const LOST: usize = 2;
/// A node's own evidence is worth hearing against another's from here on.
const ENOUGH_REQUESTS: u64 = 100;
/// No e-value of a candidate that is fine reaches this in one node but by its share of α.
const DISAGREES: f64 = 1.0;

/// What the gates say of a rollout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Pass,
    Fail(Reason),
    /// This node alone is worse, and others of its kind are not.
    Exclude(NodeId, Reason),
}

/// All gates that end a rollout at once, the cheapest proof first.
pub(super) fn judge(rollout: &Rollout, view: &View) -> Verdict {
    let failure = failed_nodes(rollout, view)
        .or_else(|| uncompiled(rollout, view))
        .or_else(|| traps(&rollout.policy, &rollout.evidence))
        .or_else(|| nodes_lost(rollout, view))
        .or_else(|| deadline(rollout));
    if let Some(reason) = failure {
        return Verdict::Fail(reason);
    }
    for metric in Metric::ALL {
        match worse(metric, rollout, view) {
            Verdict::Pass => {}
            verdict => return verdict,
        }
    }
    Verdict::Pass
}

/// The e-value from which a metric condemns: all metrics together share α.
pub fn condemns_from(policy: &Policy) -> f64 {
    Metric::ALL.len() as f64 * 10_000.0 / f64::from(policy.alpha_bp)
}

fn failed_nodes(rollout: &Rollout, view: &View) -> Option<Reason> {
    let failed: Vec<&Member> = view.members.iter().filter(|m| m.held.is_some() && m.has_failed()).collect();
    let last = failed.last()?;
    let of_stage = match rollout.state {
        State::Progressing | State::Baking if rollout.policy.strategy == Strategy::Staged => view
            .members
            .iter()
            .filter(|m| rollout.stages.get(&m.id).is_some_and(|s| *s <= rollout.stage))
            .count(),
        _ => view.members.len(),
    };
    if failed.len() < FAILURES && of_stage > 1 {
        return None;
    }
    let fell_back = matches!(last.standing, Standing::FellBack(_));
    let (code, what) = if fell_back {
        (Code::FellBack, "could not run it")
    } else {
        (Code::LoadFailed, "could not load it")
    };
    let told = |member: &&Member| match &member.standing {
        Standing::Failed(why) => format!("{}: {why}", member.name),
        Standing::FellBack(why) => format!("{} went back by itself: {why}", member.name),
        _ => member.name.to_string(),
    };
    let all: Vec<String> = failed.iter().map(told).collect();
    let nodes = if failed.len() == 1 { "1 node".to_owned() } else { format!("{} nodes", failed.len()) };
    Some(Reason::new(code, format!("{nodes} {what} ({})", all.join("; "))))
}

fn uncompiled(rollout: &Rollout, view: &View) -> Option<Reason> {
    if rollout.policy.strategy == Strategy::Batches {
        return None;
    }
    view.members.iter().find_map(|member| match &member.compiled {
        Compiled::Failed(why) => {
            let text = format!("it could not be compiled for {}: {why}", member.cpu.compiled_as());
            Some(Reason::new(Code::CompileFailed, text))
        }
        _ => None,
    })
}

fn traps(policy: &Policy, evidence: &Evidence) -> Option<Reason> {
    let (candidate, _) = evidence.totals();
    let most = candidate.requests.saturating_mul(u64::from(policy.max_traps_percent));
    if candidate.requests < TRAPS_REQUESTS || candidate.traps.saturating_mul(100) <= most {
        return None;
    }
    let text = format!(
        "{} of its {} requests trapped: more than {}%",
        candidate.traps, candidate.requests, policy.max_traps_percent
    );
    Some(Reason::new(Code::Traps, text))
}

/// Nodes with the candidate that fell silent in this stage, against others that did.
fn nodes_lost(rollout: &Rollout, view: &View) -> Option<Reason> {
    if !matches!(rollout.state, State::Baking | State::Progressing) {
        return None;
    }
    let with = |m: &&Member| m.held.is_some_and(|weight| weight > 0);
    let fell_silent = |m: &&&Member| m.silent_since.is_some_and(|since| since >= rollout.entered);
    let (holders, others): (Vec<&Member>, Vec<&Member>) = view.members.iter().partition(with);
    let (lost, others_lost) =
        (holders.iter().filter(fell_silent).count(), others.iter().filter(fell_silent).count());
    // lost / holders ≥ 3 · others_lost / others. Without others there is nothing to tell it from a bad day of the network.
    let more_often = !others.is_empty() && lost * others.len() >= LOST_RATIO * others_lost * holders.len();
    (lost >= LOST && more_often).then(|| {
        let (with, without) = (holders.len(), others.len());
        let text =
            format!("{lost} of {with} nodes with it fell silent, and {others_lost} of {without} others");
        Reason::new(Code::NodesLost, text)
    })
}

fn deadline(rollout: &Rollout) -> Option<Reason> {
    let staged = rollout.policy.strategy == Strategy::Staged;
    (staged && rollout.stalled >= rollout.policy.progress_deadline).then(|| {
        let waited = humantime::format_duration(Duration::from_secs(rollout.stalled.as_secs()));
        Reason::new(Code::Deadline, format!("no node got on with it for {waited}"))
    })
}

fn worse(metric: Metric, rollout: &Rollout, view: &View) -> Verdict {
    let condemns = condemns_from(&rollout.policy);
    let e_value = rollout.evidence.e_value(metric, None);
    if e_value < condemns {
        return Verdict::Pass;
    }
    let reason = Reason::new(code(metric), describe(metric, e_value, condemns, &rollout.evidence));
    match alone(metric, &rollout.evidence, view, condemns) {
        // A second node that is worse is the candidate's doing.
        Some(member) if rollout.excluded.is_empty() => {
            let text = format!("only {} is worse, others of its kind are not; {}", member.name, reason.text);
            Verdict::Exclude(member.id.clone(), Reason::new(reason.code, text))
        }
        _ => Verdict::Fail(reason),
    }
}

/// The node whose evidence alone condemns, if another of the same kind has seen enough and disagrees. Without such a witness it
/// is the candidate: what fails on one kind of CPU must never be taken for one sick node.
fn alone<'a>(metric: Metric, evidence: &Evidence, view: &'a View, condemns: f64) -> Option<&'a Member> {
    let own = |member: &Member| evidence.nodes.get(&member.id);
    let member = view.members.iter().find(|member| {
        own(member).is_some_and(|seen| seen.ratios(metric).e_value() >= condemns)
            && evidence.e_value(metric, Some(&member.id)) <= DISAGREES
    })?;
    let witness = |other: &&Member| {
        other.id != member.id
            && other.cpu.compiled_as() == member.cpu.compiled_as()
            && own(other).is_some_and(|seen| {
                seen.candidate.requests >= ENOUGH_REQUESTS && seen.ratios(metric).e_value() <= DISAGREES
            })
    };
    view.members.iter().find(witness).map(|_| member)
}

fn code(metric: Metric) -> Code {
    match metric {
        Metric::Errors => Code::Errors,
        Metric::Slow => Code::Slow,
    }
}

fn describe(metric: Metric, e_value: f64, condemns: f64, evidence: &Evidence) -> String {
    let (candidate, stable) = evidence.totals();
    let (ours, theirs, what) = match metric {
        Metric::Errors => (candidate.errors, stable.errors, "failed"),
        Metric::Slow => (candidate.slow, stable.slow, "were slow"),
    };
    format!(
        "{ours} of its {} requests {what}, beside {theirs} of {} of the stable revision on the same nodes (e-value {e_value:.0}, \
         condemned from {condemns:.0})",
        candidate.requests, stable.requests
    )
}
