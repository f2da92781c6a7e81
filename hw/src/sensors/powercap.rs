//! `powercap`: RAPL energy counters of Intel and AMD processors.
//!
//! Format, from `Documentation/power/powercap/powercap.rst`: `/sys/class/powercap/intel-rapl:P[:S]/` with `name`
//! (`package-N`, `core`, `uncore`, `dram`, `psys`), `energy_uj` (µJ, wraps at `max_energy_range_uj`).
//! `intel-rapl-mmio:*` shows the same packages once more and is not looked at. `core` and `uncore` are parts of
//! their package; `dram` is not; `psys` covers the whole platform.
//!
//! Since kernel 5.10 `energy_uj` belongs to root (CVE-2020-8694).

use super::{Driver, read_channels, sensor_id};
use crate::board::{BoardKind, cpuinfo_field};
use crate::error::Result;
use crate::root::{Node, Root};
use crate::sensor::{Accuracy, Kind, Rail, Reading, Role, Sensor, SensorInfo, Value};
use crate::units::{Joules, Seconds};
use std::path::{Path, PathBuf};

/// How it is found.
pub const DRIVER: Driver = Driver {
    name: "powercap",
    kind: Kind::Measured,
    open: |context, instance| {
        Ok(Powercap::open(&context.root, instance)?.map(|sensor| Box::new(sensor) as Box<dyn Sensor>))
    },
    expected: |context| context.board.kind == BoardKind::GenericX86,
    place: "/sys/class/powercap/intel-rapl:*",
    hint: |context, error| {
        match error {
        Some(_) => format!(
            "sudo chmod a+r {}",
            context.root.path("/sys/class/powercap/intel-rapl*/energy_uj").display()
        ),
        None if is_virtual(&context.root) => "# no command helps: this is a virtual machine, and its host keeps RAPL to itself; measure there or with a wall meter"
            .to_owned(),
        None => "sudo modprobe intel_rapl_msr  # RAPL of Intel since Sandy Bridge and of AMD since Zen".to_owned(),
    }
    },
};

const CLASS_DIR: &str = "/sys/class/powercap";

/// Hypervisors set a flag for their guests.
fn is_virtual(root: &Root) -> bool {
    let cpuinfo = root.read_text("/proc/cpuinfo").unwrap_or_default();
    cpuinfo_field(&cpuinfo, "flags")
        .is_some_and(|flags| flags.split_whitespace().any(|flag| flag == "hypervisor"))
}

/// All RAPL domains.
#[derive(Debug)]
pub struct Powercap {
    zones: Vec<Zone>,
    info: SensorInfo,
}

#[derive(Debug)]
struct Zone {
    energy: Node,
    wraps_at: Option<Joules>,
}

impl Powercap {
    /// Opens every zone, or only `instance` (such as `intel-rapl:0`) with its sub-zones.
    pub fn open(root: &Root, instance: Option<&str>) -> Result<Option<Self>> {
        let mut zones = Vec::new();
        let mut rails = Vec::new();
        for dir in zone_dirs(root)? {
            let zone = zone_name(&dir);
            let selected =
                instance.is_none_or(|wanted| zone == wanted || zone.starts_with(&format!("{wanted}:")));
            if !selected {
                continue;
            }
            let name = root.read_text(dir.join("name"))?;
            let range = root.read_number::<f64>(dir.join("max_energy_range_uj")).ok();
            zones.push(Zone {
                energy: root.open(dir.join("energy_uj"))?,
                wraps_at: range
                    .filter(|&uj| uj > 0.0 && uj.is_finite())
                    .map(Joules::from_micro),
            });
            rails.push(rail(zone, &name));
        }
        if zones.is_empty() {
            return Ok(None);
        }
        let total = total_zones(&rails);
        let info = SensorInfo {
            total,
            accuracy: accuracy(),
            note: Some(
                "covers the processor (and memory, where there is a dram rail), not the whole machine".into(),
            ),
            ..SensorInfo::new(sensor_id(&DRIVER, instance), Kind::Measured, rails)
        };
        Ok(Some(Self { zones, info }))
    }
}

impl Sensor for Powercap {
    fn read(&mut self) -> Result<Reading> {
        read_channels(&mut self.zones, Zone::read)
    }

    fn info(&self) -> SensorInfo {
        self.info.clone()
    }
}

impl Zone {
    fn read(&mut self) -> Result<Value> {
        let microjoules = self.energy.read_number::<u64>()?;
        let counter = Joules::from_micro(microjoules as f64);
        if self.wraps_at.is_some_and(|range| counter > range) {
            return Err(self.energy.malformed("a count within max_energy_range_uj"));
        }
        Ok(Value::Energy {
            counter,
            wraps_at: self.wraps_at,
        })
    }
}

/// Every zone once. Sub-zones stand inside their package and, on real systems, flat in the class directory too.
fn zone_dirs(root: &Root) -> Result<Vec<PathBuf>> {
    let mut dirs: Vec<PathBuf> = Vec::new();
    for name in root.list(CLASS_DIR)?.into_iter().filter(|name| is_zone(name)) {
        let dir = PathBuf::from(CLASS_DIR).join(name);
        let parts = root
            .list(&dir)?
            .into_iter()
            .filter(|name| is_zone(name))
            .map(|name| dir.join(name));
        dirs.extend(parts);
        dirs.push(dir);
    }
    dirs.sort_by(|a, b| zone_name(a).cmp(zone_name(b)));
    dirs.dedup_by(|a, b| zone_name(a) == zone_name(b));
    Ok(dirs)
}

fn zone_name(dir: &Path) -> &str {
    dir.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

/// `intel-rapl:0` and `intel-rapl:0:1`; not `intel-rapl` itself, not `intel-rapl-mmio:0`.
fn is_zone(name: &str) -> bool {
    name.strip_prefix("intel-rapl:").is_some_and(|rest| {
        !rest.is_empty() && rest.split(':').all(|n| n.bytes().all(|b| b.is_ascii_digit()))
    })
}

/// Sub-zones of several packages share their names, so they are told apart by the package: `core-1`.
fn rail(zone: &str, name: &str) -> Rail {
    let role = match name {
        "psys" => Role::Total,
        "dram" => Role::Memory,
        "uncore" => Role::Gpu,
        name if name == "core" || name.starts_with("package") => Role::Cpu,
        _ => Role::Other,
    };
    let package = zone.split(':').nth(1).unwrap_or("0");
    let is_part = zone.split(':').count() > 2;
    let name = if is_part && package != "0" {
        format!("{name}-{package}")
    } else {
        name.to_owned()
    };
    Rail::new(name, role).with_energy_step(Joules(61e-6))
}

/// `psys` where it exists, else packages and memory.
fn total_zones(rails: &[Rail]) -> Vec<usize> {
    let which = |wanted: fn(&Rail) -> bool| -> Vec<usize> {
        (0..rails.len()).filter(|&i| wanted(&rails[i])).collect()
    };
    let platform = which(|rail| rail.role == Role::Total);
    if !platform.is_empty() {
        return platform;
    }
    let parts = which(|rail| rail.name.starts_with("package") || rail.role == Role::Memory);
    if parts.is_empty() {
        (0..rails.len()).collect()
    } else {
        parts
    }
}

fn accuracy() -> Accuracy {
    Accuracy {
        gain: 0.05,
        update_period: Some(Seconds(0.001)),
        source: "61 µJ and about 1 ms from the Intel manual; 5 % gain assumed".to_owned(),
        ..Accuracy::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mmio_duplicate_and_the_control_type_are_no_zones() {
        assert!(is_zone("intel-rapl:0") && is_zone("intel-rapl:0:2"));
        for other in ["intel-rapl", "intel-rapl-mmio:0", "intel-rapl:", "intel-rapl:x"] {
            assert!(!is_zone(other), "{other}");
        }
    }

    #[test]
    fn parts_of_a_package_are_not_added() {
        let zones = [
            ("intel-rapl:0", "package-0"),
            ("intel-rapl:0:0", "core"),
            ("intel-rapl:0:1", "uncore"),
            ("intel-rapl:0:2", "dram"),
        ];
        let rails: Vec<Rail> = zones.iter().map(|(zone, name)| rail(zone, name)).collect();
        assert_eq!(total_zones(&rails), [0, 3]);
        let with_psys = [rails, vec![rail("intel-rapl:1", "psys")]].concat();
        assert_eq!(total_zones(&with_psys), [4]);
    }
}
