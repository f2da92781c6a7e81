//! Under what conditions something was timed: clock, governor, temperature, and whether the CPU was throttled.
//!
//! Sources, all below `/sys`:
//! - `cpuN/cpufreq/scaling_cur_freq` and `scaling_governor` (`admin-guide/pm/cpufreq.rst`)
//! - `class/thermal/thermal_zoneN/{type,temp}` and `cooling_deviceN/{type,cur_state}` (`driver-api/thermal/sysfs-api.rst`),
//!   else the CPU's own driver in `class/hwmon`
//! - `cpuN/thermal_throttle/*_throttle_count`: events since boot, on x86 (`arch/x86/kernel/cpu/mce/therm_throt.c`)
//! - `soc:firmware/get_throttled` on a Raspberry Pi: bits 0 to 3 now, 16 to 19 since boot

use crate::blas::bench::Watcher;
use crate::root::Root;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const CPU_DIR: &str = "/sys/devices/system/cpu";
const THERMAL_DIR: &str = "/sys/class/thermal";
const HWMON_DIR: &str = "/sys/class/hwmon";
const PI_THROTTLED: &str = "/sys/devices/platform/soc/soc:firmware/get_throttled";

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
    /// Whether the CPU was slowed down for heat or want of voltage.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub throttled: Option<bool>,
    /// By what that was seen.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub throttle_signs: Vec<String>,
}

/// Between two looks: reading a dozen files takes about 0.1 ms, in which nothing is timed.
const LOOK_PERIOD: Duration = Duration::from_millis(100);

/// Looks at the conditions from time to time, between what is timed.
#[derive(Debug)]
pub struct Watch {
    root: Root,
    /// `None` for the one that the calling thread is on at each look.
    cpus: Option<Vec<usize>>,
    khz_sum: f64,
    khz_looks: u32,
    governors: BTreeSet<String>,
    celsius_before: Option<f64>,
    throttle: Throttle,
    last_look: Instant,
}

impl Watch {
    /// Begins to watch these CPUs; `None` watches the one that the calling thread is on.
    pub fn begin(root: &Root, cpus: Option<Vec<usize>>) -> Self {
        let mut watch = Self {
            root: root.clone(),
            cpus,
            khz_sum: 0.0,
            khz_looks: 0,
            governors: BTreeSet::new(),
            celsius_before: cpu_celsius(root),
            throttle: Throttle::default(),
            last_look: Instant::now(),
        };
        watch.throttle = Throttle::begin(root, &watch.cpus_now());
        watch
    }

    /// To be called often: looks only when the last look is a while ago.
    pub fn look(&mut self) {
        if self.last_look.elapsed() >= LOOK_PERIOD {
            self.look_now();
            self.last_look = Instant::now();
        }
    }

    fn look_now(&mut self) {
        for cpu in self.cpus_now() {
            let dir = PathBuf::from(format!("{CPU_DIR}/cpu{cpu}/cpufreq"));
            if let Ok(khz) = self.root.read_number::<f64>(dir.join("scaling_cur_freq"))
                && khz > 0.0
            {
                self.khz_sum += khz;
                self.khz_looks += 1;
            }
            if let Ok(governor) = self.root.read_text(dir.join("scaling_governor")) {
                self.governors.insert(governor);
            }
        }
        self.throttle.look(&self.root);
    }

    /// What was seen, with a last look now.
    pub fn end(mut self) -> Conditions {
        self.look_now();
        let governors: Vec<String> = self.governors.into_iter().collect();
        let signs = self.throttle.end(&self.root);
        Conditions {
            frequency_hz: (self.khz_looks > 0).then(|| 1e3 * self.khz_sum / f64::from(self.khz_looks)),
            governor: (!governors.is_empty()).then(|| governors.join("+")),
            celsius_before: self.celsius_before,
            celsius_after: cpu_celsius(&self.root),
            throttled: signs.as_ref().map(|signs| !signs.is_empty()),
            throttle_signs: signs.unwrap_or_default(),
        }
    }

    fn cpus_now(&self) -> Vec<usize> {
        self.cpus.clone().unwrap_or_else(|| {
            // SAFETY: takes nothing.
            let cpu = unsafe { libc::sched_getcpu() };
            usize::try_from(cpu).into_iter().collect()
        })
    }
}

impl Watcher for Watch {
    fn run_done(&mut self) {
        self.look();
    }
}

/// The CPU's temperature in degrees Celsius: the hottest of the thermal zones that are the CPU's, else what its own
/// driver says. Of other zones (power supplies, dummies of a Jetson's PMIC) nothing is taken.
pub fn cpu_celsius(root: &Root) -> Option<f64> {
    let zones = values(root, THERMAL_DIR, "thermal_zone", "type", is_cpu_zone, "temp");
    let drivers = || values(root, HWMON_DIR, "hwmon", "name", is_cpu_driver, "temp1_input");
    hottest(zones).or_else(|| hottest(drivers()))
}

/// `cpu-thermal`, `CPU-therm`, `bigcore0-thermal`, `x86_pkg_temp`, `soc-thermal` and their like.
fn is_cpu_zone(kind: &str) -> bool {
    let kind = kind.to_ascii_lowercase();
    ["cpu", "core", "pkg_temp", "soc-thermal", "soc_thermal"]
        .iter()
        .any(|part| kind.contains(part))
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

/// Signs that the CPU is slowed down.
#[derive(Debug, Default)]
struct Throttle {
    /// Counters of events, and what they said at the beginning.
    counters: Vec<(PathBuf, u64)>,
    /// `cur_state` of what cools by slowing the CPU down.
    cooling: Vec<(String, PathBuf)>,
    /// What the firmware of a Raspberry Pi said at the beginning.
    firmware: Option<u32>,
    seen: BTreeSet<String>,
}

/// The low bits of the firmware's word; the same shifted by 16 mean since boot.
const FIRMWARE_BITS: [(u32, &str); 4] = [
    (0, "under-voltage"),
    (1, "frequency capped"),
    (2, "throttled"),
    (3, "soft temperature limit"),
];

impl Throttle {
    fn begin(root: &Root, cpus: &[usize]) -> Self {
        let files = cpus.iter().flat_map(|cpu| {
            ["core", "package"]
                .map(|of| PathBuf::from(format!("{CPU_DIR}/cpu{cpu}/thermal_throttle/{of}_throttle_count")))
        });
        let counters = files.filter_map(|file| Some((file.clone(), root.read_number(&file).ok()?)));
        let mut throttle = Self {
            counters: counters.collect(),
            cooling: cooling(root),
            firmware: firmware(root),
            seen: BTreeSet::new(),
        };
        throttle.look(root);
        throttle
    }

    /// What is so just now.
    fn look(&mut self, root: &Root) {
        for (name, file) in &self.cooling {
            if root.read_number::<i64>(file).is_ok_and(|state| state > 0) {
                self.seen.insert(format!("{name} cools by slowing the CPU"));
            }
        }
        if let (Some(before), Some(now)) = (self.firmware, firmware(root)) {
            for (bit, what) in FIRMWARE_BITS {
                let is_so = now >> bit & 1 == 1;
                let has_been = (now & !before) >> (16 + bit) & 1 == 1;
                if is_so || has_been {
                    self.seen.insert(format!("firmware: {what}"));
                }
            }
        }
    }

    /// All signs; `None` if this board has none to look at.
    fn end(mut self, root: &Root) -> Option<Vec<String>> {
        self.look(root);
        for (file, before) in &self.counters {
            let now = root.read_number::<u64>(file).unwrap_or(*before);
            if now > *before {
                let name = file.file_name().unwrap_or_default().to_string_lossy();
                self.seen.insert(format!("{name} went up"));
            }
        }
        let has_source = !self.counters.is_empty() || !self.cooling.is_empty() || self.firmware.is_some();
        has_source.then(|| self.seen.into_iter().collect())
    }
}

/// Devices of the thermal framework that are a CPU's clock.
fn cooling(root: &Root) -> Vec<(String, PathBuf)> {
    let names = root.list(THERMAL_DIR).unwrap_or_default();
    let devices = names.iter().filter(|name| name.starts_with("cooling_device"));
    let found = devices.filter_map(|name| {
        let dir = Path::new(THERMAL_DIR).join(name);
        let kind = root.read_text(dir.join("type")).ok()?;
        let is_clock =
            kind.starts_with("thermal-cpufreq") || kind.starts_with("cpufreq-") || kind == "Processor";
        is_clock.then(|| (kind, dir.join("cur_state")))
    });
    found.collect()
}

fn firmware(root: &Root) -> Option<u32> {
    let text = root.read_text(PI_THROTTLED).ok()?;
    u32::from_str_radix(text.trim_start_matches("0x"), 16).ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    struct Board(Root, tempfile::TempDir);

    impl Board {
        fn new(files: &[(&str, &str)]) -> Self {
            let dir = tempfile::tempdir().unwrap();
            let board = Self(Root::new(dir.path()), dir);
            for (path, content) in files {
                board.write(path, content);
            }
            board
        }

        fn write(&self, path: &str, content: &str) {
            let path = self.0.path(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }

        /// What is seen when `change` happens in the middle.
        fn watch(&self, change: impl FnOnce()) -> Conditions {
            let mut watch = Watch::begin(&self.0, Some(vec![0, 1]));
            watch.look_now();
            change();
            watch.look_now();
            watch.end()
        }
    }

    const COUNT: &str = "/sys/devices/system/cpu/cpu1/thermal_throttle/package_throttle_count";
    const COOLING: &str = "/sys/class/thermal/cooling_device0";

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
        assert_eq!(cpu_celsius(&desktop.0), Some(52.0));
    }

    #[test]
    fn a_counter_that_goes_up_in_the_middle_marks_the_row() {
        let board = Board::new(&[(COUNT, "7\n")]);
        assert_eq!(board.watch(|| ()).throttled, Some(false));
        let conditions = board.watch(|| board.write(COUNT, "9\n"));
        assert_eq!(conditions.throttled, Some(true));
        assert_eq!(conditions.throttle_signs, ["package_throttle_count went up"]);
    }

    #[test]
    fn a_cooling_device_that_acts_in_the_middle_marks_the_row() {
        let state = format!("{COOLING}/cur_state");
        let board = Board::new(&[
            (&format!("{COOLING}/type"), "thermal-cpufreq-0\n"),
            (&state, "0\n"),
        ]);
        assert_eq!(board.watch(|| ()).throttled, Some(false));
        let conditions = board.watch(|| board.write(&state, "2\n"));
        assert_eq!(conditions.throttled, Some(true));
        assert!(conditions.throttle_signs[0].contains("thermal-cpufreq-0"));
        // A fan may run.
        let board = Board::new(&[(&format!("{COOLING}/type"), "pwm-fan\n"), (&state, "3\n")]);
        assert_eq!(board.watch(|| ()).throttled, None);
    }

    #[test]
    fn a_raspberry_pi_tells_by_its_firmware() {
        // Throttled since boot, but before: no sign.
        let board = Board::new(&[(PI_THROTTLED, "40000\n")]);
        assert_eq!(board.watch(|| ()).throttled, Some(false));
        let conditions = board.watch(|| board.write(PI_THROTTLED, "50005\n"));
        assert_eq!(
            conditions.throttle_signs,
            ["firmware: throttled", "firmware: under-voltage"]
        );
        // It came and went between two looks: the bit since boot is new.
        let board = Board::new(&[(PI_THROTTLED, "0\n")]);
        let conditions = board.watch(|| board.write(PI_THROTTLED, "80000\n"));
        assert_eq!(conditions.throttle_signs, ["firmware: soft temperature limit"]);
    }

    #[test]
    fn looks_are_rare() {
        let board = Board::new(&[(
            "/sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq",
            "1000000\n",
        )]);
        let mut watch = Watch::begin(&board.0, Some(vec![0]));
        for _ in 0..1000 {
            watch.look();
        }
        assert!(watch.khz_looks <= 10, "{}", watch.khz_looks);
    }
}
