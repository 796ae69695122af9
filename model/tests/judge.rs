//! How often the judge is wrong, and how soon it is right: simulated with fixed seeds, one look a minute for an hour.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use littoral_model::evidence::{Counts, LogRatios};
use proptest::prelude::Rng as _;
use proptest::test_runner::{RngAlgorithm, TestRng};

const MINUTES: usize = 60;
const TOLERANCE: f64 = 1.25;
/// Three gated metrics share one per cent.
const CONDEMNS: f64 = 3.0 / 0.01;

/// Requests a minute of candidate and baseline on one node, and the rates of bad events.
#[derive(Clone, Copy)]
struct Traffic {
    candidate: u64,
    baseline: u64,
    base_rate: f64,
    ratio: f64,
}

struct Dice(TestRng);

impl Dice {
    fn new(seed: u8) -> Self {
        Self(TestRng::from_seed(RngAlgorithm::ChaCha, &[seed; 32]))
    }

    fn uniform(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Bad ones among so many requests.
    fn bad(&mut self, requests: u64, rate: f64) -> Counts {
        // Skips from one bad event to the next: few draws where they are rare.
        let (mut at, mut bad) = (0.0, 0);
        loop {
            at += 1.0 + (self.uniform().ln() / (1.0 - rate).ln()).floor();
            if at > requests as f64 {
                return Counts { requests, bad };
            }
            bad += 1;
        }
    }
}

/// The minute in which the candidate is condemned.
fn condemned(traffic: Traffic, dice: &mut Dice) -> Option<usize> {
    let mut ratios = LogRatios::default();
    (1..=MINUTES).find(|_| {
        let candidate = dice.bad(traffic.candidate, traffic.base_rate * traffic.ratio);
        let baseline = dice.bad(traffic.baseline, traffic.base_rate);
        ratios.observe(candidate, baseline, TOLERANCE);
        ratios.e_value() >= CONDEMNS
    })
}

fn outcomes(traffic: Traffic, runs: usize, seed: u8) -> Vec<Option<usize>> {
    let mut dice = Dice::new(seed);
    let mut all: Vec<_> = (0..runs).map(|_| condemned(traffic, &mut dice)).collect();
    // Never comes last.
    all.sort_by_key(|minute| minute.unwrap_or(usize::MAX));
    all
}

fn share_condemned(traffic: Traffic, seed: u8) -> f64 {
    const RUNS: usize = 2000;
    let all = outcomes(traffic, RUNS, seed);
    all.iter().flatten().count() as f64 / RUNS as f64
}

fn median_minute(traffic: Traffic, seed: u8) -> usize {
    outcomes(traffic, 501, seed)[250].expect("most runs are condemned")
}

fn add(sum: &mut Counts, more: Counts) {
    sum.requests += more.requests;
    sum.bad += more.bad;
}

const EVEN: Traffic = Traffic { candidate: 50, baseline: 50, base_rate: 0.01, ratio: 1.0 };
const TENTH: Traffic = Traffic { candidate: 50, baseline: 950, base_rate: 0.01, ratio: 1.0 };

#[test]
fn good_candidates_are_condemned_in_less_than_one_run_of_a_thousand() {
    for (seed, traffic) in [EVEN, TENTH, Traffic { base_rate: 0.05, ..EVEN }].into_iter().enumerate() {
        let share = share_condemned(traffic, seed as u8);
        assert!(share <= 0.001, "{share}");
    }
}

#[test]
fn tolerable_candidates_are_condemned_in_less_than_one_run_of_a_hundred() {
    for (seed, traffic) in [EVEN, TENTH, Traffic { base_rate: 0.05, ..EVEN }].into_iter().enumerate() {
        let share = share_condemned(Traffic { ratio: 1.25, ..traffic }, 10 + seed as u8);
        assert!(share <= 0.01, "{share}");
    }
}

#[test]
fn bad_candidates_are_condemned_in_time() {
    let three = median_minute(Traffic { ratio: 3.0, ..EVEN }, 20);
    assert!((30..=42).contains(&three), "three times the rate: minute {three}");
    let ten = median_minute(Traffic { ratio: 10.0, ..EVEN }, 21);
    assert!((3..=5).contains(&ten), "ten times the rate: minute {ten}");
    let five = median_minute(Traffic { ratio: 5.0, ..TENTH }, 22);
    assert!((4..=7).contains(&five), "five times the rate on a twentieth of the requests: minute {five}");
}

/// A reset at each stage of five minutes would let most bad candidates through.
#[test]
fn evidence_is_kept_from_stage_to_stage() {
    const RUNS: usize = 1000;
    let traffic = Traffic { ratio: 3.0, ..EVEN };
    let kept = outcomes(traffic, RUNS, 30).iter().flatten().count();
    let mut dice = Dice::new(31);
    let reset = (0..RUNS)
        .filter(|_| (0..MINUTES / 5).any(|_| condemned(traffic, &mut dice).is_some_and(|minute| minute <= 5)))
        .count();
    assert!(kept * 100 >= RUNS * 80, "{kept}");
    assert!(reset * 100 <= RUNS * 6, "{reset}");
}

/// Nodes differ in their error rates for reasons that are not the candidate: beside other nodes it is judged wrongly, beside
/// the stable revision on the same nodes it is not.
#[test]
fn beside_other_nodes_good_candidates_are_condemned_and_beside_themselves_not() {
    const RUNS: usize = 400;
    const NODES: usize = 60;
    const CANARIES: usize = 3;
    let mut dice = Dice::new(40);
    let (mut unpaired, mut paired) = (0, 0);
    for _ in 0..RUNS {
        // Exponential rates: a coefficient of variation of 1.
        let rates: Vec<f64> = (0..NODES).map(|_| (-dice.uniform().ln() * 0.01).clamp(1e-5, 0.5)).collect();
        let (mut among, mut beside) = (LogRatios::default(), LogRatios::default());
        let (mut among_fails, mut beside_fails) = (false, false);
        for _ in 0..MINUTES {
            let mut canaries = Counts::default();
            let mut others = Counts::default();
            for (node, rate) in rates.iter().enumerate() {
                if node < CANARIES {
                    add(&mut canaries, dice.bad(100, *rate));
                    beside.observe(dice.bad(50, *rate), dice.bad(50, *rate), TOLERANCE);
                } else {
                    add(&mut others, dice.bad(100, *rate));
                }
            }
            among.observe(canaries, others, TOLERANCE);
            among_fails |= among.e_value() >= CONDEMNS;
            beside_fails |= beside.e_value() >= CONDEMNS;
        }
        unpaired += usize::from(among_fails);
        paired += usize::from(beside_fails);
    }
    assert!(unpaired * 100 >= RUNS * 4, "unpaired: {unpaired} of {RUNS}");
    assert!(paired * 1000 <= RUNS * 5, "paired: {paired} of {RUNS}");
}
