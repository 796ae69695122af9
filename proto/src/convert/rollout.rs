use std::collections::BTreeMap;
use std::time::Duration;

use littoral_model::evidence::{Evidence, LogRatios, NodeEvidence, Tally};
use littoral_model::id::NodeId;
use littoral_model::rollout::policy::{LowTraffic, Overrides, Policy, Stage, Strategy};
use littoral_model::rollout::state::{Code, Forward, Reason, Rollout, State};
use littoral_model::time::Timestamp;

use super::{BadMessage, bad, parse};
use crate::store::{self, RolloutRecord};
use crate::v1;

/// A record is at most 256 KiB, and a node's evidence has some 200 bytes. What more nodes have seen is added up under the last
/// of these: no longer node by node, and not lost.
const MAX_NODES: usize = 600;

/// # Errors
/// Names the field; ranges are not checked here.
pub fn overrides_from_pb(pb: &v1::RolloutPolicy) -> Result<Overrides, BadMessage> {
    let stages: Vec<Stage> =
        pb.stages.iter().map(|text| parse("rollout.stages", text)).collect::<Result<_, _>>()?;
    Ok(Overrides {
        strategy: match pb.strategy() {
            v1::RolloutStrategy::Unspecified => None,
            v1::RolloutStrategy::Staged => Some(Strategy::Staged),
            v1::RolloutStrategy::Batches => Some(Strategy::Batches),
        },
        stages: (!stages.is_empty()).then_some(stages),
        final_bake: pb.final_bake_ms.map(Duration::from_millis),
        healthy: pb.healthy_ms.map(Duration::from_millis),
        progress_deadline: pb.progress_deadline_ms.map(Duration::from_millis),
        samples: pb.samples,
        low_traffic: match pb.low_traffic() {
            v1::LowTraffic::Unspecified => None,
            v1::LowTraffic::Hold => Some(LowTraffic::Hold),
            v1::LowTraffic::Bake => Some(LowTraffic::Bake),
        },
        alpha_bp: pb.alpha_bp,
        tolerance_percent: pb.tolerance_percent,
        max_traps_percent: pb.max_traps_percent,
        slow: pb.slow_us.map(Duration::from_micros),
    })
}

pub fn overrides_to_pb(overrides: &Overrides) -> v1::RolloutPolicy {
    let strategy = overrides.strategy.map_or(v1::RolloutStrategy::Unspecified, strategy_to_pb);
    let low_traffic = overrides.low_traffic.map_or(v1::LowTraffic::Unspecified, low_traffic_to_pb);
    v1::RolloutPolicy {
        strategy: strategy.into(),
        stages: overrides.stages.iter().flatten().map(ToString::to_string).collect(),
        final_bake_ms: overrides.final_bake.map(millis),
        healthy_ms: overrides.healthy.map(millis),
        progress_deadline_ms: overrides.progress_deadline.map(millis),
        samples: overrides.samples,
        low_traffic: low_traffic.into(),
        alpha_bp: overrides.alpha_bp,
        tolerance_percent: overrides.tolerance_percent,
        max_traps_percent: overrides.max_traps_percent,
        slow_us: overrides.slow.map(micros),
    }
}

/// With every field set.
pub fn policy_to_pb(policy: &Policy) -> v1::RolloutPolicy {
    overrides_to_pb(&Overrides {
        strategy: Some(policy.strategy),
        stages: Some(policy.stages.clone()),
        final_bake: Some(policy.final_bake),
        healthy: Some(policy.healthy),
        progress_deadline: Some(policy.progress_deadline),
        samples: Some(policy.samples),
        low_traffic: Some(policy.low_traffic),
        alpha_bp: Some(policy.alpha_bp),
        tolerance_percent: Some(policy.tolerance_percent),
        max_traps_percent: Some(policy.max_traps_percent),
        slow: policy.slow,
    })
}

pub fn strategy_to_pb(strategy: Strategy) -> v1::RolloutStrategy {
    match strategy {
        Strategy::Staged => v1::RolloutStrategy::Staged,
        Strategy::Batches => v1::RolloutStrategy::Batches,
    }
}

fn low_traffic_to_pb(low_traffic: LowTraffic) -> v1::LowTraffic {
    match low_traffic {
        LowTraffic::Hold => v1::LowTraffic::Hold,
        LowTraffic::Bake => v1::LowTraffic::Bake,
    }
}

pub fn state_to_pb(state: State) -> v1::RolloutState {
    match state {
        State::Pending => v1::RolloutState::Pending,
        State::Preflight => v1::RolloutState::Preflight,
        State::Progressing => v1::RolloutState::Progressing,
        State::Baking => v1::RolloutState::Baking,
        State::Paused(_) => v1::RolloutState::Paused,
        State::Held => v1::RolloutState::Held,
        State::FinalBake => v1::RolloutState::FinalBake,
        State::Aborting => v1::RolloutState::Aborting,
        State::Succeeded => v1::RolloutState::Succeeded,
        State::Aborted => v1::RolloutState::Aborted,
        State::Superseded => v1::RolloutState::Superseded,
    }
}

fn state_from_pb(pb: &RolloutRecord) -> Result<State, BadMessage> {
    Ok(match pb.state() {
        v1::RolloutState::Unspecified => return Err(bad("state", "it is missing")),
        v1::RolloutState::Pending => State::Pending,
        v1::RolloutState::Preflight => State::Preflight,
        v1::RolloutState::Progressing => State::Progressing,
        v1::RolloutState::Baking => State::Baking,
        v1::RolloutState::Paused => State::Paused(match pb.paused_from() {
            v1::RolloutState::Pending => Forward::Pending,
            v1::RolloutState::Preflight => Forward::Preflight,
            v1::RolloutState::Progressing => Forward::Progressing,
            v1::RolloutState::FinalBake => Forward::FinalBake,
            other => return Err(bad("paused_from", other.as_str_name())),
        }),
        v1::RolloutState::Held => State::Held,
        v1::RolloutState::FinalBake => State::FinalBake,
        v1::RolloutState::Aborting => State::Aborting,
        v1::RolloutState::Succeeded => State::Succeeded,
        v1::RolloutState::Aborted => State::Aborted,
        v1::RolloutState::Superseded => State::Superseded,
    })
}

/// Writes a rollout into its record; what is not the model's stays as it is there.
pub fn write_rollout(rollout: &Rollout, record: &mut RolloutRecord) {
    let last = rollout.policy.stages.len() - 1;
    let mut stages = vec![store::StageNodes::default(); last];
    for (node, stage) in rollout.stages.iter().filter(|(_, stage)| **stage < last) {
        stages[*stage].node_ids.push(node.to_string());
    }
    let paused_from = match rollout.state {
        State::Paused(Forward::Pending) => v1::RolloutState::Pending,
        State::Paused(Forward::Preflight) => v1::RolloutState::Preflight,
        State::Paused(Forward::Progressing) => v1::RolloutState::Progressing,
        State::Paused(Forward::FinalBake) => v1::RolloutState::FinalBake,
        _ => v1::RolloutState::Unspecified,
    };
    record.number = rollout.number;
    record.policy = Some(policy_to_pb(&rollout.policy));
    record.set_state(state_to_pb(rollout.state));
    record.set_paused_from(paused_from);
    record.reason_code = rollout.reason.code.name();
    record.reason = rollout.reason.text.clone();
    record.stage = u32::try_from(rollout.stage).unwrap_or(u32::MAX);
    record.stages = stages;
    record.excluded = rollout.excluded.iter().map(ToString::to_string).collect();
    record.started_ms = rollout.started.as_millis();
    record.entered_ms = rollout.entered.as_millis();
    record.as_of_ms = rollout.as_of.as_millis();
    record.baked_ms = millis(rollout.baked);
    record.stalled_ms = millis(rollout.stalled);
    record.succeeded = rollout.succeeded as u64;
    record.samples_before = rollout.samples_before;
    record.evidence = evidence_to_pb(&rollout.evidence);
}

/// # Errors
/// Names the field that makes no sense.
pub fn rollout_from_pb(pb: &RolloutRecord) -> Result<Rollout, BadMessage> {
    let policy = pb.policy.as_ref().ok_or_else(|| bad("policy", "it is missing"))?;
    let policy = overrides_from_pb(policy)?.over(Strategy::Staged);
    policy.validate().map_err(|error| bad("policy", error))?;
    let mut stages = BTreeMap::new();
    for (index, stage) in pb.stages.iter().enumerate() {
        for node in &stage.node_ids {
            stages.insert(parse::<NodeId>("stages", node)?, index);
        }
    }
    let code = Code::by_name(&pb.reason_code).ok_or_else(|| bad("reason_code", &pb.reason_code))?;
    Ok(Rollout {
        number: pb.number,
        state: state_from_pb(pb)?,
        reason: Reason::new(code, pb.reason.clone()),
        stage: (pb.stage as usize).min(policy.stages.len() - 1),
        stages,
        excluded: pb.excluded.iter().map(|node| parse("excluded", node)).collect::<Result<_, _>>()?,
        started: Timestamp::from_millis(pb.started_ms),
        entered: Timestamp::from_millis(pb.entered_ms),
        as_of: Timestamp::from_millis(pb.as_of_ms),
        baked: Duration::from_millis(pb.baked_ms),
        stalled: Duration::from_millis(pb.stalled_ms),
        succeeded: usize::try_from(pb.succeeded).unwrap_or(usize::MAX),
        samples_before: pb.samples_before,
        evidence: evidence_from_pb(&pb.evidence)?,
        policy,
    })
}

fn evidence_to_pb(evidence: &Evidence) -> Vec<store::NodeEvidence> {
    let mut all: Vec<(NodeId, NodeEvidence)> = Vec::new();
    for (node, seen) in &evidence.nodes {
        let full = all.len() == MAX_NODES;
        match all.last_mut() {
            Some((_, sum)) if full => {
                sum.errors.add(&seen.errors);
                sum.slow.add(&seen.slow);
                sum.candidate.add(&seen.candidate);
                sum.stable.add(&seen.stable);
            }
            _ => all.push((node.clone(), *seen)),
        }
    }
    let one = |(node, seen): (NodeId, NodeEvidence)| store::NodeEvidence {
        node_id: node.to_string(),
        errors: seen.errors.parts().to_vec(),
        slow: seen.slow.parts().to_vec(),
        candidate: Some(tally_to_pb(&seen.candidate)),
        stable: Some(tally_to_pb(&seen.stable)),
    };
    all.into_iter().map(one).collect()
}

fn evidence_from_pb(pb: &[store::NodeEvidence]) -> Result<Evidence, BadMessage> {
    let mut evidence = Evidence::default();
    for node in pb {
        let ratios = |field, parts: &[f64]| {
            let parts = parts.try_into().map_err(|_| bad(field, "it has another number of alternatives"))?;
            Ok::<_, BadMessage>(LogRatios::from_parts(parts))
        };
        let seen = NodeEvidence {
            errors: ratios("evidence.errors", &node.errors)?,
            slow: ratios("evidence.slow", &node.slow)?,
            candidate: tally_from_pb(node.candidate.as_ref()),
            stable: tally_from_pb(node.stable.as_ref()),
        };
        evidence.nodes.insert(parse("evidence.node_id", &node.node_id)?, seen);
    }
    Ok(evidence)
}

fn tally_to_pb(tally: &Tally) -> store::Tally {
    store::Tally { requests: tally.requests, errors: tally.errors, slow: tally.slow, traps: tally.traps }
}

fn tally_from_pb(pb: Option<&store::Tally>) -> Tally {
    let pb = pb.copied().unwrap_or_default();
    Tally { requests: pb.requests, errors: pb.errors, slow: pb.slow, traps: pb.traps }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(rollout: &Rollout) -> Rollout {
        let mut record = RolloutRecord::default();
        write_rollout(rollout, &mut record);
        rollout_from_pb(&record).unwrap()
    }

    #[test]
    fn a_rollout_reads_back_as_it_was_written() {
        let mut rollout = Rollout::start(7, Policy::default(), Timestamp::from_millis(5));
        rollout.state = State::Paused(Forward::Progressing);
        rollout.stages.insert("n1".parse().unwrap(), 1);
        rollout.excluded.insert("n2".parse().unwrap());
        rollout.baked = Duration::from_secs(3);
        let tally = Tally { requests: 100, errors: 3, slow: 2, traps: 1 };
        rollout.evidence.observe(&"n1".parse().unwrap(), &tally, &tally, 1.25);
        assert_eq!(round(&rollout), rollout);
        let batches = Rollout::start(1, Policy::batches(), Timestamp::from_millis(5));
        assert_eq!(round(&batches), batches);
    }

    #[test]
    fn the_evidence_of_very_many_nodes_is_added_up_and_stays_whole() {
        let mut rollout = Rollout::start(1, Policy::default(), Timestamp::from_millis(0));
        let tally = Tally { requests: 10, errors: 1, ..Tally::default() };
        for index in 0..2 * MAX_NODES {
            rollout.evidence.observe(&format!("n{index}").parse().unwrap(), &tally, &Tally::default(), 1.25);
        }
        let back = round(&rollout);
        assert_eq!(back.evidence.nodes.len(), MAX_NODES);
        assert_eq!(back.evidence.totals(), rollout.evidence.totals());
    }
}
