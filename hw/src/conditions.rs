//! Under what conditions something was timed: clock, governor, temperature, and whether the CPU was throttled.
//!
//! Sources, all below `/sys` (what tells of throttling is in the part beside):
//! - `cpuN/cpufreq/scaling_cur_freq` and `scaling_governor` (`admin-guide/pm/cpufreq.rst`)
//! - `class/thermal/thermal_zoneN/{type,temp}` (`driver-api/thermal/sysfs-api.rst`),
//!   else the CPU's own driver in `class/hwmon`
//! - a Jetson's GPU: its directory in `class/devfreq`

mod throttle;

use crate::blas::bench::Watcher;
use crate::cpu::online_cores;
use crate::gpu::gpus;
use crate::root::Root;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use throttle::Throttle;

const CPU_DIR: &str = "/sys/devices/system/cpu";
const THERMAL_DIR: &str = "/sys/class/thermal";
const HWMON_DIR: &str = "/sys/class/hwmon";

/// What was seen meanwhile. `None` where the board does not tell.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Conditions {
    /// Mean clock of the CPUs used, in hertz.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frequency_hz: Option<f64>,
    /// Their frequency governor; several are joined by `+`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub governor: Option<String>,
    /// Temperature of the CPU before, in degrees Celsius.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub celsius_before: Option<f64>,
    /// The same after.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub celsius_after: Option<f64>,
    /// Whether the CPU was slowed down: for heat, for want of voltage, or by a quota of its control group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub throttled: Option<bool>,
    /// By what that was seen.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub throttle_signs: Vec<String>,
}

/// What is watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// The CPU that the calling thread is on at each look.
    CurrentCpu,
    /// These CPUs.
    Cpus(Vec<usize>),
    /// The GPU.
    Gpu,
}

/// Between two looks: reading a dozen files takes about 0.1 ms, in which nothing is timed.
const LOOK_PERIOD: Duration = Duration::from_millis(100);

/// Looks at the conditions from time to time, between what is timed.
#[derive(Debug)]
pub struct Watch {
    root: Root,
    target: Target,
    hz_sum: f64,
    hz_looks: u32,
    governors: BTreeSet<String>,
    celsius_before: Option<f64>,
    throttle: Throttle,
    last_look: Instant,
}

impl Watch {
    /// Begins to watch.
    pub fn begin(root: &Root, target: Target) -> Self {
        Self {
            root: root.clone(),
            hz_sum: 0.0,
            hz_looks: 0,
            governors: BTreeSet::new(),
            celsius_before: target.celsius(root),
            throttle: Throttle::begin(root, &target.throttled_cpus(root)),
            target,
            last_look: Instant::now(),
        }
    }

    /// To be called often: looks only when the last look is a while ago.
    pub fn look(&mut self) {
        if self.last_look.elapsed() >= LOOK_PERIOD {
            self.look_now();
            self.last_look = Instant::now();
        }
    }

    fn look_now(&mut self) {
        for (hz, governor) in self.target.clocks(&self.root) {
            if let Some(hz) = hz.filter(|hz| *hz > 0.0) {
                self.hz_sum += hz;
                self.hz_looks += 1;
            }
            self.governors.extend(governor);
        }
        self.throttle.look(&self.root);
    }

    /// What was seen, with a last look now.
    pub fn end(mut self) -> Conditions {
        self.look_now();
        let governors: Vec<String> = self.governors.into_iter().collect();
        let signs = self.throttle.end(&self.root);
        Conditions {
            frequency_hz: (self.hz_looks > 0).then(|| self.hz_sum / f64::from(self.hz_looks)),
            governor: (!governors.is_empty()).then(|| governors.join("+")),
            celsius_before: self.celsius_before,
            celsius_after: self.target.celsius(&self.root),
            throttled: signs.as_ref().map(|signs| !signs.is_empty()),
            throttle_signs: signs.unwrap_or_default(),
        }
    }
}

impl Target {
    fn cpus(&self) -> Vec<usize> {
        match self {
            Self::CurrentCpu => {
                // SAFETY: takes nothing.
                let cpu = unsafe { libc::sched_getcpu() };
                usize::try_from(cpu).into_iter().collect()
            }
            Self::Cpus(cpus) => cpus.clone(),
            Self::Gpu => Vec::new(),
        }
    }

    /// Whose counters are looked at: a thread may move, so for one thread those of all.
    fn throttled_cpus(&self, root: &Root) -> Vec<usize> {
        match self {
            Self::CurrentCpu => online_cores(root).unwrap_or_else(|_| self.cpus()),
            others => others.cpus(),
        }
    }

    /// Clock in hertz and governor of each.
    fn clocks(&self, root: &Root) -> Vec<(Option<f64>, Option<String>)> {
        if *self == Self::Gpu {
            return gpu_clock(root).into_iter().collect();
        }
        let clock = |cpu: usize| {
            let dir = PathBuf::from(format!("{CPU_DIR}/cpu{cpu}/cpufreq"));
            let khz = root.read_number::<f64>(dir.join("scaling_cur_freq")).ok();
            let governor = root.read_text(dir.join("scaling_governor")).ok();
            (khz.map(|khz| khz * 1e3), governor)
        };
        self.cpus().into_iter().map(clock).collect()
    }

    fn celsius(&self, root: &Root) -> Option<f64> {
        match self {
            Self::Gpu => hottest(zones(root, is_gpu_zone)),
            _ => cpu_celsius(root),
        }
    }
}

/// A Jetson's; of a card the kernel does not tell.
fn gpu_clock(root: &Root) -> Option<(Option<f64>, Option<String>)> {
    let gpus = gpus(root).ok()?;
    let devfreq = gpus.iter().find_map(|gpu| gpu.devfreq(root).ok().flatten())?;
    Some((Some(devfreq.current_hz as f64), devfreq.governor))
}

impl Watcher for Watch {
    fn run_done(&mut self) {
        self.look();
    }
}

/// The CPU's temperature in degrees Celsius: the hottest of the thermal zones that are the CPU's, else what its own
/// driver says. Of other zones (power supplies, dummies of a Jetson's PMIC) nothing is taken.
pub fn cpu_celsius(root: &Root) -> Option<f64> {
    let drivers = || values(root, HWMON_DIR, "hwmon", "name", is_cpu_driver, "temp1_input");
    hottest(zones(root, is_cpu_zone)).or_else(|| hottest(drivers()))
}

fn zones(root: &Root, is_wanted: fn(&str) -> bool) -> Vec<f64> {
    values(root, THERMAL_DIR, "thermal_zone", "type", is_wanted, "temp")
}

/// `cpu-thermal`, `CPU-therm`, `bigcore0-thermal`, `x86_pkg_temp`, `soc-thermal` and their like.
fn is_cpu_zone(kind: &str) -> bool {
    let kind = kind.to_ascii_lowercase();
    ["cpu", "core", "pkg_temp", "soc-thermal", "soc_thermal"]
        .iter()
        .any(|part| kind.contains(part))
}

/// `GPU-therm`, `gpu-thermal`.
fn is_gpu_zone(kind: &str) -> bool {
    kind.to_ascii_lowercase().contains("gpu")
}

fn is_cpu_driver(name: &str) -> bool {
    ["coretemp", "k10temp", "zenpower", "cpu_thermal"].contains(&name)
}

/// The numbers in `file` of the directories that begin so and whose `tag` is wanted.
fn values(
    root: &Root,
    dir: &str,
    prefix: &str,
    tag: &str,
    is_wanted: fn(&str) -> bool,
    file: &str,
) -> Vec<f64> {
    let names = root.list(dir).unwrap_or_default();
    names
        .iter()
        .filter(|name| name.starts_with(prefix))
        .map(|name| Path::new(dir).join(name))
        .filter(|dir| root.read_text(dir.join(tag)).is_ok_and(|tag| is_wanted(&tag)))
        .filter_map(|dir| root.read_number(dir.join(file)).ok())
        .collect()
}

/// Of millidegrees; a sensor without power says -256 °C.
fn hottest(millidegrees: Vec<f64>) -> Option<f64> {
    millidegrees
        .into_iter()
        .map(|value| value / 1e3)
        .filter(|celsius| (-40.0..150.0).contains(celsius))
        .reduce(f64::max)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::fake_tree;

    /// A made-up board; it goes with its directory.
    pub(super) struct Board {
        pub root: Root,
        _dir: tempfile::TempDir,
    }

    impl Board {
        pub fn new(files: &[(&str, &str)]) -> Self {
            let (dir, root) = fake_tree::tree(files);
            Self { root, _dir: dir }
        }

        pub fn write(&self, path: &str, content: &str) {
            fake_tree::write(&self.root, path, content);
        }

        /// What is seen when `change` happens in the middle.
        pub fn watch(&self, change: impl FnOnce()) -> Conditions {
            let mut watch = Watch::begin(&self.root, Target::Cpus(vec![0, 1]));
            watch.look_now();
            change();
            watch.look_now();
            watch.end()
        }
    }

    #[test]
    fn a_board_that_tells_nothing_has_unknown_conditions() {
        assert_eq!(Board::new(&[]).watch(|| ()), Conditions::default());
    }

    #[test]
    fn clock_and_governor_are_those_of_the_cpus_used() {
        let board = Board::new(&[
            (
                "/sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq",
                "1000000\n",
            ),
            (
                "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor",
                "ondemand\n",
            ),
            (
                "/sys/devices/system/cpu/cpu1/cpufreq/scaling_cur_freq",
                "2000000\n",
            ),
            (
                "/sys/devices/system/cpu/cpu1/cpufreq/scaling_governor",
                "ondemand\n",
            ),
            (
                "/sys/devices/system/cpu/cpu2/cpufreq/scaling_cur_freq",
                "9000000\n",
            ),
        ]);
        let conditions = board.watch(|| ());
        assert_eq!(conditions.frequency_hz, Some(1.5e9));
        assert_eq!(conditions.governor.as_deref(), Some("ondemand"));
        assert_eq!(conditions.throttled, None);
    }

    #[test]
    fn the_cpus_own_temperature_is_taken_before_and_after() {
        let board = Board::new(&[
            ("/sys/class/thermal/thermal_zone0/type", "PMIC-Die\n"),
            ("/sys/class/thermal/thermal_zone0/temp", "100000\n"),
            ("/sys/class/thermal/thermal_zone1/type", "CPU-therm\n"),
            ("/sys/class/thermal/thermal_zone1/temp", "41500\n"),
            ("/sys/class/thermal/thermal_zone2/type", "cpu1-thermal\n"),
            ("/sys/class/thermal/thermal_zone2/temp", "-256000\n"),
        ]);
        let conditions = board.watch(|| board.write("/sys/class/thermal/thermal_zone1/temp", "67000\n"));
        assert_eq!(
            (conditions.celsius_before, conditions.celsius_after),
            (Some(41.5), Some(67.0))
        );
        let desktop = Board::new(&[
            ("/sys/class/hwmon/hwmon0/name", "nvme\n"),
            ("/sys/class/hwmon/hwmon0/temp1_input", "90000\n"),
            ("/sys/class/hwmon/hwmon1/name", "k10temp\n"),
            ("/sys/class/hwmon/hwmon1/temp1_input", "52000\n"),
        ]);
        assert_eq!(cpu_celsius(&desktop.root), Some(52.0));
    }

    #[test]
    fn a_gpu_has_a_clock_and_a_zone_of_its_own() {
        let board = Board::new(&[
            ("/sys/class/devfreq/57000000.gpu/cur_freq", "921600000\n"),
            ("/sys/class/devfreq/57000000.gpu/min_freq", "76800000\n"),
            ("/sys/class/devfreq/57000000.gpu/max_freq", "921600000\n"),
            ("/sys/class/devfreq/57000000.gpu/governor", "nvhost_podgov\n"),
            ("/sys/class/thermal/thermal_zone0/type", "CPU-therm\n"),
            ("/sys/class/thermal/thermal_zone0/temp", "40000\n"),
            ("/sys/class/thermal/thermal_zone1/type", "GPU-therm\n"),
            ("/sys/class/thermal/thermal_zone1/temp", "38500\n"),
        ]);
        let conditions = Watch::begin(&board.root, Target::Gpu).end();
        assert_eq!(conditions.frequency_hz, Some(921.6e6));
        assert_eq!(conditions.governor.as_deref(), Some("nvhost_podgov"));
        assert_eq!(conditions.celsius_after, Some(38.5));
    }

    #[test]
    fn looks_are_rare() {
        let board = Board::new(&[(
            "/sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq",
            "1000000\n",
        )]);
        let mut watch = Watch::begin(&board.root, Target::Cpus(vec![0]));
        for _ in 0..1000 {
            watch.look();
        }
        assert!(watch.hz_looks <= 10, "{}", watch.hz_looks);
    }
}
