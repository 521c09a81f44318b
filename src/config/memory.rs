//! The memory that this process may take: that of the machine, or what its control groups leave of it.

use std::fs;
use std::path::{Path, PathBuf};

/// The bytes that this process may take, if the system says: the smallest of the machine's memory and the limits of
/// the control groups that the process is in.
pub(super) fn memory_of_process() -> Option<u64> {
    let read = |path: PathBuf| fs::read_to_string(path).ok();
    memory_of(&read)
}

/// Finds it in the files that `read` reads.
fn memory_of(read: &dyn Fn(PathBuf) -> Option<String>) -> Option<u64> {
    let machine = read("/proc/meminfo".into()).and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
    });
    let groups = read("/proc/self/cgroup".into()).unwrap_or_default();
    let limits = groups.lines().flat_map(|line| {
        let mut parts = line.splitn(3, ':');
        let (_, controllers, group) = (parts.next(), parts.next().unwrap_or(""), parts.next().unwrap_or("/"));
        let (root, file) = match controllers {
            // The one hierarchy of version 2.
            "" => ("/sys/fs/cgroup", "memory.max"),
            list if list.split(',').any(|one| one == "memory") => {
                ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
            }
            _ => return Vec::new(),
        };
        // In a container the path may be the host's: then only the root is there.
        let group = Path::new(group.trim_start_matches('/'));
        let places = group.ancestors().map(|group| Path::new(root).join(group).join(file));
        places.filter_map(|path| read(path)?.trim().parse::<u64>().ok()).collect()
    });
    limits.chain(machine).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory(files: &[(&str, &str)]) -> Option<u64> {
        memory_of(&|path| {
            let file = files.iter().find(|(name, _)| Path::new(name) == path)?;
            Some(file.1.to_owned())
        })
    }

    const MACHINE: (&str, &str) = ("/proc/meminfo", "MemFree: 5 kB\nMemTotal:       8000 kB\nMore: 1 kB\n");

    #[test]
    fn the_smallest_limit_of_the_groups_above_counts() {
        assert_eq!(memory(&[]), None);
        assert_eq!(memory(&[MACHINE]), Some(8_192_000));
        let own = ("/proc/self/cgroup", "0::/a/b\n");
        let unlimited = ("/sys/fs/cgroup/a/b/memory.max", "max\n");
        assert_eq!(memory(&[MACHINE, own, unlimited]), Some(8_192_000));
        let above = ("/sys/fs/cgroup/a/memory.max", "4096\n");
        assert_eq!(memory(&[MACHINE, own, unlimited, above]), Some(4096));
        let root = ("/sys/fs/cgroup/memory.max", "1024\n");
        assert_eq!(memory(&[MACHINE, own, above, root]), Some(1024), "in a container");
    }

    #[test]
    fn the_first_version_of_control_groups_counts_too() {
        let own = ("/proc/self/cgroup", "5:cpu,cpuacct:/x\n4:memory:/a\n1:name=systemd:/a\n");
        let limit = ("/sys/fs/cgroup/memory/a/memory.limit_in_bytes", "2048\n");
        let unlimited = ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
        assert_eq!(memory(&[MACHINE, own, limit, unlimited]), Some(2048));
    }
}
