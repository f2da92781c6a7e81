//! Before anything is measured: what would spoil it, and whether to go on at all.

use hwmeter_hw::Root;
use hwmeter_hw::cgroup;
use hwmeter_hw::cpu::{CpuTimesReader, core_count};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Below this charge a battery is not drained for a calibration.
const LEAST_BATTERY_PERCENT: f64 = 20.0;
/// A machine that is busier than this is worth a word.
const BUSY: f64 = 0.1;
/// How long the load is looked at.
const LOOK: Duration = Duration::from_millis(500);

/// What else is going on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Surroundings {
    /// Share of all CPU time that others used just before, 0 to 1.
    pub load: Option<f64>,
    /// The kernel's load average of the last minute.
    pub load_average: Option<f64>,
    /// CPUs that the control group may use.
    pub quota: Option<f64>,
    /// CPUs that are online.
    pub cores: usize,
}

impl Surroundings {
    /// Looks for half a second.
    pub fn look(root: &Root) -> Self {
        Self {
            load: load(root),
            load_average: load_average(root),
            quota: cgroup::cpu_quota(root),
            cores: core_count(root),
        }
    }

    /// Whether others use more than a tenth of the machine.
    pub fn is_busy(&self) -> bool {
        self.load.is_some_and(|load| load > BUSY)
    }

    /// One sentence for each thing to know.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if let Some(load) = self.load.filter(|_| self.is_busy()) {
            let average = self
                .load_average
                .map(|average| format!(", load average {average:.2}"));
            warnings.push(format!(
                "the machine is busy: others use {:.0} % of its CPU time{}; figures will scatter, and be too low",
                100.0 * load,
                average.unwrap_or_default()
            ));
        }
        if let Some(quota) = self.quota.filter(|quota| *quota < self.cores as f64) {
            warnings.push(format!(
                "this process may use {quota} of {} CPUs (quota of its control group): figures are those of the quota, \
                 not of the board",
                self.cores
            ));
        }
        warnings
    }
}

/// An error if the machine runs from a battery that is nearly empty.
pub fn battery(root: &Root) -> Result<(), String> {
    const DIR: &str = "/sys/class/power_supply";
    for name in root.list(DIR).unwrap_or_default() {
        let dir: PathBuf = Path::new(DIR).join(&name);
        let text = |file: &str| root.read_text(dir.join(file)).unwrap_or_default();
        // A battery of scope Device is that of a mouse.
        let is_ours = matches!(text("type").as_str(), "Battery" | "UPS") && text("scope") != "Device";
        let is_draining = text("status") == "Discharging";
        let percent = root.read_number::<f64>(dir.join("capacity")).ok();
        if let Some(percent) = percent.filter(|p| is_ours && is_draining && *p < LEAST_BATTERY_PERCENT) {
            return Err(format!(
                "battery {name} is at {percent} %, and a calibration keeps every core busy; plug the machine in, or give \
                 --force"
            ));
        }
    }
    Ok(())
}

fn load(root: &Root) -> Option<f64> {
    let mut times = CpuTimesReader::open(root).ok()?;
    let before = times.read().ok()?;
    std::thread::sleep(LOOK);
    times.read().ok()?.utilisation_since(&before)
}

fn load_average(root: &Root) -> Option<f64> {
    let text = root.read_text("/proc/loadavg").ok()?;
    text.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn with_battery(files: &[(&str, &str)]) -> Result<(), String> {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::new(dir.path());
        let place = root.path("/sys/class/power_supply/BAT0");
        std::fs::create_dir_all(&place).unwrap();
        for (file, content) in files {
            std::fs::write(place.join(file), content).unwrap();
        }
        battery(&root)
    }

    #[test]
    fn only_a_battery_that_runs_out_stops_us() {
        let refused = with_battery(&[
            ("type", "Battery\n"),
            ("status", "Discharging\n"),
            ("capacity", "19\n"),
        ]);
        let said = refused.unwrap_err();
        assert!(
            said.contains("BAT0 is at 19 %") && said.contains("--force"),
            "{said}"
        );
        for fine in [
            [
                ("type", "Battery\n"),
                ("status", "Discharging\n"),
                ("capacity", "20\n"),
            ],
            [
                ("type", "Battery\n"),
                ("status", "Charging\n"),
                ("capacity", "3\n"),
            ],
            [
                ("type", "Mains\n"),
                ("status", "Discharging\n"),
                ("capacity", "3\n"),
            ],
        ] {
            with_battery(&fine).unwrap();
        }
        let mouse = [
            ("type", "Battery\n"),
            ("scope", "Device\n"),
            ("status", "Discharging\n"),
            ("capacity", "3\n"),
        ];
        with_battery(&mouse).unwrap();
    }

    #[test]
    fn load_and_quota_are_told_and_a_quiet_board_says_nothing() {
        let quiet = Surroundings {
            load: Some(0.02),
            load_average: Some(0.1),
            quota: None,
            cores: 4,
        };
        assert_eq!(quiet.warnings(), [""; 0]);
        let busy = Surroundings {
            load: Some(0.35),
            quota: Some(0.5),
            ..quiet
        };
        let said = busy.warnings();
        assert!(said[0].contains("35 %") && said[0].contains("0.10"), "{said:?}");
        assert!(said[1].contains("0.5 of 4 CPUs"), "{said:?}");
    }
}
