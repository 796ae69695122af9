use littoral_proto::v1::{Histogram, Outcome, OutcomeCount};

use super::*;

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_millis(seconds * 1000)
}

fn counters(function: &str, ok: u64, index: &[u32]) -> FunctionWindow {
    FunctionWindow {
        function: function.into(),
        revision: 1,
        trigger: "http".into(),
        outcomes: vec![OutcomeCount { outcome: Outcome::Ok.into(), count: ok }],
        latency: Some(Histogram {
            grouping_power: 5,
            max_value_power: 40,
            index: index.to_vec(),
            count: vec![1; index.len()],
        }),
    }
}

fn one_window(stats: &Stats, seconds: u64) {
    stats.add(vec![counters("a", 1, &[1])], at(seconds));
    stats.close(at(seconds));
}

fn sequences(stats: &Stats) -> Vec<u64> {
    stats.pending(usize::MAX, usize::MAX).iter().map(|window| window.sequence).collect()
}

#[test]
fn counters_of_one_function_are_merged_into_one_window() {
    let stats = Stats::new("boot");
    stats.add(vec![counters("a", 2, &[3, 7])], at(1));
    stats.add(vec![counters("a", 1, &[5, 7]), counters("b", 1, &[1])], at(2));
    assert!(stats.pending(9, usize::MAX).is_empty(), "it is still open");
    stats.close(at(3));
    let windows = stats.pending(9, usize::MAX);
    let [window] = windows.as_slice() else { panic!("{windows:?}") };
    assert_eq!((window.start_ms, window.end_ms, window.sequence), (1000, 3000, 1));
    let [a, b] = window.functions.as_slice() else { panic!("{window:?}") };
    assert_eq!((a.outcomes[0].count, b.outcomes[0].count), (3, 1));
    let latency = a.latency.as_ref().unwrap();
    assert_eq!((latency.index.as_slice(), latency.count.as_slice()), (&[3, 5, 7][..], &[1, 1, 2][..]));
}

#[test]
fn a_span_without_requests_is_no_window_and_a_long_one_closes_itself() {
    let stats = Stats::new("boot");
    stats.add(vec![counters("a", 0, &[])], at(1));
    stats.close(at(2));
    assert!(sequences(&stats).is_empty());
    stats.add(vec![counters("a", 1, &[1])], at(10));
    stats.add(vec![counters("a", 1, &[1])], at(69));
    assert!(sequences(&stats).is_empty());
    stats.add(vec![counters("a", 1, &[1])], at(70));
    assert_eq!(sequences(&stats), [1]);
}

#[test]
fn an_acknowledgement_of_this_boot_forgets_all_up_to_it() {
    let stats = Stats::new("boot");
    for second in 1..=4 {
        one_window(&stats, second);
    }
    assert!(stats.acknowledge("another boot", 4));
    assert_eq!(sequences(&stats), [1, 2, 3, 4]);
    assert!(stats.acknowledge("boot", 3));
    assert_eq!(sequences(&stats), [4]);
    assert!(!stats.acknowledge("boot", 4));
    assert_eq!(stats.backlog_bytes(), 0);
}

#[test]
fn an_endless_outage_drops_the_oldest_and_counts_them() {
    let stats = Stats::new("boot");
    for second in 0..u64::try_from(MAX_WINDOWS).unwrap() + 3 {
        one_window(&stats, second);
    }
    assert_eq!(sequences(&stats).len(), MAX_WINDOWS);
    assert_eq!(sequences(&stats)[0], 4);
    assert_eq!(stats.dropped(), 3);
}

#[test]
fn reports_are_bounded_in_number_and_bytes_but_never_stall() {
    let stats = Stats::new("boot");
    for second in 1..=5 {
        one_window(&stats, second);
    }
    assert_eq!(stats.pending(2, usize::MAX).len(), 2);
    assert_eq!(stats.pending(5, 1).len(), 1, "even when the first is larger than the budget");
    let size = stats.backlog_bytes() / 5;
    assert_eq!(stats.pending(5, size * 3).len(), 3);
}

#[test]
fn a_window_of_very_many_functions_is_split() {
    let stats = Stats::new("boot");
    let wide: Vec<u32> = (0..400).collect();
    let many = (0..900).map(|n| counters(&format!("function-{n}"), 1, &wide)).collect();
    stats.add(many, at(1));
    stats.close(at(2));
    let windows = stats.pending(usize::MAX, usize::MAX);
    assert!(windows.len() > 1);
    assert!(windows.iter().all(|window| window.encoded_len() <= MAX_WINDOW_BYTES + 200));
    assert_eq!(windows.iter().map(|window| window.functions.len()).sum::<usize>(), 900);
}
