//! What every node provides.

/// Functions of WASI preview 1.
const PREVIEW_1: &[&str] = &[
    "args_get",
    "args_sizes_get",
    "clock_res_get",
    "clock_time_get",
    "environ_get",
    "environ_sizes_get",
    "fd_advise",
    "fd_allocate",
    "fd_close",
    "fd_datasync",
    "fd_fdstat_get",
    "fd_fdstat_set_flags",
    "fd_fdstat_set_rights",
    "fd_filestat_get",
    "fd_filestat_set_size",
    "fd_filestat_set_times",
    "fd_pread",
    "fd_prestat_dir_name",
    "fd_prestat_get",
    "fd_pwrite",
    "fd_read",
    "fd_readdir",
    "fd_renumber",
    "fd_seek",
    "fd_sync",
    "fd_tell",
    "fd_write",
    "path_create_directory",
    "path_filestat_get",
    "path_filestat_set_times",
    "path_link",
    "path_open",
    "path_readlink",
    "path_remove_directory",
    "path_rename",
    "path_symlink",
    "path_unlink_file",
    "poll_oneoff",
    "proc_exit",
    "proc_raise",
    "random_get",
    "sched_yield",
    "sock_accept",
    "sock_recv",
    "sock_send",
    "sock_shutdown",
];
pub(super) const PREVIEW_1_MODULE: &str = "wasi_snapshot_preview1";

/// Interfaces of WASI 0.2. They are there for every component; what they let it do is decided by its capabilities.
const PREVIEW_2: &[&str] = &[
    "wasi:cli/environment",
    "wasi:cli/exit",
    "wasi:cli/stderr",
    "wasi:cli/stdin",
    "wasi:cli/stdout",
    "wasi:cli/terminal-input",
    "wasi:cli/terminal-output",
    "wasi:cli/terminal-stderr",
    "wasi:cli/terminal-stdin",
    "wasi:cli/terminal-stdout",
    "wasi:clocks/monotonic-clock",
    "wasi:clocks/wall-clock",
    "wasi:filesystem/preopens",
    "wasi:filesystem/types",
    "wasi:http/outgoing-handler",
    "wasi:http/types",
    "wasi:io/error",
    "wasi:io/poll",
    "wasi:io/streams",
    "wasi:random/insecure",
    "wasi:random/insecure-seed",
    "wasi:random/random",
    "wasi:sockets/instance-network",
    "wasi:sockets/ip-name-lookup",
    "wasi:sockets/network",
    "wasi:sockets/tcp",
    "wasi:sockets/tcp-create-socket",
    "wasi:sockets/udp",
    "wasi:sockets/udp-create-socket",
];

/// An interface of WASI at a version: `wasi:http/types@0.2.3` is `("wasi:http/types", Level::P2)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    P2,
    P3,
    Other,
}

pub(super) fn provides_p1(function: &str) -> bool {
    PREVIEW_1.binary_search(&function).is_ok()
}

/// Whether nodes have this instance.
pub(super) fn provides_p2(instance: &str) -> bool {
    let (interface, level) = split(instance);
    level == Level::P2 && PREVIEW_2.binary_search(&interface).is_ok()
}

/// Name without version, and what the version means if it is WASI's.
pub(super) fn split(instance: &str) -> (&str, Level) {
    let (interface, version) = instance.split_once('@').unwrap_or((instance, ""));
    if !interface.starts_with("wasi:") {
        return (interface, Level::Other);
    }
    let level = match version {
        v if v == "0.2" || v.starts_with("0.2.") => Level::P2,
        v if v == "0.3" || v.starts_with("0.3.") => Level::P3,
        _ => Level::Other,
    };
    (interface, level)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lists_are_sorted_and_versions_are_told_apart() {
        assert!(PREVIEW_1.is_sorted() && PREVIEW_2.is_sorted());
        assert!(provides_p1("fd_write") && !provides_p1("thread_spawn"));
        assert!(provides_p2("wasi:http/types@0.2.12"));
        for none in
            ["wasi:http/types", "wasi:http/types@0.3.0", "wasi:http/types@0.1.0", "wasi:nn/tensor@0.2.0"]
        {
            assert!(!provides_p2(none), "{none}");
        }
        assert_eq!(split("wasi:http/handler@0.3.0-rc-2025").1, Level::P3);
        assert_eq!(split("shop:cart/cart@0.2.0").1, Level::Other);
    }
}
