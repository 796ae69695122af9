//! What the compiler's process takes away from itself before it reads the module.

use std::io;

use landlock::{ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr};
use rustix::process::{Resource, Rlimit, Signal};
use rustix::thread::UnshareFlags;

/// Lets the control plane answer requests while all cores compile.
const NICENESS: i32 = 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    /// Address space.
    pub(super) memory_bytes: u64,
    pub(super) cpu_seconds: u64,
}

/// Sets the limits, which must work, and shuts off files and network as far as the kernel allows.
///
/// # Errors
/// When a limit cannot be set.
pub(super) fn apply(limits: &Limits) -> io::Result<()> {
    // A parent that was killed cannot stop its child.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    limit(Resource::As, limits.memory_bytes)?;
    limit(Resource::Cpu, limits.cpu_seconds)?;
    // Native code leaves through a pipe: there is no file to write, and a core dump would be one.
    limit(Resource::Fsize, 0)?;
    limit(Resource::Core, 0)?;
    // May be forbidden; then it competes as an equal.
    let _ = rustix::process::nice(NICENESS);
    leave_network();
    close_file_system();
    Ok(())
}

fn limit(resource: Resource, most: u64) -> io::Result<()> {
    let inherited = rustix::process::getrlimit(resource).maximum.unwrap_or(u64::MAX);
    let most = Some(most.min(inherited));
    Ok(rustix::process::setrlimit(resource, Rlimit { current: most, maximum: most })?)
}

/// Into a network namespace without any interface. A user namespace comes with it where one is needed for that.
#[expect(
    deprecated,
    reason = "its safe form: descriptors stay shared, which is what the unsafe one warns of"
)]
fn leave_network() {
    let alone = rustix::thread::unshare(UnshareFlags::NEWNET);
    // Some kernels forbid both; the limits and landlock hold all the same.
    let _ = alone.or_else(|_| rustix::thread::unshare(UnshareFlags::NEWUSER | UnshareFlags::NEWNET));
}

/// No file can be opened and no socket connected from here on; the pipes are open already.
fn close_file_system() {
    let abi = ABI::V5;
    let ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(abi))
        .and_then(|ruleset| ruleset.handle_access(AccessNet::from_all(abi)))
        .and_then(Ruleset::create);
    // A kernel without landlock: the child is then a process with limits and no more.
    if let Ok(ruleset) = ruleset {
        let _ = ruleset.restrict_self();
    }
}
