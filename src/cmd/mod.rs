//! One file per subcommand: wiring only.

mod broker;
pub mod calibrate;
mod engine;
pub mod evaluate;
pub mod frequencies;
mod host_name;
pub mod integrate;
pub mod learners;
pub mod link;
pub mod load;
mod load_devices;
pub mod mark;
pub mod measure;
pub mod probe;
pub mod report;
pub mod run_agent;
pub mod serve;
pub mod setup;
pub mod simulate;
mod stop_signal;
pub mod tasks;
pub mod trainer;
pub mod values;

use anyhow::Context as _;
use hwmeter_hw::Root;
use hwmeter_hw::board::Board;
use hwmeter_hw::calibration::Calibration;
use hwmeter_hw::clock::MonotonicClock;
use hwmeter_hw::cpu::CpuInfo;
use hwmeter_hw::discover::{self, Found, Status};
use hwmeter_hw::error::ErrorKind;
use hwmeter_hw::sensor::{Kind, Sensor, SensorInfo};
use hwmeter_hw::sensors::Context;
use hwmeter_hw::sensors::radio::{Radio, WithRadio};
use hwmeter_hw::total::WithTotal;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What sensors need: the root given on the command line, real time, the board.
pub fn context(root: &Root) -> Context {
    Context::new(root.clone(), Arc::new(MonotonicClock))
}

/// The calibration file named, else the first one found; empty where there is none.
///
/// The user's own file describes this machine and not a board whose files were copied to another root: there, only the
/// root's `/etc` counts.
pub fn calibration(named: Option<&Path>, root: &Root) -> anyhow::Result<Calibration> {
    match calibration_file(named, root) {
        Some(file) => Ok(Calibration::read(&file)?),
        None => Ok(Calibration::default()),
    }
}

/// Where a calibration is, below `/etc` and in a user's own settings.
pub const CALIBRATION_FILE: &str = "hwmeter/calibration.toml";

/// The file that [`calibration`] reads; `None` where there is none.
pub fn calibration_file(named: Option<&Path>, root: &Root) -> Option<PathBuf> {
    let own = root
        .is_real()
        .then(config_dir)
        .flatten()
        .map(|dir| dir.join(CALIBRATION_FILE));
    let system = root.path(Path::new("/etc").join(CALIBRATION_FILE));
    match named {
        Some(named) => Some(named.to_owned()),
        None => own.into_iter().chain([system]).find(|file| file.exists()),
    }
}

/// Says where the calibration was made on another board, with another kernel or governor: its figures may be others now.
pub fn warn_of_other(calibration: &Calibration, root: &Root) {
    if calibration.made().is_none() {
        return;
    }
    let governor = CpuInfo::read(root).governor;
    let kernel = kernel(root).unwrap_or_default();
    for warning in calibration.warnings(&Board::identify(root), &kernel, governor.as_deref()) {
        tracing::warn!("{warning}");
    }
}

/// The kernel's release.
pub fn kernel(root: &Root) -> Option<String> {
    root.read_text("/proc/sys/kernel/osrelease").ok()
}

/// `$XDG_CONFIG_HOME`, else `~/.config`. The standard says that a path that is not absolute counts as unset.
pub fn config_dir() -> Option<PathBuf> {
    let path = |name| std::env::var_os(name).map(PathBuf::from);
    path("XDG_CONFIG_HOME")
        .filter(|dir| dir.is_absolute())
        .or_else(|| Some(path("HOME")?.join(".config")))
}

/// The same sensor with these rails as its total, if any are given.
pub fn with_total(sensor: Box<dyn Sensor>, total: &[String]) -> anyhow::Result<Box<dyn Sensor>> {
    if total.is_empty() {
        return Ok(sensor);
    }
    let names: Vec<&str> = total.iter().map(String::as_str).collect();
    Ok(Box::new(WithTotal::new(sensor, &names)?))
}

/// The same sensor with a modem's modelled power on top, if one is given.
pub fn with_radio(
    sensor: Box<dyn Sensor>,
    radio: Option<&Radio>,
    context: &Context,
) -> anyhow::Result<Box<dyn Sensor>> {
    let Some(radio) = radio else { return Ok(sensor) };
    let sensor = WithRadio::new(sensor, radio.clone(), &context.root, Arc::clone(&context.clock))
        .context("cannot add the radio")?;
    Ok(Box::new(sensor))
}

/// Opens the sensor named, or the best one found, with what the calibration says about it.
pub fn open_sensor(
    context: &Context,
    calibration: &Calibration,
    name: Option<&str>,
) -> anyhow::Result<Box<dyn Sensor>> {
    let context = context.clone().calibrated(calibration);
    Ok(calibration.applied_to(open_as_is(&context, name)?)?)
}

fn open_as_is(context: &Context, name: Option<&str>) -> anyhow::Result<Box<dyn Sensor>> {
    if let Some(name) = name {
        return discover::open(context, name).with_context(|| format!("cannot use sensor {name}"));
    }
    let found = discover::discover(context);
    match discover::default_sensor(&found) {
        Some(info) => {
            warn_of_better(&found, info);
            discover::open(context, &info.id).with_context(|| format!("cannot use sensor {}", info.id))
        }
        None => anyhow::bail!("no usable sensor on this machine. {}", unusable(&found)),
    }
}

/// A model must not stand in silently for a sensor that is there and fails.
fn warn_of_better(found: &[Found], used: &SensorInfo) {
    if used.kind == Kind::Measured {
        return;
    }
    for other in found.iter().filter(|other| other.kind == Kind::Measured) {
        if let Status::Unusable { kind, reason, hint } = &other.status
            && *kind != ErrorKind::Gone
        {
            tracing::warn!(
                "{} is there and cannot be used: {reason}; {} ({}) is used instead. Try: {hint}",
                other.name,
                used.id,
                used.kind
            );
        }
    }
}

fn unusable(found: &[Found]) -> String {
    let reasons: Vec<String> = found
        .iter()
        .filter_map(|found| match &found.status {
            Status::Ok(_) => None,
            Status::Unusable { reason, hint, .. } => Some(format!("{}: {reason}. Try: {hint}", found.name)),
        })
        .collect();
    if reasons.is_empty() {
        "`hwmeter probe` shows what was looked for".to_owned()
    } else {
        reasons.join("; ")
    }
}
