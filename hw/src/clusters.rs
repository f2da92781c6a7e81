//! The clusters of a CPU whose cores are of several kinds, and all threads of this process kept on one of them.
//!
//! Cores are told apart by `cpuN/cpu_capacity` (0 to 1024, from the device tree or the firmware), else by their highest
//! frequency, `cpuN/cpufreq/cpuinfo_max_freq`. Where neither is there, all are of one kind.

use crate::cpu::{Affinity, online_cores};
use crate::error::Result;
use crate::root::Root;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

/// Cores of one kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cluster {
    /// `big`, `mid` or `little`, by what there is; `all` for a CPU of one kind.
    pub name: String,
    /// Ascending.
    pub cpus: Vec<usize>,
}

/// Cores that differ by less are of one kind: the best cores of a desktop CPU are allowed a little more.
const SAME_KIND: f64 = 0.9;

/// The clusters among the online cores, the fastest first. At least one.
pub fn clusters(root: &Root) -> Vec<Cluster> {
    let cpus = online_cores(root).unwrap_or_else(|_| (0..crate::cpu::core_count(root)).collect());
    let usable = usable(root, cpus);
    group(root, &usable)
}

/// Of these cores, the ones that this process may use; all of them below a prefix.
fn usable(root: &Root, cpus: Vec<usize>) -> Vec<usize> {
    let allowed = Affinity::current().unwrap_or_default();
    if !root.is_real() || allowed.is_empty() {
        return cpus;
    }
    allowed
}

fn group(root: &Root, cpus: &[usize]) -> Vec<Cluster> {
    let of_all = |read: fn(&Root, usize) -> Option<f64>| -> Option<Vec<f64>> {
        cpus.iter().map(|&cpu| read(root, cpu)).collect()
    };
    let Some(speeds) = of_all(capacity).or_else(|| of_all(max_khz)) else {
        return vec![one_kind(cpus)];
    };
    let mut ranked: Vec<(f64, usize)> = speeds.into_iter().zip(cpus.iter().copied()).collect();
    ranked.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    let mut groups: Vec<(f64, Vec<usize>)> = Vec::new();
    for (speed, cpu) in ranked {
        match groups.last_mut() {
            Some((fastest, cpus)) if speed >= SAME_KIND * *fastest => cpus.push(cpu),
            _ => groups.push((speed, vec![cpu])),
        }
    }
    if groups.len() < 2 {
        return vec![one_kind(cpus)];
    }
    let names = names(groups.len());
    groups
        .into_iter()
        .zip(names)
        .map(|((_, mut cpus), name)| {
            cpus.sort_unstable();
            Cluster { name, cpus }
        })
        .collect()
}

fn one_kind(cpus: &[usize]) -> Cluster {
    Cluster {
        name: "all".to_owned(),
        cpus: cpus.to_vec(),
    }
}

fn names(count: usize) -> Vec<String> {
    let mid = |at: usize| {
        if count == 3 {
            "mid".to_owned()
        } else {
            format!("mid{at}")
        }
    };
    (0..count)
        .map(|at| match at {
            0 => "big".to_owned(),
            last if last == count - 1 => "little".to_owned(),
            at => mid(at),
        })
        .collect()
}

fn capacity(root: &Root, cpu: usize) -> Option<f64> {
    read_positive(root, cpu, "cpu_capacity")
}

fn max_khz(root: &Root, cpu: usize) -> Option<f64> {
    read_positive(root, cpu, "cpufreq/cpuinfo_max_freq")
}

fn read_positive(root: &Root, cpu: usize, file: &str) -> Option<f64> {
    let path = format!("/sys/devices/system/cpu/cpu{cpu}/{file}");
    root.read_number::<f64>(path).ok().filter(|value| *value > 0.0)
}

/// Every thread of this process on some cores, those that libraries started before too; each gets its own set back on
/// drop, and threads begun meanwhile get the one that the calling thread had.
#[derive(Debug)]
pub struct Pinned {
    others: Vec<(Pid, CpuSet)>,
    own: Affinity,
    wanted: CpuSet,
}

impl Pinned {
    /// Pins the process to `cpus`. Cores that do not exist or may not be used are an error.
    pub fn to(cpus: &[usize]) -> Result<Self> {
        let own = Affinity::pin(cpus)?;
        let own_thread = nix::unistd::gettid();
        let wanted = sched_getaffinity(own_thread)
            .map_err(|e| crate::Error::os("reading the CPU affinity that was just set", e))?;
        let mut pinned = Self {
            others: Vec::new(),
            own,
            wanted,
        };
        for thread in threads().into_iter().filter(|&thread| thread != own_thread) {
            // One that has ended meanwhile needs nothing.
            if let Ok(before) = sched_getaffinity(thread)
                && sched_setaffinity(thread, &wanted).is_ok()
            {
                pinned.others.push((thread, before));
            }
        }
        Ok(pinned)
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        let own_thread = nix::unistd::gettid();
        for thread in threads().into_iter().filter(|&thread| thread != own_thread) {
            let known = self.others.iter().find(|(known, _)| *known == thread);
            let before = known.map_or(self.own.previous(), |(_, before)| before);
            let is_ours = sched_getaffinity(thread).is_ok_and(|now| now == self.wanted);
            // One that has ended meanwhile needs nothing.
            if is_ours {
                let _ = sched_setaffinity(thread, before);
            }
        }
    }
}

/// The threads of this process.
fn threads() -> Vec<Pid> {
    let entries = std::fs::read_dir("/proc/self/task").into_iter().flatten();
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .map(Pid::from_raw)
        .collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::fake_tree;

    fn tree(files: &[(&str, &[&str])]) -> (tempfile::TempDir, Root) {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::new(dir.path());
        let cpus = files.first().map_or(4, |(_, values)| values.len());
        let write = |path: String, content: &str| fake_tree::write(&root, path, content);
        write(
            "/sys/devices/system/cpu/online".to_owned(),
            &format!("0-{}\n", cpus - 1),
        );
        for (file, values) in files {
            for (cpu, value) in values.iter().enumerate() {
                write(format!("/sys/devices/system/cpu/cpu{cpu}/{file}"), value);
            }
        }
        (dir, root)
    }

    fn told(files: &[(&str, &[&str])]) -> Vec<String> {
        let (_dir, root) = tree(files);
        clusters(&root)
            .iter()
            .map(|cluster| format!("{} {:?}", cluster.name, cluster.cpus))
            .collect()
    }

    #[test]
    fn capacities_make_clusters() {
        let capacities: &[&str] = &["485", "485", "1024", "1024"];
        assert_eq!(
            told(&[("cpu_capacity", capacities)]),
            ["big [2, 3]", "little [0, 1]"]
        );
        let three: &[&str] = &["250", "250", "800", "800", "1024"];
        assert_eq!(
            told(&[("cpu_capacity", three)]),
            ["big [4]", "mid [2, 3]", "little [0, 1]"]
        );
    }

    #[test]
    fn frequencies_stand_in_where_capacities_are_not_there_for_all() {
        let frequencies: &[&str] = &["1800000", "1800000", "2400000", "2400000"];
        assert_eq!(
            told(&[
                ("cpufreq/cpuinfo_max_freq", frequencies),
                ("cpu_capacity", &["1024"])
            ]),
            ["big [2, 3]", "little [0, 1]"]
        );
    }

    #[test]
    fn cores_of_one_kind_are_one_cluster() {
        let favoured: &[&str] = &["5300000", "5500000", "5300000", "5500000"];
        assert_eq!(
            told(&[("cpufreq/cpuinfo_max_freq", favoured)]),
            ["all [0, 1, 2, 3]"]
        );
        assert_eq!(told(&[]), ["all [0, 1, 2, 3]"]);
        assert_eq!(told(&[("cpu_capacity", &["0", "x"])]), ["all [0, 1]"]);
    }

    #[test]
    fn the_running_machine_has_at_least_one() {
        let found = clusters(&Root::default());
        let mut cpus: Vec<usize> = found.iter().flat_map(|cluster| cluster.cpus.clone()).collect();
        cpus.sort_unstable();
        assert_eq!(cpus, Affinity::current().unwrap());
    }
}
