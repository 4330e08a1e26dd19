//! What the control group of this container allows, and what has been used of it. Versions 1 and 2; what
//! cannot be read is not known.

use std::path::{Path, PathBuf};
use std::time::Duration;

const CGROUP: &str = "/sys/fs/cgroup";

/// Bytes that this container may use: the least of its limits and what the machine has.
#[must_use]
pub fn memory() -> Option<u64> {
    let number = |text: String| text.trim().parse::<u64>().ok();
    let v2 = cgroup_files("", "memory.max")
        .find_map(read)
        .and_then(number);
    let v1 = || {
        cgroup_files("memory", "memory.limit_in_bytes")
            .find_map(read)
            .and_then(number)
    };
    let total = read("/proc/meminfo".into()).and_then(|text| {
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("MemTotal:"))?;
        let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
        Some(kib * 1024)
    });
    [v2.or_else(v1), total].into_iter().flatten().min()
}

/// Thousandths of processors that this container may use: the least of its quota and those that it may
/// run on.
#[must_use]
pub fn processors() -> Option<u64> {
    let v2 = cgroup_files("", "cpu.max").find_map(read).and_then(|text| {
        let mut words = text.split_whitespace();
        share(words.next()?, words.next()?)
    });
    let v1 = || {
        let file = |name| cgroup_files("cpu", name).find_map(read);
        share(
            file("cpu.cfs_quota_us")?.trim(),
            file("cpu.cfs_period_us")?.trim(),
        )
    };
    let own = std::thread::available_parallelism().ok();
    let own = own.and_then(|count| u64::try_from(count.get()).ok());
    let own = own.map(|count| count * 1000);
    [v2.or_else(v1), own].into_iter().flatten().min()
}

/// Quota over period; none for `max` and -1, which are no limit.
fn share(quota: &str, period: &str) -> Option<u64> {
    let (quota, period): (u64, u64) = (quota.parse().ok()?, period.parse().ok()?);
    (quota * 1000).checked_div(period)
}

/// Where a file of the control group may be: as a container sees it, at the root; on a machine, below
/// the path of the own group. `controller` is for version 1, where each has a hierarchy of its own.
fn cgroup_files(controller: &str, name: &str) -> impl Iterator<Item = PathBuf> + use<> {
    let groups = read("/proc/self/cgroup".into()).unwrap_or_default();
    let own = groups.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':');
        let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        let is_it = controllers.split(',').any(|one| one == controller);
        is_it.then(|| path.trim_start_matches('/').to_owned())
    });
    let root = Path::new(CGROUP).join(controller);
    let below = own.map(|path| root.join(path).join(name));
    below.into_iter().chain([root.join(name)])
}

fn read(path: PathBuf) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

/// Processor time that the container has used.
#[must_use]
pub fn processor_time() -> Option<Duration> {
    let v2 = cgroup_files("", "cpu.stat")
        .find_map(read)
        .and_then(|text| {
            let mut lines = text.lines();
            let micros = lines.find_map(|line| line.strip_prefix("usage_usec "))?;
            Some(Duration::from_micros(micros.trim().parse().ok()?))
        });
    let v1 = || {
        let nanos = cgroup_files("cpuacct", "cpuacct.usage").find_map(read)?;
        Some(Duration::from_nanos(nanos.trim().parse().ok()?))
    };
    v2.or_else(v1)
}

/// Bytes of memory that the container uses, caches included.
#[must_use]
pub fn memory_used() -> Option<u64> {
    let files = cgroup_files("", "memory.current");
    let mut files = files.chain(cgroup_files("memory", "memory.usage_in_bytes"));
    files.find_map(read)?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a70_quotas_of_both_versions() {
        assert_eq!(share("150000", "100000"), Some(1500));
        assert_eq!(share("max", "100000"), None);
        assert_eq!(share("-1", "100000"), None);
        assert_eq!(share("1", "0"), None);
    }
}
