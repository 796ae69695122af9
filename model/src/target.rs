//! Kinds of CPU that artifacts are compiled for.

use std::fmt;
use std::str::FromStr;

/// Instruction set and level. A level includes all lower ones of its architecture.
///
/// x86-64 levels are those of the System V psABI; `aarch64-v8.1` is ARMv8.1-A, which brings the atomics of LSE.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cpu {
    X86_64V1,
    X86_64V2,
    X86_64V3,
    X86_64V4,
    Aarch64V80,
    Aarch64V81,
}

/// How linear memories are laid out in the address space; compiled into the artifact.
///
/// `Wide` reserves 4 GiB a memory and elides bounds checks. `Narrow` reserves little and may move a memory when it
/// grows: for hosts with 39-bit address spaces and for emulators.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MemoryClass {
    Narrow,
    Wide,
}

/// What an artifact is compiled for, and what a node can run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Target {
    pub cpu: Cpu,
    pub memory: MemoryClass,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Arch {
    X86_64,
    Aarch64,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "`{0}` is not a target: it is a CPU level (x86_64-v1 to x86_64-v4, aarch64-v8.0, aarch64-v8.1) and -wide or -narrow"
)]
pub struct BadTarget(String);

impl Cpu {
    pub const ALL: [Self; 6] =
        [Self::X86_64V1, Self::X86_64V2, Self::X86_64V3, Self::X86_64V4, Self::Aarch64V80, Self::Aarch64V81];

    pub const fn arch(self) -> Arch {
        match self {
            Self::X86_64V1 | Self::X86_64V2 | Self::X86_64V3 | Self::X86_64V4 => Arch::X86_64,
            Self::Aarch64V80 | Self::Aarch64V81 => Arch::Aarch64,
        }
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::X86_64V1 => "x86_64-v1",
            Self::X86_64V2 => "x86_64-v2",
            Self::X86_64V3 => "x86_64-v3",
            Self::X86_64V4 => "x86_64-v4",
            Self::Aarch64V80 => "aarch64-v8.0",
            Self::Aarch64V81 => "aarch64-v8.1",
        }
    }

    /// Whether a host of this level runs code that needs `code`.
    pub fn runs(self, code: Self) -> bool {
        self.arch() == code.arch() && self >= code
    }

    /// The level that artifacts for a host of this level are compiled for: v2 and v4 add too little over v1 and v3
    /// to be worth two more artifacts a module.
    pub const fn compiled_as(self) -> Self {
        match self {
            Self::X86_64V1 | Self::X86_64V2 => Self::X86_64V1,
            Self::X86_64V3 | Self::X86_64V4 => Self::X86_64V3,
            Self::Aarch64V80 => Self::Aarch64V80,
            Self::Aarch64V81 => Self::Aarch64V81,
        }
    }
}

impl Arch {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Aarch64 => "aarch64",
        }
    }
}

impl Target {
    /// Every target that the control plane compiles for.
    pub fn compiled() -> impl Iterator<Item = Self> {
        let levels = Cpu::ALL.into_iter().filter(|cpu| cpu.compiled_as() == *cpu);
        levels.flat_map(|cpu| [MemoryClass::Wide, MemoryClass::Narrow].map(|memory| Self { cpu, memory }))
    }

    /// The artifact target that serves a node whose own target is `self`.
    pub const fn compiled_as(self) -> Self {
        Self { cpu: self.cpu.compiled_as(), memory: self.memory }
    }

    /// Whether a node of target `self` may map an artifact of target `artifact`.
    ///
    /// Memory classes never mix: the layout is compiled in.
    pub fn runs(self, artifact: Self) -> bool {
        self.memory == artifact.memory && self.cpu.runs(artifact.cpu)
    }
}

impl fmt::Display for Cpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Display for MemoryClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Wide => "wide",
            Self::Narrow => "narrow",
        })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}-{}", self.cpu.as_str(), self.memory))
    }
}

impl FromStr for Cpu {
    type Err = BadTarget;

    fn from_str(text: &str) -> Result<Self, BadTarget> {
        let bad = || BadTarget(text.chars().take(40).collect());
        Self::ALL.into_iter().find(|cpu| cpu.as_str() == text).ok_or_else(bad)
    }
}

impl FromStr for Target {
    type Err = BadTarget;

    fn from_str(text: &str) -> Result<Self, BadTarget> {
        let bad = || BadTarget(text.chars().take(40).collect());
        let (cpu, memory) = text.rsplit_once('-').ok_or_else(bad)?;
        let memory = match memory {
            "wide" => MemoryClass::Wide,
            "narrow" => MemoryClass::Narrow,
            _ => return Err(bad()),
        };
        Ok(Self { cpu: cpu.parse().map_err(|_| bad())?, memory })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_compiled_target_reads_back() {
        let all: Vec<Target> = Target::compiled().collect();
        assert_eq!(all.len(), 8);
        for target in all {
            assert_eq!(target.to_string().parse(), Ok(target));
            assert_eq!(target.compiled_as(), target);
        }
    }

    #[test]
    fn code_never_runs_on_a_lower_level_another_architecture_or_another_memory_class() {
        let target = |text: &str| text.parse::<Target>().unwrap();
        assert!(target("x86_64-v3-wide").runs(target("x86_64-v1-wide")));
        assert!(!target("x86_64-v1-wide").runs(target("x86_64-v3-wide")));
        assert!(!target("aarch64-v8.0-wide").runs(target("aarch64-v8.1-wide")));
        assert!(!target("aarch64-v8.1-wide").runs(target("x86_64-v1-wide")));
        assert!(!target("x86_64-v3-wide").runs(target("x86_64-v1-narrow")));
    }

    #[test]
    fn every_host_runs_what_is_compiled_for_it() {
        for cpu in Cpu::ALL {
            for memory in [MemoryClass::Wide, MemoryClass::Narrow] {
                let host = Target { cpu, memory };
                assert!(host.runs(host.compiled_as()));
            }
        }
    }
}
