//! The control group of this process: how much CPU it may use, and whether that ran out.
//!
//! Format, from `admin-guide/cgroup-v2.rst`: `/proc/self/cgroup` holds `0::/PATH`, and `/sys/fs/cgroup/PATH/` the files
//! `cpu.max` (`QUOTA PERIOD`, or `max PERIOD`) and `cpu.stat` (a `nr_throttled N` among others). Before (cgroup v1, JetPack 4)
//! the line is `N:cpu,cpuacct:/PATH`, the directory is below `cpu,cpuacct`, and the quota is in `cpu.cfs_quota_us` and
//! `cpu.cfs_period_us`. Inside a container the path may be one of the host: then the mount's top is the group.

use crate::root::Root;
use std::path::PathBuf;

const MOUNT: &str = "/sys/fs/cgroup";

/// CPUs that the group may use in the mean, such as 0.5; `None` without a limit. Limits of groups above are not looked at.
pub fn cpu_quota(root: &Root) -> Option<f64> {
    groups(root).into_iter().find_map(|group| {
        let text = |name: &str| root.read_text(group.join(name));
        let (quota, period) = match text("cpu.max") {
            Ok(max) => {
                let (quota, period) = max.split_once(' ')?;
                (quota.to_owned(), period.to_owned())
            }
            Err(_) => (text("cpu.cfs_quota_us").ok()?, text("cpu.cfs_period_us").ok()?),
        };
        let (quota, period): (f64, f64) = (quota.parse().ok()?, period.trim().parse().ok()?);
        (quota > 0.0 && period > 0.0).then(|| quota / period)
    })
}

/// Periods since the group's beginning in which its quota ran out; `None` where the group has no such count.
pub fn throttled_periods(root: &Root) -> Option<u64> {
    groups(root).into_iter().find_map(|group| {
        let stat = root.read_text(group.join("cpu.stat")).ok()?;
        stat.lines()
            .find_map(|line| line.strip_prefix("nr_throttled ")?.trim().parse().ok())
    })
}

/// Where the files may be, the most likely first.
fn groups(root: &Root) -> Vec<PathBuf> {
    let lines = root.read_text("/proc/self/cgroup").unwrap_or_default();
    let mut groups = Vec::new();
    for line in lines.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next()) else {
            continue;
        };
        let has_cpu = controllers.split(',').any(|controller| controller == "cpu");
        if controllers.is_empty() || has_cpu {
            let mount = PathBuf::from(MOUNT).join(controllers);
            groups.push(mount.join(path.trim_start_matches('/')));
            groups.push(mount);
        }
    }
    groups
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::fake_tree::tree;

    fn quota(files: &[(&str, &str)]) -> Option<f64> {
        cpu_quota(&tree(files).1)
    }

    #[test]
    fn half_a_core_in_either_version() {
        let second = quota(&[
            ("/proc/self/cgroup", "0::/user.slice/x\n"),
            ("/sys/fs/cgroup/user.slice/x/cpu.max", "50000 100000\n"),
        ]);
        assert_eq!(second, Some(0.5));
        let first = quota(&[
            ("/proc/self/cgroup", "5:memory:/m\n3:cpu,cpuacct:/x\n0::/\n"),
            ("/sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_quota_us", "50000\n"),
            ("/sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_period_us", "100000\n"),
        ]);
        assert_eq!(first, Some(0.5));
        // A container sees its own group at the top.
        let inside = quota(&[
            ("/proc/self/cgroup", "0::/../../docker/1234\n"),
            ("/sys/fs/cgroup/cpu.max", "200000 100000\n"),
        ]);
        assert_eq!(inside, Some(2.0));
    }

    #[test]
    fn no_limit_and_junk_are_no_quota() {
        let with = |max| {
            quota(&[
                ("/proc/self/cgroup", "0::/x\n"),
                ("/sys/fs/cgroup/x/cpu.max", max),
            ])
        };
        for max in ["max 100000\n", "", "50000", "a b", "50000 0"] {
            assert_eq!(with(max), None, "{max:?}");
        }
        assert_eq!(quota(&[]), None);
        assert_eq!(throttled_periods(&tree(&[]).1), None);
    }
}
