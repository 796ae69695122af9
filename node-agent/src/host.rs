//! What the machine is doing, from `/proc`; in a container or a limited service, what that leaves of it.

mod cgroup;

use std::path::Path;

use littoral_platform::files;

/// `/proc/stat` of a machine with many cores and interrupts.
const MAX_PROC_FILE: usize = 1 << 20;

/// Processor time since the start of the machine, in ticks, over all cores.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct CpuTimes {
    busy: u64,
    total: u64,
}

/// Measures the load between two looks.
#[derive(Debug, Default)]
pub(crate) struct CpuMeter {
    last: CpuTimes,
}

impl CpuMeter {
    /// Of all cores, in thousandths, since the last call (since the start of the machine at the first); 0 where the
    /// kernel does not tell.
    pub(crate) fn permille(&mut self) -> u32 {
        let Some(now) = read("/proc/stat").and_then(|text| cpu_times(&text)) else { return 0 };
        let permille = permille_between(self.last, now);
        self.last = now;
        permille
    }
}

/// Bytes in use of the memory that [`memory_total`] tells; what could be had again at once (caches) does not count.
pub(crate) fn memory_used() -> u64 {
    if let Some(group) = limited() {
        return group.used;
    }
    read("/proc/meminfo").and_then(|text| memory_used_of(&text)).unwrap_or(0)
}

/// Resident bytes of this process.
pub(crate) fn own_rss() -> u64 {
    let pages = |text: String| text.split_whitespace().nth(1)?.parse::<u64>().ok();
    read("/proc/self/statm").and_then(pages).unwrap_or(0).saturating_mul(rustix::param::page_size() as u64)
}

/// Bytes of memory that this process and its children may have: the machine's, or a container's.
pub(crate) fn memory_total() -> u64 {
    limited().map_or_else(machine_memory, |group| group.limit)
}

/// A limit above what the machine has is none: version 1 of control groups says "none" like that.
fn limited() -> Option<cgroup::Limited> {
    cgroup::memory(Path::new("/")).filter(|group| group.limit < machine_memory())
}

fn machine_memory() -> u64 {
    let info = rustix::system::sysinfo();
    info.totalram.saturating_mul(u64::from(info.mem_unit))
}

/// Cores that this process may use.
pub(crate) fn cores() -> u32 {
    std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(u32::MAX))
}

fn read(path: &str) -> Option<String> {
    read_at(Path::new(path))
}

fn read_at(path: &Path) -> Option<String> {
    let bytes = files::read_capped(path, MAX_PROC_FILE).ok()?;
    String::from_utf8(bytes).ok()
}

/// The first line: user, nice, system, idle, iowait, irq, softirq, steal, guest, guest_nice.
fn cpu_times(text: &str) -> Option<CpuTimes> {
    let line = text.lines().next()?.strip_prefix("cpu ")?;
    let ticks: Vec<u64> = line.split_whitespace().map_while(|word| word.parse().ok()).collect();
    // Guest time is in user time already.
    let total = ticks.iter().take(8).sum();
    let idle = ticks.get(3)? + ticks.get(4).copied().unwrap_or(0);
    Some(CpuTimes { busy: u64::saturating_sub(total, idle), total })
}

fn permille_between(before: CpuTimes, now: CpuTimes) -> u32 {
    let total = now.total.saturating_sub(before.total);
    let busy = now.busy.saturating_sub(before.busy).min(total);
    let permille = busy.saturating_mul(1000).checked_div(total).unwrap_or(0);
    u32::try_from(permille).unwrap_or(1000)
}

fn memory_used_of(text: &str) -> Option<u64> {
    let kib = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    Some(kib("MemTotal:")?.saturating_sub(kib("MemAvailable:")?).saturating_mul(1024))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_load_is_what_was_busy_between_two_looks() {
        let before = cpu_times("cpu  100 0 100 700 100 0 0 0 50 0\ncpu0 1 1\n").unwrap();
        assert_eq!(before, CpuTimes { busy: 200, total: 1000 });
        let now = cpu_times("cpu  350 0 100 1400 150 0 0 0 50 0\n").unwrap();
        assert_eq!(permille_between(before, now), 250);
        assert_eq!(permille_between(now, now), 0);
        assert_eq!(permille_between(now, before), 0, "counters that ran backwards");
    }

    #[test]
    fn memory_in_use_leaves_out_what_can_be_had_again() {
        let text = "MemTotal:       1000 kB\nMemFree:  100 kB\nMemAvailable:    400 kB\n";
        assert_eq!(memory_used_of(text), Some(600 * 1024));
        assert_eq!(memory_used_of("MemTotal: 1000 kB\n"), None);
    }

    #[test]
    fn this_machine_tells() {
        assert!(own_rss() > 1 << 20);
        assert!(memory_total() > memory_used());
        assert!(cores() >= 1);
        assert!(CpuMeter::default().permille() <= 1000);
    }
}
