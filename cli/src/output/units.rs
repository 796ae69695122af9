//! Numbers as people read them.

use std::collections::BTreeMap;
use std::time::Duration;

use littoral_model::time::Timestamp;

/// How long ago, as `45s`, `5m`, `3h`, `2d`; `-` for never.
pub(crate) fn age(now: Timestamp, at_ms: u64) -> String {
    if at_ms == 0 {
        return "-".into();
    }
    span(now.since(Timestamp::from_millis(at_ms)))
}

/// How long until; `expired` when it is past.
pub(crate) fn until(now: Timestamp, at_ms: u64) -> String {
    let at = Timestamp::from_millis(at_ms);
    if at_ms == 0 {
        return "-".into();
    }
    if at <= now { "expired".into() } else { span(at.since(now)) }
}

fn span(span: Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7_200 => format!("{}m", seconds / 60),
        7_200..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// RFC 3339, or nothing for never.
pub(crate) fn time(at_ms: u64) -> Option<String> {
    (at_ms != 0).then(|| Timestamp::from_millis(at_ms).to_string())
}

/// `68.4 KiB`.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut tenths = u128::from(bytes) * 10 / 1024;
    let mut unit = 0;
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
}

/// `850 µs`, `1.2 ms`, `3.4 s`; `-` for zero, which stands for "not measured".
pub(crate) fn micros(micros: u64) -> String {
    match micros {
        0 => "-".into(),
        1..1_000 => format!("{micros} µs"),
        1_000..1_000_000 => format!("{}.{} ms", micros / 1_000, micros / 100 % 10),
        _ => format!("{}.{} s", micros / 1_000_000, micros / 100_000 % 10),
    }
}

/// `a=1,b=2`, in order of the keys.
pub(crate) fn labels(labels: &BTreeMap<String, String>) -> String {
    let pairs: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    pairs.join(",")
}

/// `1 node`, `3 nodes`.
pub(crate) fn count(n: u64, noun: &str) -> String {
    if n == 1 { format!("1 {noun}") } else { format!("{n} {noun}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_short() {
        let now = Timestamp::from_millis(1_000_000_000);
        for (ago, text) in [(45, "45s"), (300, "5m"), (10_800, "3h"), (200_000, "2d")] {
            assert_eq!(age(now, now.as_millis() - ago * 1000), text);
        }
        assert_eq!(age(now, 0), "-");
        assert_eq!(age(now, now.as_millis() + 5000), "0s");
        assert_eq!(until(now, now.as_millis() + 600_000), "10m");
        assert_eq!(until(now, 5), "expired");
    }

    #[test]
    fn sizes_and_latencies() {
        for (bytes, text) in
            [(0, "0 B"), (1023, "1023 B"), (70_063, "68.4 KiB"), (3 << 20, "3.0 MiB"), (1 << 30, "1.0 GiB")]
        {
            assert_eq!(size(bytes), text);
        }
        assert_eq!(size(u64::MAX), "16777215.9 TiB");
        for (us, text) in [(0, "-"), (850, "850 µs"), (1_250, "1.2 ms"), (3_400_000, "3.4 s")] {
            assert_eq!(micros(us), text);
        }
    }
}
