//! The worker gives up what it does not need, before it touches anything that came from outside.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use landlock::{
    ABI, Access, AccessFs, PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetStatus,
};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch};

/// What a worker never does: start programs, look into other processes, change mounts, namespaces, the kernel or the
/// clock, open connections. It is a list of what is refused, not of what is allowed: an unknown call of a newer C
/// library must not stop a node.
const REFUSED: &[libc::c_long] = &[
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_getfd,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_setns,
    libc::SYS_unshare,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_open_by_handle_at,
    libc::SYS_personality,
    libc::SYS_connect,
];

/// How far the kernel let this process confine itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Confinement {
    None,
    Landlock,
    LandlockAndSeccomp,
}

impl fmt::Display for Confinement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Landlock => "landlock",
            Self::LandlockAndSeccomp => "landlock+seccomp",
        })
    }
}

/// Confines the calling thread and all that it starts from now on: files can be read in `cache` alone and written
/// nowhere. Never fails: an old kernel gives a lower level, and the node says which.
pub(crate) fn confine(cache: &Path) -> Confinement {
    let landlocked = landlock(cache);
    if let Err(error) = &landlocked {
        tracing::warn!("the worker is not confined by landlock: {error}");
    }
    let filtered = seccomp();
    if let Err(error) = &filtered {
        tracing::warn!("the worker is not confined by seccomp: {error}");
    }
    match (landlocked, filtered) {
        (Ok(()), Ok(())) => Confinement::LandlockAndSeccomp,
        (Ok(()), Err(_)) => Confinement::Landlock,
        // The filter alone leaves all files open: that is not to be called confined.
        (Err(_), _) => Confinement::None,
    }
}

fn landlock(cache: &Path) -> Result<(), Box<dyn std::error::Error>> {
    // Enforced as far as the kernel knows them.
    let all = AccessFs::from_all(ABI::V5);
    let cache = PathBeneath::new(PathFd::new(cache)?, AccessFs::ReadFile | AccessFs::ReadDir);
    let status = Ruleset::default().handle_access(all)?.create()?.add_rule(cache)?.restrict_self()?;
    if status.ruleset == RulesetStatus::NotEnforced {
        return Err("this kernel was built without it, or did not switch it on at boot".into());
    }
    Ok(())
}

fn seccomp() -> Result<(), Box<dyn std::error::Error>> {
    let arch: TargetArch = std::env::consts::ARCH.try_into()?;
    let refused: BTreeMap<i64, Vec<_>> = REFUSED.iter().map(|call| (*call, Vec::new())).collect();
    let refuse = SeccompAction::Errno(libc::EPERM as u32);
    let filter = SeccompFilter::new(refused, SeccompAction::Allow, refuse, arch)?;
    let program: BpfProgram = filter.try_into()?;
    Ok(seccompiler::apply_filter(&program)?)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::ErrorKind;
    use std::process::Command;

    use super::*;

    /// How far this machine confines: everything, unless it is told otherwise. Under qemu it is `none`, which has neither
    /// landlock nor seccomp.
    fn expected() -> String {
        std::env::var("LITTORAL_TEST_CONFINEMENT").unwrap_or_else(|_| "landlock+seccomp".into())
    }

    /// On a thread of its own: confinement is for ever.
    #[test]
    fn reads_the_cache_and_nothing_else_and_starts_no_program() {
        let dir = tempfile::tempdir().unwrap();
        let (cache, outside) = (dir.path().join("cache"), dir.path().join("outside"));
        fs::create_dir(&cache).unwrap();
        fs::write(cache.join("artifact"), "code").unwrap();
        fs::write(&outside, "secret").unwrap();

        let thread = std::thread::spawn(move || {
            let level = confine(&cache);
            assert_eq!(level.to_string(), expected(), "if it is right, set LITTORAL_TEST_CONFINEMENT to it");
            if level == Confinement::None {
                assert_eq!(fs::read(&outside).unwrap(), b"secret", "it says that nothing is confined");
                return;
            }
            let denied = |result: std::io::Result<()>| {
                assert_eq!(result.unwrap_err().kind(), ErrorKind::PermissionDenied);
            };
            assert_eq!(fs::read(cache.join("artifact")).unwrap(), b"code");
            denied(fs::read(&outside).map(drop));
            denied(fs::write(cache.join("artifact"), "other"));
            denied(fs::write(cache.join("new"), "x"));
            if level == Confinement::LandlockAndSeccomp {
                denied(Command::new("/bin/true").status().map(drop));
                denied(std::net::TcpStream::connect("127.0.0.1:1").map(drop));
            }
        });
        thread.join().unwrap();
    }
}
