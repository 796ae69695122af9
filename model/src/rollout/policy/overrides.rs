//! What an operator wants different from what the control plane does by default.

use std::time::Duration;

use super::{LowTraffic, Policy, Stage, Strategy};

/// Fields that are not set keep the value of the policy that they are laid over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    pub strategy: Option<Strategy>,
    pub stages: Option<Vec<Stage>>,
    pub final_bake: Option<Duration>,
    pub healthy: Option<Duration>,
    pub progress_deadline: Option<Duration>,
    pub samples: Option<u64>,
    pub low_traffic: Option<LowTraffic>,
    pub alpha_bp: Option<u32>,
    pub tolerance_percent: Option<u32>,
    pub max_traps_percent: Option<u32>,
    pub slow: Option<Duration>,
}

impl Overrides {
    /// These where they are set, `other`'s where not: the command line over the manifest.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            strategy: self.strategy.or(other.strategy),
            stages: self.stages.or(other.stages),
            final_bake: self.final_bake.or(other.final_bake),
            healthy: self.healthy.or(other.healthy),
            progress_deadline: self.progress_deadline.or(other.progress_deadline),
            samples: self.samples.or(other.samples),
            low_traffic: self.low_traffic.or(other.low_traffic),
            alpha_bp: self.alpha_bp.or(other.alpha_bp),
            tolerance_percent: self.tolerance_percent.or(other.tolerance_percent),
            max_traps_percent: self.max_traps_percent.or(other.max_traps_percent),
            slow: self.slow.or(other.slow),
        }
    }

    /// The policy that comes out. Where `base` goes out in batches, whoever names stages wants stages.
    pub fn over(&self, base: Strategy) -> Policy {
        let staged = if self.stages.is_some() { Strategy::Staged } else { base };
        if self.strategy.unwrap_or(staged) == Strategy::Batches {
            return Policy::batches();
        }
        let base = Policy::default();
        Policy {
            strategy: Strategy::Staged,
            stages: self.stages.clone().unwrap_or(base.stages),
            final_bake: self.final_bake.unwrap_or(base.final_bake),
            healthy: self.healthy.unwrap_or(base.healthy),
            progress_deadline: self.progress_deadline.unwrap_or(base.progress_deadline),
            samples: self.samples.unwrap_or(base.samples),
            low_traffic: self.low_traffic.unwrap_or(base.low_traffic),
            alpha_bp: self.alpha_bp.unwrap_or(base.alpha_bp),
            tolerance_percent: self.tolerance_percent.unwrap_or(base.tolerance_percent),
            max_traps_percent: self.max_traps_percent.unwrap_or(base.max_traps_percent),
            slow: self.slow.or(base.slow),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_set_stays_as_it_is() {
        let some = Overrides { samples: Some(50), ..Overrides::default() };
        let policy = some.over(Strategy::Staged);
        assert_eq!(policy, Policy { samples: 50, ..Policy::default() });
        assert_eq!(some.over(Strategy::Batches), Policy::batches());
    }

    #[test]
    fn whoever_names_stages_gets_stages() {
        let stages = vec!["nodes=rest,weight=50,bake=1s".parse().unwrap()];
        let named = Overrides { stages: Some(stages.clone()), ..Overrides::default() };
        assert_eq!(named.over(Strategy::Batches).stages, stages);
        let batches = Overrides { strategy: Some(Strategy::Batches), ..named.clone() };
        assert_eq!(batches.over(Strategy::Staged), Policy::batches());
        assert_eq!(batches.or(named).strategy, Some(Strategy::Batches));
    }
}
