//! At which frequency the cores run just now.

use crate::cpufreq;
use crate::root::{Node, Root};
use std::path::Path;

/// Reads the frequency of every core again and again, without allocating.
#[derive(Debug)]
pub struct CurrentFrequency {
    /// `scaling_cur_freq` of each policy, and how many cores share it.
    policies: Vec<(Node, f64)>,
    highest_hz: f64,
}

impl CurrentFrequency {
    /// Opens `scaling_cur_freq` of every policy below `root`; `None` where the kernel shows no frequency (most virtual
    /// machines).
    pub fn open(root: &Root) -> Option<Self> {
        let mut highest_khz = 0;
        let mut policies = Vec::new();
        for policy in cpufreq::policies(root).ok()? {
            let file = Path::new("/sys/devices/system/cpu/cpufreq")
                .join(&policy.name)
                .join("scaling_cur_freq");
            policies.push((root.open(file).ok()?, policy.cpus.len() as f64));
            highest_khz = highest_khz.max(policy.hardware_khz.1);
        }
        let mut frequency = Self {
            policies,
            highest_hz: highest_khz as f64 * 1e3,
        };
        frequency.read_hz().map(|_| frequency)
    }

    /// The mean over all cores just now, in hertz; `None` if it cannot be read.
    pub fn read_hz(&mut self) -> Option<f64> {
        let (mut sum, mut cores) = (0.0, 0.0);
        for (node, cpus) in &mut self.policies {
            let khz: f64 = node.read_number().ok()?;
            sum += khz * 1e3 * *cpus;
            cores += *cpus;
        }
        (cores > 0.0).then(|| sum / cores)
    }

    /// The highest that any core can do, in hertz.
    pub fn highest_hz(&self) -> f64 {
        self.highest_hz
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_counts_cores_and_no_policy_is_no_frequency() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::new(dir.path());
        assert!(CurrentFrequency::open(&root).is_none());
        for (name, cpus, khz) in [("policy0", "0 1 2", "600000"), ("policy3", "3", "1000000")] {
            let dir = root.path(format!("/sys/devices/system/cpu/cpufreq/{name}"));
            std::fs::create_dir_all(&dir).unwrap();
            for (file, content) in [
                ("related_cpus", cpus),
                ("scaling_governor", "ondemand"),
                ("scaling_min_freq", "600000"),
                ("scaling_max_freq", "1800000"),
                ("cpuinfo_min_freq", "600000"),
                ("cpuinfo_max_freq", "1800000"),
                ("scaling_cur_freq", khz),
            ] {
                std::fs::write(dir.join(file), content).unwrap();
            }
        }
        let mut frequency = CurrentFrequency::open(&root).unwrap();
        assert_eq!(frequency.read_hz(), Some(0.7e9));
        assert_eq!(frequency.highest_hz(), 1.8e9);
    }
}
