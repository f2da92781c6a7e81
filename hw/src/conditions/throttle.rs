//! Signs that the CPU is slowed down.
//!
//! - `cpuN/thermal_throttle/*_throttle_count`: events since boot, on x86 (`arch/x86/kernel/cpu/mce/therm_throt.c`)
//! - `class/thermal/cooling_deviceN/{type,cur_state}`: what cools by slowing the CPU, and whether it does just now
//! - `soc:firmware/get_throttled` on a Raspberry Pi: bits 0 to 3 now, 16 to 19 since boot
//! - `in0_lcrit_alarm` of the hwmon driver `rpi_volt` (`hwmon/raspberrypi-hwmon.rst`): under-voltage since it was last read
//! - `cpu.stat` of the control group: `nr_throttled`, periods in which its quota ran out

use super::{CPU_DIR, HWMON_DIR, THERMAL_DIR};
use crate::cgroup;
use crate::root::Root;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

const PI_THROTTLED: &str = "/sys/devices/platform/soc/soc:firmware/get_throttled";

/// What was seen so far.
#[derive(Debug, Default)]
pub(super) struct Throttle {
    /// Counters of events, and what they said at the beginning.
    counters: Vec<(PathBuf, u64)>,
    /// `cur_state` of what cools by slowing the CPU down.
    cooling: Vec<(String, PathBuf)>,
    /// What the firmware of a Raspberry Pi said at the beginning.
    firmware: Option<u32>,
    /// Says 1 once after an under-voltage.
    alarm: Option<PathBuf>,
    /// Periods without quota at the beginning.
    quota: Option<u64>,
    seen: BTreeSet<String>,
}

/// The low bits of the firmware's word; the same shifted by 16 mean since boot.
const FIRMWARE_BITS: [(u32, &str); 4] = [
    (0, "under-voltage"),
    (1, "frequency capped"),
    (2, "throttled"),
    (3, "soft temperature limit"),
];

const UNDER_VOLTAGE: &str = "rpi_volt: under-voltage";

impl Throttle {
    pub fn begin(root: &Root, cpus: &[usize]) -> Self {
        let files = cpus.iter().flat_map(|cpu| {
            ["core", "package"]
                .map(|of| PathBuf::from(format!("{CPU_DIR}/cpu{cpu}/thermal_throttle/{of}_throttle_count")))
        });
        let counters = files.filter_map(|file| Some((file.clone(), root.read_number(&file).ok()?)));
        let mut throttle = Self {
            counters: counters.collect(),
            cooling: cooling(root),
            firmware: firmware(root),
            alarm: alarm(root),
            quota: cgroup::throttled_periods(root),
            seen: BTreeSet::new(),
        };
        throttle.look(root);
        // What happened before does not count.
        throttle.seen.remove(UNDER_VOLTAGE);
        throttle
    }

    /// What is so just now.
    pub fn look(&mut self, root: &Root) {
        for (name, file) in &self.cooling {
            if root.read_number::<i64>(file).is_ok_and(|state| state > 0) {
                self.seen.insert(format!("{name} cools by slowing the CPU"));
            }
        }
        let is_alarm = |file| root.read_number::<u8>(file).is_ok_and(|alarm| alarm == 1);
        if self.alarm.as_ref().is_some_and(is_alarm) {
            self.seen.insert(UNDER_VOLTAGE.to_owned());
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
    pub fn end(mut self, root: &Root) -> Option<Vec<String>> {
        self.look(root);
        for (file, before) in &self.counters {
            let now = root.read_number::<u64>(file).unwrap_or(*before);
            if now > *before {
                let name = file.file_name().unwrap_or_default().to_string_lossy();
                self.seen.insert(format!("{name} went up"));
            }
        }
        if let (Some(before), Some(now)) = (self.quota, cgroup::throttled_periods(root))
            && now > before
        {
            self.seen
                .insert("the control group's CPU quota ran out".to_owned());
        }
        let has_source = !self.counters.is_empty()
            || !self.cooling.is_empty()
            || self.firmware.is_some()
            || self.alarm.is_some()
            || self.quota.is_some();
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

fn alarm(root: &Root) -> Option<PathBuf> {
    let names = root.list(HWMON_DIR).unwrap_or_default();
    let mut dirs = names.iter().map(|name| Path::new(HWMON_DIR).join(name));
    let dir = dirs.find(|dir| {
        root.read_text(dir.join("name"))
            .is_ok_and(|name| name == "rpi_volt")
    })?;
    Some(dir.join("in0_lcrit_alarm"))
}

fn firmware(root: &Root) -> Option<u32> {
    let text = root.read_text(PI_THROTTLED).ok()?;
    u32::from_str_radix(text.trim_start_matches("0x"), 16).ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::tests::Board;
    use super::*;

    const COUNT: &str = "/sys/devices/system/cpu/cpu1/thermal_throttle/package_throttle_count";
    const COOLING: &str = "/sys/class/thermal/cooling_device0";

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
    fn an_under_voltage_in_the_middle_marks_the_row_and_one_before_does_not() {
        let file = "/sys/class/hwmon/hwmon1/in0_lcrit_alarm";
        let board = Board::new(&[("/sys/class/hwmon/hwmon1/name", "rpi_volt\n"), (file, "0\n")]);
        assert_eq!(board.watch(|| ()).throttled, Some(false));
        let conditions = board.watch(|| board.write(file, "1\n"));
        assert_eq!(conditions.throttle_signs, [UNDER_VOLTAGE]);
        // The driver forgets once it was read, at the beginning.
        let mut throttle = Throttle::begin(&board.root, &[]);
        board.write(file, "0\n");
        throttle.look(&board.root);
        assert_eq!(throttle.end(&board.root), Some(Vec::new()));
    }

    #[test]
    fn a_quota_that_runs_out_marks_the_row() {
        let stat = "/sys/fs/cgroup/box/cpu.stat";
        let board = Board::new(&[
            ("/proc/self/cgroup", "0::/box\n"),
            (stat, "usage_usec 5\nnr_periods 9\nnr_throttled 3\n"),
        ]);
        assert_eq!(board.watch(|| ()).throttled, Some(false));
        let conditions = board.watch(|| board.write(stat, "nr_throttled 4\n"));
        assert_eq!(
            conditions.throttle_signs,
            ["the control group's CPU quota ran out"]
        );
    }
}
