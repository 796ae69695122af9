//! Kinds of machine, by the CPU that is emulated.

use std::path::PathBuf;

use harness::fleet::Machine;
use harness::process::program;

/// The agent for ARM.
const AGENT: &str = "LITTORAL_ARM_AGENT";
/// Of the host: a worker of the same architecture is not emulated unless it is asked for.
const X86_EMULATOR: &str = "/usr/bin/qemu-x86_64-static";

/// ARMv8.0: a Raspberry Pi 3.
pub fn cortex_a53() -> Machine {
    arm("cortex-a53")
}

/// ARMv8.2, with LSE: most servers.
pub fn neoverse_n1() -> Machine {
    arm("neoverse-n1")
}

/// The kernel starts qemu for it, and for its worker.
fn arm(cpu: &str) -> Machine {
    let agent = std::env::var_os(AGENT);
    let agent = agent.unwrap_or_else(|| panic!("{AGENT} is not set: start this with integration-tests/arm"));
    Machine { program: PathBuf::from(agent), args: Vec::new(), env: vec![("QEMU_CPU", cpu.into())] }
}

/// x86-64 of 2008: v2, without AVX.
pub fn nehalem() -> Machine {
    Machine {
        program: X86_EMULATOR.into(),
        args: vec![program("it-agent").into()],
        env: vec![("QEMU_CPU", "Nehalem".into()), ("LITTORAL_TEST_EMULATOR", X86_EMULATOR.into())],
    }
}

/// This one, with no more addresses than a kernel for boards gives: 39 bits. They are enough for everything but the pool.
pub fn few_addresses() -> Machine {
    let here = Machine::here();
    let script = "ulimit -v 536870912; exec \"$0\" \"$@\"";
    let args = vec!["-c".into(), script.into(), here.program.into()];
    Machine { program: "/bin/sh".into(), args, env: Vec::new() }
}
