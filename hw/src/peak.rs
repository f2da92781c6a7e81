//! The most floating-point operations that a CPU could do: cores x frequency x operations per cycle.
//!
//! Operations per cycle are those of fused multiply-adds on the widest vectors: lanes x 2 x pipes. Which core it is comes
//! from `/proc/cpuinfo`: the part number on Arm, on x86 the feature flags (width and FMA) with family and model (pipes).
//! A core that is not in the tables has no peak here; nothing is guessed.
//!
//! Sources: Arm's Software Optimization Guides (throughput of `FMLA`, Q form; for A57 UAN 0015B, for A72 UAN 0016A, one
//! per core), the manuals of Intel (Optimization Reference Manual) and AMD (Software Optimization Guides of the families).
//! For the A72 measured by others too: 15.9 and 7.9 GFLOPS on one core at 2.0 GHz, in registers.

mod cores;

use crate::blas::bench::Precision;
use crate::clock_rate::{self, ClockSource};
use crate::root::Root;
use cores::{Core, core};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// A theoretical peak.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Peak {
    /// 10^9 operations per second in 32 bits.
    pub sgemm_gflops: f64,
    /// The same in 64 bits.
    pub dgemm_gflops: f64,
    /// What it was computed from, such as `4 x Cortex-A72 x 1.50 GHz x 8 (f32), 4 (f64) per cycle`.
    pub basis: String,
}

impl Peak {
    /// The peak for these numbers.
    pub fn gflops(&self, precision: Precision) -> f64 {
        match precision {
            Precision::Sgemm => self.sgemm_gflops,
            Precision::Dgemm => self.dgemm_gflops,
        }
    }
}

/// The peak of these CPUs together, threads of one core counted once. `None` if one of them is not known.
pub fn peak(root: &Root, cpus: &[usize]) -> Option<Peak> {
    let cpuinfo = root.read_text("/proc/cpuinfo").ok()?;
    let mut clock = Clock::default();
    let mut groups: Vec<(Core, f64, ClockSource, u32)> = Vec::new();
    for cpu in physical(root, cpus) {
        let core = core(&block(&cpuinfo, cpu)?)?;
        let (hz, source) = clock.of(root, cpu);
        match groups
            .iter_mut()
            .find(|(known, at, _, _)| *known == core && *at == hz)
        {
            Some((.., count)) => *count += 1,
            None => groups.push((core, hz, source, 1)),
        }
    }
    let sum = |per_cycle: fn(&Core) -> u32| -> f64 {
        let gflops = groups
            .iter()
            .map(|(core, hz, _, count)| f64::from(*count) * hz * f64::from(per_cycle(core)) / 1e9);
        gflops.sum()
    };
    let basis: Vec<String> = groups.iter().map(describe).collect();
    (!groups.is_empty()).then(|| Peak {
        sgemm_gflops: sum(|core| core.single),
        dgemm_gflops: sum(|core| core.double),
        basis: basis.join(" + "),
    })
}

fn describe((core, hz, source, count): &(Core, f64, ClockSource, u32)) -> String {
    let ghz = hz / 1e9;
    let source = match source {
        ClockSource::Cpufreq => String::new(),
        other => format!(" ({other})"),
    };
    format!(
        "{count} x {} x {ghz:.2} GHz{source} x {} (f32), {} (f64) per cycle",
        core.name, core.single, core.double
    )
}

/// One CPU of each core: the first of its threads that is asked for.
fn physical(root: &Root, cpus: &[usize]) -> Vec<usize> {
    let mut seen = BTreeSet::new();
    let siblings = |cpu: usize| {
        let path = format!("/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list");
        root.read_text(path).unwrap_or_else(|_| cpu.to_string())
    };
    cpus.iter()
        .copied()
        .filter(|&cpu| seen.insert(siblings(cpu)))
        .collect()
}

/// The highest clock of each CPU; where there is no frequency scaling, one for all.
#[derive(Default)]
struct Clock {
    of_all: Option<(f64, ClockSource)>,
}

impl Clock {
    fn of(&mut self, root: &Root, cpu: usize) -> (f64, ClockSource) {
        let path = format!("/sys/devices/system/cpu/cpu{cpu}/cpufreq/cpuinfo_max_freq");
        match root.read_number::<f64>(path) {
            Ok(khz) if khz > 0.0 => (khz * 1e3, ClockSource::Cpufreq),
            _ => *self.of_all.get_or_insert_with(|| {
                // In a virtual machine the kernel's figure is nominal: what the CPU reaches just now says more.
                let rate = if root.is_real() {
                    clock_rate::estimate()
                } else {
                    clock_rate::clock_hz(root)
                };
                (rate.hz, rate.source)
            }),
        }
    }
}

/// The lines about one CPU, as (name, value).
type Fields<'a> = Vec<(&'a str, &'a str)>;

/// What `/proc/cpuinfo` says about a CPU. Kernels of old describe the last one for all.
fn block(cpuinfo: &str, cpu: usize) -> Option<Fields<'_>> {
    let mut blocks: Vec<(usize, Fields)> = Vec::new();
    for line in cpuinfo.lines() {
        let Some((name, value)) = line.split_once(':') else {
            continue;
        };
        let (name, value) = (name.trim(), value.trim());
        match (name, value.parse()) {
            ("processor", Ok(number)) => blocks.push((number, Vec::new())),
            _ => blocks.last_mut()?.1.push((name, value)),
        }
    }
    let says_which =
        |fields: &Fields| field(fields, "CPU part").is_some() || field(fields, "vendor_id").is_some();
    let own = blocks
        .iter()
        .position(|(number, fields)| *number == cpu && says_which(fields));
    let index = own.or_else(|| blocks.iter().rposition(|(_, fields)| says_which(fields)))?;
    Some(blocks.swap_remove(index).1)
}

fn field<'a>(fields: &Fields<'a>, wanted: &str) -> Option<&'a str> {
    fields
        .iter()
        .find(|(name, _)| *name == wanted)
        .map(|(_, value)| *value)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::fake_tree::tree;

    fn board(cpuinfo: &str, files: &[(&str, &str)]) -> (tempfile::TempDir, Root) {
        tree(&[files, &[("/proc/cpuinfo", cpuinfo)]].concat())
    }

    fn arm_cpuinfo(parts: &[&str]) -> String {
        let blocks = parts.iter().enumerate().map(|(cpu, part)| {
            format!("processor\t: {cpu}\nBogoMIPS\t: 108.00\nCPU implementer\t: 0x41\nCPU part\t: {part}\n\n")
        });
        blocks.collect()
    }

    const MAX: &str = "cpufreq/cpuinfo_max_freq";

    fn max(cpus: &[(usize, &str)]) -> Vec<(String, String)> {
        let path = |cpu: &usize| format!("/sys/devices/system/cpu/cpu{cpu}/{MAX}");
        cpus.iter()
            .map(|(cpu, khz)| (path(cpu), (*khz).to_owned()))
            .collect()
    }

    fn borrowed(files: &[(String, String)]) -> Vec<(&str, &str)> {
        files.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect()
    }

    #[test]
    fn a_raspberry_pi_4() {
        let files = max(&[(0, "1500000"), (1, "1500000"), (2, "1500000"), (3, "1500000")]);
        let (_dir, root) = board(&arm_cpuinfo(&["0xd08"; 4]), &borrowed(&files));
        let all = peak(&root, &[0, 1, 2, 3]).unwrap();
        assert_eq!((all.sgemm_gflops, all.dgemm_gflops), (48.0, 24.0));
        assert_eq!(
            all.basis,
            "4 x Cortex-A72 x 1.50 GHz x 8 (f32), 4 (f64) per cycle"
        );
        let one = peak(&root, &[2]).unwrap();
        assert_eq!(
            (one.gflops(Precision::Sgemm), one.gflops(Precision::Dgemm)),
            (12.0, 6.0)
        );
    }

    #[test]
    fn clusters_add_up() {
        let files = max(&[(0, "1800000"), (1, "2400000")]);
        let (_dir, root) = board(&arm_cpuinfo(&["0xd05", "0xd0b"]), &borrowed(&files));
        let found = peak(&root, &[0, 1]).unwrap();
        assert_eq!(found.sgemm_gflops, 1.8 * 8.0 + 2.4 * 16.0);
        assert!(
            found.basis.contains("Cortex-A55") && found.basis.contains(" + 1 x Cortex-A76"),
            "{}",
            found.basis
        );
    }

    #[test]
    fn an_unknown_core_has_no_peak() {
        let (_dir, root) = board(&arm_cpuinfo(&["0xd08", "0xfff"]), &[]);
        assert_eq!(peak(&root, &[0, 1]), None);
        let nvidia = "processor : 0\nCPU implementer : 0x4e\nCPU part : 0x004\n";
        assert_eq!(peak(&board(nvidia, &[]).1, &[0]), None);
        for junk in [
            "",
            "processor : 0\n",
            "CPU part : 0xd08\n",
            "processor : 0\nCPU implementer : x\nCPU part : 0xd08\n",
        ] {
            assert_eq!(peak(&board(junk, &[]).1, &[0]), None, "{junk:?}");
        }
        assert_eq!(peak(&root, &[]), None);
    }

    fn x86_cpuinfo(vendor: &str, family: u32, model: u32, flags: &str) -> String {
        let block = |cpu| {
            format!(
                "processor\t: {cpu}\nvendor_id\t: {vendor}\ncpu family\t: {family}\nmodel\t\t: {model}\n\
                 model name\t: x\ncpu MHz\t\t: 2000.000\nflags\t\t: fpu {flags}\n\n"
            )
        };
        format!("{}{}", block(0), block(1))
    }

    fn per_cycle(vendor: &str, family: u32, model: u32, flags: &str) -> Option<f64> {
        let (_dir, root) = board(&x86_cpuinfo(vendor, family, model, flags), &[]);
        peak(&root, &[0]).map(|peak| peak.sgemm_gflops / 2.0)
    }

    #[test]
    fn x86_by_flags_family_and_model() {
        let amd = |family, model, flags| per_cycle("AuthenticAMD", family, model, flags);
        let intel = |model, flags| per_cycle("GenuineIntel", 6, model, flags);
        assert_eq!(amd(0x17, 0x11, "avx2 fma"), Some(16.0));
        assert_eq!(amd(0x17, 0x71, "avx2 fma"), Some(32.0));
        assert_eq!(amd(0x19, 0x61, "avx2 fma avx512f"), Some(32.0));
        assert_eq!(amd(0x1a, 0x02, "avx2 fma avx512f"), Some(64.0));
        assert_eq!(amd(0x1a, 0x24, "avx2 fma avx512f"), Some(32.0));
        assert_eq!(intel(0x5e, "avx2 fma"), Some(32.0));
        assert_eq!(intel(0x55, "avx2 fma avx512f"), Some(64.0));
        assert_eq!(intel(0x55, "avx2 fma"), Some(32.0));
        assert_eq!(intel(0x8c, "avx2 fma avx512f"), Some(32.0));
        assert_eq!(intel(0xbe, "avx2 fma"), Some(16.0));
        assert_eq!(intel(0x97, "avx2 fma"), None);
        assert_eq!(amd(0x17, 0x71, "sse2"), None);
        assert_eq!(per_cycle("Other", 6, 0x5e, "avx2 fma"), None);
    }

    #[test]
    fn threads_of_one_core_count_once() {
        let siblings = |cpu| format!("/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list");
        let files = [
            (siblings(0), "0-1\n".to_owned()),
            (siblings(1), "0-1\n".to_owned()),
        ];
        let cpuinfo = x86_cpuinfo("GenuineIntel", 6, 0x5e, "avx2 fma");
        let (_dir, root) = board(&cpuinfo, &borrowed(&files));
        let both = peak(&root, &[0, 1]).unwrap();
        assert_eq!(both.sgemm_gflops, 64.0);
        assert!(both.basis.contains("2.00 GHz (cpuinfo)"), "{}", both.basis);
    }
}
