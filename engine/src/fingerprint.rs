//! A name for the engine configuration.

use std::fmt::Write as _;

use littoral_model::target::{Cpu, MemoryClass, Target};
use sha2::{Digest as _, Sha256};

use crate::cpu;
use crate::settings::{Settings, WASMTIME};

/// Enough that two configurations never share one by chance; short enough to read.
const DIGITS: usize = 16;

/// Names the engine that compiles for `target` and the one that runs it: wasmtime's release and 16 hexadecimal
/// digits over every setting that is compiled in. The same for all CPU levels of one memory class.
pub fn fingerprint(target: Target) -> String {
    of_class(target.memory)
}

pub(crate) fn of_class(memory: MemoryClass) -> String {
    let digest = hex::encode(Sha256::digest(describe(memory)));
    format!("wasmtime-{WASMTIME}-{memory}-{}", &digest[..DIGITS])
}

fn describe(memory: MemoryClass) -> String {
    let mut text = format!("wasmtime {WASMTIME}\n{:?}\n", Settings::of(memory));
    for level in Cpu::ALL {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{level} {} {}", cpu::triple(level), cpu::flags(level).join(" "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differs_by_memory_class_only() {
        let named = |text: &str| fingerprint(text.parse().unwrap());
        assert_ne!(named("x86_64-v3-wide"), named("x86_64-v3-narrow"));
        assert_eq!(named("x86_64-v3-wide"), named("aarch64-v8.0-wide"));
        assert!(named("x86_64-v1-wide").starts_with("wasmtime-48.0.8-wide-"));
    }

    #[test]
    fn covers_every_setting() {
        let text = describe(MemoryClass::Narrow);
        for part in ["memory_reservation: 16777216", "epoch_interruption: true", "RELAXED_SIMD", "has_lse"] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
    }
}
