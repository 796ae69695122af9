//! The next step of a rollout: a function of what is known, and nothing else.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::id::NodeId;
use crate::rollout::gate::{self, Verdict};
use crate::rollout::policy::{LowTraffic, Stage, Strategy};
use crate::rollout::stages;
use crate::rollout::state::{Code, Reason, Rollout, State};
use crate::rollout::view::{Compiled, Member, Standing, View};

/// No batch is larger than this share of the nodes, per cent.
const LARGEST_BATCH_PERCENT: usize = 25;
/// More of a stage's nodes silent at the end of its bake: it was not watched.
const MAX_SILENT_PERCENT: usize = 20;
/// With too little traffic and a smoke check to go by, a stage is watched for so many times its bake.
const LOW_TRAFFIC_BAKES: u32 = 4;

/// What is to be done now.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    pub rollout: Rollout,
    /// Weight of the candidate on each node that has it or gets it, per cent. Nodes that are not named do not have it.
    pub weights: BTreeMap<NodeId, u8>,
    /// Whether more than clocks and evidence differ from the rollout that was looked at.
    pub moved: bool,
}

/// Decides the next step. A second look at the same view, with its result in effect, does nothing more.
pub fn step(rollout: &Rollout, view: &View) -> Step {
    let mut next = rollout.clone();
    next.evidence = view.evidence.clone();
    next.evidence.nodes.retain(|node, _| !next.excluded.contains(node));
    let passed = next.pass_time(view.now);
    if next.state.is_active() && next.state != State::Aborting {
        match gate::judge(&next, view) {
            Verdict::Fail(reason) => next.enter(State::Aborting, reason),
            Verdict::Exclude(node, reason) => {
                next.evidence.nodes.remove(&node);
                next.excluded.insert(node);
                next.reason = reason;
            }
            Verdict::Pass => {}
        }
    }
    if next.state == State::FinalBake && everywhere(&next, view) {
        next.baked += passed;
        next.stalled = Duration::ZERO;
    }
    if view.frozen.is_some() {
        next.stalled = rollout.stalled;
    }
    count_successes(&mut next, view);
    // More than one state may pass at once: a stage that adds nothing, a bake of no time.
    while let Some((state, reason)) = onward(&next, view) {
        move_to(&mut next, state, reason, view);
    }
    let weights = match next.state {
        State::Succeeded => view.members.iter().map(|member| (member.id.clone(), 100)).collect(),
        State::Aborted | State::Superseded => BTreeMap::new(),
        _ => weights(&next, view),
    };
    // Batches are counted anew at each look: there is no clock that their number starts again.
    let succeeded = |r: &Rollout| if r.policy.strategy == Strategy::Staged { r.succeeded } else { 0 };
    let moved = (next.state, next.stage, succeeded(&next), &next.excluded)
        != (rollout.state, rollout.stage, succeeded(rollout), &rollout.excluded);
    Step { rollout: next, weights, moved }
}

/// Where to go.
enum To {
    Preflight,
    Stage(usize),
    Baking,
    Held,
    FinalBake,
    Succeeded,
    Aborted,
}

fn onward(rollout: &Rollout, view: &View) -> Option<(To, Reason)> {
    if rollout.state == State::Aborting {
        let still = view.members.iter().any(|member| member.connected && member.held.is_some());
        return (!still).then(|| (To::Aborted, rollout.reason.clone()));
    }
    if view.frozen.is_some() {
        return None;
    }
    if view.unwanted && !matches!(rollout.state, State::Paused(_)) {
        return rollout
            .state
            .is_active()
            .then(|| (To::Succeeded, Reason::new(Code::Succeeded, "no node is to run it")));
    }
    match rollout.state {
        State::Pending => compiled(view),
        State::Preflight => preflighted(rollout, view),
        State::Progressing if rollout.policy.strategy == Strategy::Batches => all_have_it(rollout, view),
        State::Progressing => stage_complete(rollout, view),
        State::Baking => baked(rollout, view),
        State::FinalBake => {
            let done = everywhere(rollout, view) && rollout.baked >= rollout.policy.final_bake;
            done.then(|| {
                (To::Succeeded, Reason::new(Code::Succeeded, "every node that is there runs it alone"))
            })
        }
        _ => None,
    }
}

fn move_to(rollout: &mut Rollout, to: To, reason: Reason, view: &View) {
    match to {
        To::Preflight => {
            rollout.succeeded = 0;
            rollout.enter(State::Preflight, reason);
        }
        To::Stage(stage) => {
            if rollout.stages.is_empty() {
                let last = rollout.policy.stages.len() - 1;
                rollout.stages = stages::assign(&rollout.policy.stages, &view.candidates());
                rollout.stages.retain(|_, stage| *stage < last);
            }
            rollout.enter_stage(stage, reason);
        }
        To::Baking => rollout.enter(State::Baking, reason),
        To::Held => rollout.enter(State::Held, reason),
        To::FinalBake => rollout.enter_final(reason),
        To::Succeeded => rollout.enter(State::Succeeded, reason),
        To::Aborted => rollout.enter(State::Aborted, reason),
    }
}

fn compiled(view: &View) -> Option<(To, Reason)> {
    let mut connected = view.members.iter().filter(|member| member.connected).peekable();
    connected.peek()?;
    let ready = connected.all(|member| member.compiled == Compiled::Ready);
    ready.then(|| (To::Preflight, Reason::new(Code::Compiled, "it is compiled for every node that is there")))
}

fn preflighted(rollout: &Rollout, view: &View) -> Option<(To, Reason)> {
    let mut able = able(view).peekable();
    able.peek()?;
    let ready = able.all(|member| member.held.is_some() && is_running(member));
    ready.then(|| {
        let stage =
            stages::assign(&rollout.policy.stages, &view.candidates()).into_values().min().unwrap_or(0);
        (
            To::Stage(stage),
            Reason::new(Code::Preflighted, "every node that is there has loaded and checked it"),
        )
    })
}

fn all_have_it(rollout: &Rollout, view: &View) -> Option<(To, Reason)> {
    let failed = view.members.iter().any(Member::has_failed);
    let done = !failed && everywhere(rollout, view);
    done.then(|| (To::Succeeded, Reason::new(Code::Succeeded, "every node that is there runs it")))
}

fn stage_complete(rollout: &Rollout, view: &View) -> Option<(To, Reason)> {
    let weight = current(rollout).weight;
    let mut any = false;
    for member in members_of_stage(rollout, view).filter(|member| member.connected && !member.has_failed()) {
        any = true;
        if !member.is_well(weight, &rollout.policy, view.now) {
            return None;
        }
    }
    let text = format!("every node of stage {} that is there runs it at {weight}%", rollout.stage + 1);
    any.then(|| (To::Baking, Reason::new(Code::StageComplete, text)))
}

fn baked(rollout: &Rollout, view: &View) -> Option<(To, Reason)> {
    let stage = current(rollout);
    if rollout.baked < stage.bake {
        return None;
    }
    let all: Vec<&Member> = members_of_stage(rollout, view).collect();
    let silent = all.iter().filter(|member| !member.connected).count();
    if silent * 100 > all.len() * MAX_SILENT_PERCENT {
        let text = format!("{silent} of {} nodes of stage {} are not heard of", all.len(), rollout.stage + 1);
        return Some((To::Held, Reason::new(Code::TooManySilent, text)));
    }
    let samples = rollout.samples();
    if samples < rollout.policy.samples {
        if rollout.policy.low_traffic == LowTraffic::Hold {
            let text = format!(
                "it has seen {samples} requests in stage {} of the {} needed",
                rollout.stage + 1,
                rollout.policy.samples
            );
            return Some((To::Held, Reason::new(Code::TooFewSamples, text)));
        }
        if rollout.baked < stage.bake.saturating_mul(LOW_TRAFFIC_BAKES) {
            return None;
        }
    }
    let reason = |code, text: String| Reason::new(code, text);
    match next_stage(rollout, view) {
        Some(next) => {
            let text =
                format!("stage {} was watched for its time, with {samples} requests", rollout.stage + 1);
            Some((To::Stage(next), reason(Code::StageEntered, text)))
        }
        None => {
            Some((To::FinalBake, reason(Code::StagesComplete, "every stage was watched for its time".into())))
        }
    }
}

/// The next stage that changes something: it has nodes of its own, or a larger weight for those that are in.
fn next_stage(rollout: &Rollout, view: &View) -> Option<usize> {
    let adds = |index: usize| view.members.iter().any(|member| stage_of(rollout, &member.id) == index);
    let weight = |index: usize| rollout.policy.stages[index].weight;
    (rollout.stage + 1..rollout.policy.stages.len())
        .find(|index| weight(*index) > current(rollout).weight || adds(*index))
}

fn current(rollout: &Rollout) -> &Stage {
    &rollout.policy.stages[rollout.stage.min(rollout.policy.stages.len() - 1)]
}

fn stage_of(rollout: &Rollout, node: &NodeId) -> usize {
    rollout.stages.get(node).copied().unwrap_or(rollout.policy.stages.len() - 1)
}

fn members_of_stage<'a>(rollout: &'a Rollout, view: &'a View) -> impl Iterator<Item = &'a Member> {
    let in_it = |m: &&Member| stage_of(rollout, &m.id) <= rollout.stage && !rollout.excluded.contains(&m.id);
    view.members.iter().filter(in_it)
}

/// Whether all nodes that can have the candidate have it alone.
fn everywhere(rollout: &Rollout, view: &View) -> bool {
    let mut able = able(view).peekable();
    able.peek().is_some() && able.all(|member| member.is_well(100, &rollout.policy, view.now))
}

/// Nodes that are away are excused, and so is the one that failed: a second one ends the rollout.
fn able<'a>(view: &'a View) -> impl Iterator<Item = &'a Member> {
    view.members.iter().filter(|member| member.connected && !member.has_failed())
}

fn is_running(member: &Member) -> bool {
    matches!(member.standing, Standing::Running(_))
}

fn count_successes(rollout: &mut Rollout, view: &View) {
    let well = view.members.iter().filter(|member| match rollout.state {
        State::Preflight => member.held.is_some() && is_running(member),
        State::Pending => member.compiled == Compiled::Ready,
        _ => desired(rollout, member).is_some_and(|weight| member.is_well(weight, &rollout.policy, view.now)),
    });
    let count = well.count();
    if count > rollout.succeeded {
        rollout.stalled = Duration::ZERO;
    }
    rollout.succeeded = count.max(rollout.succeeded);
}

/// What a node should have in the end of the current state.
fn desired(rollout: &Rollout, member: &Member) -> Option<u8> {
    if rollout.excluded.contains(&member.id)
        && rollout.state != State::FinalBake
        && rollout.state != State::Succeeded
    {
        return None;
    }
    let of_stage =
        || if stage_of(rollout, &member.id) <= rollout.stage { current(rollout).weight } else { 0 };
    match rollout.state {
        State::Pending | State::Aborting | State::Aborted | State::Superseded => None,
        State::Preflight => Some(0),
        State::Progressing | State::Baking | State::Held => Some(of_stage()),
        State::Paused(_) => member.held,
        State::FinalBake | State::Succeeded => Some(100),
    }
}

/// What each node gets now: towards what is desired, in batches.
fn weights(rollout: &Rollout, view: &View) -> BTreeMap<NodeId, u8> {
    let now: Vec<(&Member, Option<u8>)> = view.members.iter().map(|m| (m, desired(rollout, m))).collect();
    let frozen = view.frozen.is_some() && rollout.state.is_active();
    let underway = |(member, want): &&(&Member, Option<u8>)| {
        member.connected
            && member.held.is_some()
            && member.held == *want
            && !is_running(member)
            && !member.has_failed()
    };
    let busy = now.iter().any(|one| underway(&one));
    let mut room = if busy || frozen { 0 } else { batch(rollout.succeeded, now.len()) };
    let mut weights = BTreeMap::new();
    for (member, want) in now {
        let weight = match (member.held, want) {
            (_, None) => None,
            (held, Some(want)) if held == Some(want) => held,
            // Less, or nobody there to be told: at once.
            (Some(held), Some(want)) if want < held => Some(want),
            (held, Some(want)) => raise(rollout, member, held, want, &mut room),
        };
        weights.extend(weight.map(|weight| (member.id.clone(), weight)));
    }
    weights
}

/// One node's way up. A node that does not have the candidate gets it without traffic first, unless there is nothing to compare
/// it with.
fn raise(rollout: &Rollout, member: &Member, held: Option<u8>, want: u8, room: &mut usize) -> Option<u8> {
    let ready = member.connected && (held.is_some() || member.compiled == Compiled::Ready);
    if !ready || *room == 0 || member.has_failed() {
        return held;
    }
    match held {
        None if rollout.policy.strategy == Strategy::Staged && rollout.state != State::Succeeded => {
            *room -= 1;
            Some(0)
        }
        Some(_) if !is_running(member) => held,
        _ => {
            *room -= 1;
            Some(want)
        }
    }
}

/// How many nodes may change at once when so many have: 1, 1, 2, 4 … up to a quarter of them.
fn batch(succeeded: usize, nodes: usize) -> usize {
    succeeded.clamp(1, (nodes * LARGEST_BATCH_PERCENT).div_ceil(100).max(1))
}
