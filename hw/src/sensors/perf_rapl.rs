//! `perf-rapl`: RAPL energy counters through the kernel's `power` performance monitoring unit.
//!
//! Format, from `arch/x86/events/rapl.c`: `/sys/bus/event_source/devices/power/` with `type`, `cpumask` (one CPU per
//! package), and per event `events/energy-pkg` (`event=0x02`), `events/energy-pkg.scale` (joules per count) and
//! `events/energy-pkg.unit` (`Joules`). Each event is opened once per CPU of the mask with `perf_event_open(2)`; reading
//! the descriptor gives a 64-bit count that the kernel keeps from wrapping.
//!
//! The counters are those of `powercap`; the rights differ: `CAP_PERFMON` or `kernel.perf_event_paranoid` <= 0.

use super::perf_event::PerfEvent;
use super::{Context, Driver, read_channels};
use crate::cpu::parse_cpu_list;
use crate::error::{Error, ErrorKind, Result};
use crate::root::Root;
use crate::sensor::{Accuracy, Kind, Rail, Reading, Role, Sensor, SensorInfo, Value};
use crate::units::{Joules, Seconds};

/// How it is found.
pub const DRIVER: Driver = Driver {
    name: "perf-rapl",
    kind: Kind::Measured,
    open: |context, _| Ok(PerfRapl::open(context)?.map(|sensor| Box::new(sensor) as Box<dyn Sensor>)),
    expected: |_| false,
    place: "/sys/bus/event_source/devices/power",
    hint: |_, error| match error {
        Some(_) => {
            let program = std::env::current_exe().unwrap_or_else(|_| "hwmeter".into());
            format!(
                "sudo setcap cap_perfmon=ep {}  # before Linux 5.8: sudo sysctl kernel.perf_event_paranoid=0",
                program.display()
            )
        }
        None => {
            "sudo modprobe rapl  # kernel option PERF_EVENTS_INTEL_RAPL; virtual machines rarely offer it"
                .to_owned()
        }
    },
};

const PMU_DIR: &str = "/sys/bus/event_source/devices/power";

/// The opened counters.
#[derive(Debug)]
pub struct PerfRapl {
    counters: Vec<Counter>,
    info: SensorInfo,
}

#[derive(Debug)]
struct Counter {
    event: PerfEvent,
    joules_per_count: f64,
}

/// One event of the unit, as sysfs describes it.
#[derive(Clone, Debug, PartialEq)]
struct Event {
    /// `pkg`, `cores`, `ram`, `gpu`, `psys`.
    domain: String,
    config: u64,
    joules_per_count: f64,
}

/// What sysfs says about the unit.
#[derive(Debug, PartialEq)]
struct Pmu {
    kind: u32,
    cpus: Vec<usize>,
    events: Vec<Event>,
}

impl PerfRapl {
    /// Opens every event on every package. Below a prefix there are no counters to open.
    pub fn open(context: &Context) -> Result<Option<Self>> {
        if !context.root.is_real() {
            return Ok(None);
        }
        Self::open_unit(&context.root)
    }

    /// Opens the events of the unit that stands below `root`, in this machine's kernel whatever `root` is.
    pub fn open_unit(root: &Root) -> Result<Option<Self>> {
        let Some(pmu) = read_pmu(root)? else {
            return Ok(None);
        };
        let mut counters = Vec::new();
        let mut rails = Vec::new();
        for (package, &cpu) in pmu.cpus.iter().enumerate() {
            for event in &pmu.events {
                match PerfEvent::open(pmu.kind, event.config, cpu, &format!("energy-{}", event.domain)) {
                    Ok(opened) => {
                        rails.push(rail(event, package));
                        counters.push(Counter {
                            event: opened,
                            joules_per_count: event.joules_per_count,
                        });
                    }
                    // sysfs lists events that some processors do not have.
                    Err(error) if matches!(error.kind(), ErrorKind::Gone | ErrorKind::Unsupported) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        if counters.is_empty() {
            return Ok(None);
        }
        let info = SensorInfo {
            total: total(&rails),
            accuracy: Accuracy {
                gain: 0.05,
                update_period: Some(Seconds(0.001)),
                source: "step from sysfs, about 1 ms from the Intel manual; 5 % gain assumed".to_owned(),
                ..Accuracy::default()
            },
            note: Some(
                "covers the processor (and memory, where there is a dram rail), not the whole machine"
                    .to_owned(),
            ),
            ..SensorInfo::new("perf-rapl", Kind::Measured, rails)
        };
        Ok(Some(Self { counters, info }))
    }
}

impl Sensor for PerfRapl {
    fn read(&mut self) -> Result<Reading> {
        read_channels(&mut self.counters, Counter::read)
    }

    fn info(&self) -> SensorInfo {
        self.info.clone()
    }
}

impl Counter {
    fn read(&mut self) -> Result<Value> {
        let joules = self.event.read()? as f64 * self.joules_per_count;
        Ok(Value::Energy {
            counter: Joules(joules),
            wraps_at: None,
        })
    }
}

/// The unit below `root`; `None` if the kernel has none.
fn read_pmu(root: &Root) -> Result<Option<Pmu>> {
    if !root.exists(PMU_DIR) {
        return Ok(None);
    }
    let path = |name: &str| format!("{PMU_DIR}/{name}");
    let mask = root.read_text(path("cpumask"))?;
    let cpus = parse_cpu_list(&mask).map_err(|_| {
        Error::malformed(
            &root.path(path("cpumask")),
            mask.as_bytes(),
            "a list of CPUs such as 0,18",
        )
    })?;
    let mut events = Vec::new();
    for name in root.list(path("events"))? {
        let Some(domain) = name
            .strip_prefix("energy-")
            .filter(|domain| !domain.contains('.'))
        else {
            continue;
        };
        let file = path(&format!("events/{name}"));
        let malformed =
            |file: &str, text: &str, expected| Error::malformed(&root.path(file), text.as_bytes(), expected);
        let text = root.read_text(&file)?;
        let config = parse_config(&text).ok_or_else(|| malformed(&file, &text, "event=0x.."))?;
        let unit = root.read_text(format!("{file}.unit"))?;
        if unit != "Joules" {
            return Err(malformed(&format!("{file}.unit"), &unit, "Joules"));
        }
        let scale_file = format!("{file}.scale");
        let scale: f64 = root.read_number(&scale_file)?;
        if !(scale.is_finite() && scale > 0.0) {
            return Err(malformed(&scale_file, &scale.to_string(), "a positive number"));
        }
        events.push(Event {
            domain: domain.to_owned(),
            config,
            joules_per_count: scale,
        });
    }
    Ok(Some(Pmu {
        kind: root.read_number(path("type"))?,
        cpus,
        events,
    }))
}

/// `event=0x02`
fn parse_config(text: &str) -> Option<u64> {
    let number = text.trim().strip_prefix("event=")?;
    match number.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None => number.parse().ok(),
    }
}

/// The names powercap has for the same counters.
fn rail(event: &Event, package: usize) -> Rail {
    let (name, role) = match event.domain.as_str() {
        "pkg" => (format!("package-{package}"), Role::Cpu),
        "psys" => ("psys".to_owned(), Role::Total),
        "cores" => (numbered("core", package), Role::Cpu),
        "gpu" => (numbered("uncore", package), Role::Gpu),
        "ram" => (numbered("dram", package), Role::Memory),
        other => (numbered(other, package), Role::Other),
    };
    Rail::new(name, role).with_energy_step(Joules(event.joules_per_count.max(61e-6)))
}

fn numbered(name: &str, package: usize) -> String {
    if package == 0 {
        name.to_owned()
    } else {
        format!("{name}-{package}")
    }
}

/// `psys` where it exists, else packages and memory: what they contain is not added.
fn total(rails: &[Rail]) -> Vec<usize> {
    let which = |wanted: fn(&Rail) -> bool| -> Vec<usize> {
        (0..rails.len()).filter(|&i| wanted(&rails[i])).collect()
    };
    let parts = which(|rail| rail.name.starts_with("package") || rail.role == Role::Memory);
    match which(|rail| rail.role == Role::Total).first() {
        Some(&platform) => vec![platform],
        None if parts.is_empty() => which(|_| true),
        None => parts,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &str)]) -> (tempfile::TempDir, Root) {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::new(dir.path());
        std::fs::create_dir_all(root.path(format!("{PMU_DIR}/events"))).unwrap();
        let good = [
            ("type", "26\n"),
            ("cpumask", "0,18\n"),
            ("events/energy-pkg", "event=0x02\n"),
            ("events/energy-pkg.scale", "2.3283064365386962890625e-10\n"),
            ("events/energy-pkg.unit", "Joules\n"),
        ];
        for (name, content) in good.iter().chain(files) {
            std::fs::write(root.path(format!("{PMU_DIR}/{name}")), content).unwrap();
        }
        (dir, root)
    }

    #[test]
    fn sysfs_tells_type_cpus_events_and_scale() {
        let (_dir, root) = tree(&[]);
        let pmu = read_pmu(&root).unwrap().unwrap();
        let event = Event {
            domain: "pkg".into(),
            config: 2,
            joules_per_count: 2f64.powi(-32),
        };
        assert_eq!(
            pmu,
            Pmu {
                kind: 26,
                cpus: vec![0, 18],
                events: vec![event]
            }
        );
        assert_eq!(read_pmu(&Root::new("/nonexistent")).unwrap(), None);
    }

    #[test]
    fn a_unit_that_makes_no_sense_is_not_guessed() {
        for bad in [
            ("cpumask", ""),
            ("type", "x"),
            ("events/energy-pkg", "umask=1"),
            ("events/energy-pkg", "event=0xzz"),
            ("events/energy-pkg.scale", "0"),
            ("events/energy-pkg.scale", "inf"),
            ("events/energy-pkg.scale", "-1"),
            ("events/energy-pkg.unit", "Watts"),
        ] {
            let (_dir, root) = tree(&[bad]);
            assert_eq!(
                read_pmu(&root).unwrap_err().kind(),
                ErrorKind::Malformed,
                "{bad:?}"
            );
        }
    }

    #[test]
    fn parts_of_packages_are_not_added() {
        let event = |domain: &str| Event {
            domain: domain.into(),
            config: 1,
            joules_per_count: 1e-9,
        };
        let domains = ["cores", "pkg", "ram"];
        let rails: Vec<Rail> = (0..2).flat_map(|p| domains.map(|d| rail(&event(d), p))).collect();
        let names: Vec<&str> = rails.iter().map(|rail| rail.name.as_str()).collect();
        assert_eq!(
            names,
            ["core", "package-0", "dram", "core-1", "package-1", "dram-1"]
        );
        assert_eq!(total(&rails), [1, 2, 4, 5]);
    }
}
