//! What a container or a service manager leaves this process of the machine's memory.

use std::path::{Path, PathBuf};

use super::read_at;

/// One group's limit and what it has in use, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limited {
    pub limit: u64,
    pub used: u64,
}

/// The two layouts: where groups are, and their files.
struct Layout {
    mount: &'static str,
    /// What precedes the path of a group in `/proc/self/cgroup`, after the number.
    controller: &'static str,
    limit: &'static str,
    usage: &'static str,
    /// Key in `memory.stat` of file pages that could be had again at once.
    reclaimable: &'static str,
}

const V2: Layout = Layout {
    mount: "sys/fs/cgroup",
    controller: "",
    limit: "memory.max",
    usage: "memory.current",
    reclaimable: "inactive_file",
};
const V1: Layout = Layout {
    mount: "sys/fs/cgroup/memory",
    controller: "memory",
    limit: "memory.limit_in_bytes",
    usage: "memory.usage_in_bytes",
    reclaimable: "total_inactive_file",
};

/// The tightest limit among this process's group and those around it; `None` where there is none. `root` is `/`.
pub(super) fn memory(root: &Path) -> Option<Limited> {
    let groups = read_at(&root.join("proc/self/cgroup"))?;
    let found = [V2, V1].into_iter().flat_map(|layout| limits(root, &groups, &layout));
    found.min_by_key(|group| group.limit)
}

fn limits(root: &Path, groups: &str, layout: &Layout) -> Vec<Limited> {
    let own = groups.lines().find_map(|line| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        controllers.split(',').any(|one| one == layout.controller).then(|| path.trim_start_matches('/'))
    });
    let Some(own) = own else { return Vec::new() };
    let mount = root.join(layout.mount);
    // A container may see its own group as the root, under a path that is the machine's: what is not there is passed over.
    let folders = Path::new(own).ancestors().map(|group| mount.join(group));
    folders.filter_map(|folder| limited(&folder, layout)).collect()
}

fn limited(folder: &Path, layout: &Layout) -> Option<Limited> {
    let number = |path: PathBuf| read_at(&path)?.trim().parse::<u64>().ok();
    // `max` is no number, and no limit.
    let limit = number(folder.join(layout.limit))?;
    let usage = number(folder.join(layout.usage)).unwrap_or(0);
    let stat = read_at(&folder.join("memory.stat")).unwrap_or_default();
    let reclaimable = stat.lines().find_map(|line| {
        let (key, value) = line.split_once(' ')?;
        (key == layout.reclaimable).then(|| value.trim().parse::<u64>().ok())?
    });
    Some(Limited { limit, used: usage.saturating_sub(reclaimable.unwrap_or(0)) })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn machine(files: &[(&str, &str)]) -> Option<Limited> {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        memory(dir.path())
    }

    #[test]
    fn a_container_of_either_layout_has_its_limit_and_not_the_machines() {
        let v2 = machine(&[
            ("proc/self/cgroup", "0::/\n"),
            ("sys/fs/cgroup/memory.max", "268435456\n"),
            ("sys/fs/cgroup/memory.current", "104857600\n"),
            ("sys/fs/cgroup/memory.stat", "anon 1\ninactive_file 4194304\n"),
        ]);
        assert_eq!(v2, Some(Limited { limit: 256 * MIB, used: 96 * MIB }));
        let v1 = machine(&[
            ("proc/self/cgroup", "5:cpu,cpuacct:/docker/x\n4:memory:/docker/x\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "268435456\n"),
            ("sys/fs/cgroup/memory/memory.usage_in_bytes", "104857600\n"),
        ]);
        assert_eq!(v1, Some(Limited { limit: 256 * MIB, used: 100 * MIB }));
    }

    #[test]
    fn a_service_has_the_tightest_limit_of_its_slices() {
        let limits = |unit: &str, slice: &str| {
            machine(&[
                ("proc/self/cgroup", "0::/edge.slice/agent.service\n"),
                ("sys/fs/cgroup/edge.slice/memory.max", slice),
                ("sys/fs/cgroup/edge.slice/agent.service/memory.max", unit),
            ])
        };
        assert_eq!(limits("268435456\n", "536870912\n").unwrap().limit, 256 * MIB);
        assert_eq!(limits("max\n", "536870912\n").unwrap().limit, 512 * MIB);
        assert_eq!(limits("max\n", "max\n"), None);
        assert_eq!(machine(&[]), None);
    }
}
