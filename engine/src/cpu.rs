//! CPU levels in the compiler's terms.

use littoral_model::target::{Arch, Cpu};

const X86_64_V2: &[&str] =
    &["has_cmpxchg16b", "has_sse3", "has_ssse3", "has_sse41", "has_sse42", "has_popcnt"];
const X86_64_V3: &[&str] = &["has_avx", "has_avx2", "has_bmi1", "has_bmi2", "has_fma", "has_lzcnt"];
const X86_64_V4: &[&str] = &["has_avx512f", "has_avx512dq", "has_avx512vl"];
const AARCH64_V8_1: &[&str] = &["has_lse"];

/// The flags that code for `cpu` may rely on, over the baseline of its architecture.
pub(crate) fn flags(cpu: Cpu) -> Vec<&'static str> {
    let groups: &[&[&str]] = match cpu {
        Cpu::X86_64V1 | Cpu::Aarch64V80 => &[],
        Cpu::X86_64V2 => &[X86_64_V2],
        Cpu::X86_64V3 => &[X86_64_V2, X86_64_V3],
        Cpu::X86_64V4 => &[X86_64_V2, X86_64_V3, X86_64_V4],
        Cpu::Aarch64V81 => &[AARCH64_V8_1],
    };
    groups.concat()
}

pub(crate) fn triple(cpu: Cpu) -> &'static str {
    match cpu.arch() {
        Arch::X86_64 => "x86_64-unknown-linux-gnu",
        Arch::Aarch64 => "aarch64-unknown-linux-gnu",
    }
}
