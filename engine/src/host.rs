//! What this machine can run.

use littoral_model::target::{Cpu, MemoryClass, Target};
use wasmtime::Engine;

use crate::pool::Pool;
use crate::runtime::pooled_config;

/// Reserving address space costs next to nothing where the kernel does it. An emulator pays about 25 MB a memory.
const CHEAP: u64 = 64 << 20;

/// This machine's CPU level and `memory`.
pub fn host_target(memory: MemoryClass) -> Target {
    Target { cpu: host_cpu(), memory }
}

/// The highest CPU level that this machine has all features of. Asked from the CPU: `/proc/cpuinfo` shows another
/// one under emulation.
#[cfg(target_arch = "x86_64")]
pub fn host_cpu() -> Cpu {
    use std::arch::is_x86_feature_detected as has;
    let v2 = has!("sse3")
        && has!("ssse3")
        && has!("sse4.1")
        && has!("sse4.2")
        && has!("popcnt")
        && has!("cmpxchg16b");
    let v3 = v2
        && has!("avx")
        && has!("avx2")
        && has!("bmi1")
        && has!("bmi2")
        && has!("f16c")
        && has!("fma")
        && has!("lzcnt")
        && has!("movbe");
    let v4 =
        v3 && has!("avx512f") && has!("avx512bw") && has!("avx512cd") && has!("avx512dq") && has!("avx512vl");
    match (v2, v3, v4) {
        (_, _, true) => Cpu::X86_64V4,
        (_, true, _) => Cpu::X86_64V3,
        (true, _, _) => Cpu::X86_64V2,
        _ => Cpu::X86_64V1,
    }
}

/// The highest CPU level that this machine has all features of.
#[cfg(target_arch = "aarch64")]
pub fn host_cpu() -> Cpu {
    if std::arch::is_aarch64_feature_detected!("lse") { Cpu::Aarch64V81 } else { Cpu::Aarch64V80 }
}

/// `Wide` where the smallest pool can be reserved and costs no memory; otherwise `Narrow`. Reserves and releases
/// half a terabyte of addresses, in a millisecond.
pub fn probe_memory_class() -> MemoryClass {
    // A sample first: an emulator would take seconds and gigabytes for the whole, and give them back to nobody.
    match is_cheap(Pool::sample()) && is_cheap(Pool::smallest()) {
        true => MemoryClass::Wide,
        false => MemoryClass::Narrow,
    }
}

fn is_cheap(pool: Pool) -> bool {
    let before = resident();
    let engine = pooled_config(pool).and_then(|config| Engine::new(&config));
    engine.is_ok_and(|_engine| resident().saturating_sub(before) < CHEAP)
}

/// Whether the kernel can tell which pages a guest wrote to (Linux 6.7), which makes resetting an instance cheap. A
/// process that confines itself must ask before: the answer comes with an open descriptor that later engines use.
pub fn has_pagemap_scan() -> bool {
    wasmtime::PoolingAllocationConfig::is_pagemap_scan_available()
}

/// Resident memory of this process, bytes; 0 where the kernel does not tell.
fn resident() -> u64 {
    // Not `statm`: it counts in pages, which have 4, 16 or 64 KiB on ARM.
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kib.unwrap_or(0) << 10
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_runs_the_baseline_of_its_architecture() {
        let baseline = if cfg!(target_arch = "x86_64") { Cpu::X86_64V1 } else { Cpu::Aarch64V80 };
        assert!(host_cpu().runs(baseline));
        assert!(resident() > 0);
    }
}
