//! The sensors, one file per kind.
//!
//! Each file finds its hardware below [`Context::root`] and gives a [`Driver`]. To add a sensor, write its file
//! and put its `DRIVER` into [`DRIVERS`].

mod child;
pub mod cpu_model;
pub mod hwmon;
mod hwmon_rails;
pub(crate) mod ina3221;
pub mod ina3221_hwmon;
pub mod ina3221_iio;
mod load;
mod mailbox;
#[cfg(feature = "modbus")]
pub mod modbus;
pub mod nvml;
mod perf_event;
pub mod perf_rapl;
pub mod pmic_parse;
pub mod power_supply;
pub mod powercap;
pub mod process_share;
mod program;
pub mod radio;
pub mod replay;
pub mod rpi_model;
pub mod rpi_pmic;
pub mod tegrastats;
pub mod tegrastats_parse;

use crate::board::Board;
use crate::calibration::{Calibration, FittedModel};
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::root::{Node, Root};
use crate::sensor::{Kind, Reading, Sensor, Value};
use crate::units::Watts;
use std::sync::Arc;

/// What a driver needs to find and open its hardware.
#[derive(Clone)]
pub struct Context {
    /// Where `/sys`, `/proc` and `/dev` are.
    pub root: Root,
    /// The time, for sensors that integrate by themselves.
    pub clock: Arc<dyn Clock>,
    /// The board.
    pub board: Board,
    /// The power model of this board, where a calibration file has one: `cpu-model` and `rpi-model` use it.
    pub power_model: Option<Arc<FittedModel>>,
}

impl Context {
    /// The context of `root` with its board identified.
    pub fn new(root: Root, clock: Arc<dyn Clock>) -> Self {
        let board = Board::identify(&root);
        Self {
            root,
            clock,
            board,
            power_model: None,
        }
    }

    /// The same with the power model that a calibration file has for this board.
    pub fn calibrated(mut self, calibration: &Calibration) -> Self {
        self.power_model = calibration.power_model_for(&self.board).map(Arc::new);
        self
    }
}

/// Opens a driver's sensor; the string is the instance asked for, if any.
pub type Open = fn(&Context, Option<&str>) -> Result<Option<Box<dyn Sensor>>>;

/// How one kind of sensor is found.
pub struct Driver {
    /// The name users select it by.
    pub name: &'static str,
    /// Measured or modelled.
    pub kind: Kind,
    /// Opens all chips or zones of this driver, or only the named instance.
    /// `Ok(None)`: no such hardware here. `Err`: it is here and cannot be used.
    pub open: Open,
    /// Whether a board of this kind normally has it, so that its absence is worth a word.
    pub expected: fn(&Context) -> bool,
    /// Where it stands if it is there: paths, programs.
    pub place: &'static str,
    /// What to do about an error or an absence: a line that can be pasted into a shell as it is, explanations behind a
    /// `#`. One that begins with `#` is an explanation alone, where no command helps.
    pub hint: fn(&Context, Option<&Error>) -> String,
}

/// All drivers that discovery asks, best first: the first usable one is the default sensor.
pub const DRIVERS: &[&Driver] = &[
    &ina3221_iio::DRIVER,
    &ina3221_hwmon::DRIVER,
    &hwmon::DRIVER,
    &tegrastats::DRIVER,
    &rpi_pmic::DRIVER,
    &powercap::DRIVER,
    &perf_rapl::DRIVER,
    &nvml::DRIVER,
    &power_supply::DRIVER,
    &rpi_model::DRIVER,
    &cpu_model::DRIVER,
];

/// How a sensor is named: its driver alone, or one chip, zone or card of it.
fn sensor_id(driver: &Driver, instance: Option<&str>) -> String {
    match instance {
        Some(instance) => format!("{}:{instance}", driver.name),
        None => driver.name.to_owned(),
    }
}

/// No machine that this program runs on takes as much: beyond it a driver has read an overflow or a dead bus.
const HIGHEST: Watts = Watts(1e6);

/// The power, if it is one that can be; `node` is the file that was read last.
fn plausible(power: Watts, node: &mut Node) -> Result<Value> {
    if power.0.abs() <= HIGHEST.0 {
        Ok(Value::Power(power))
    } else {
        Err(node.malformed("a power of less than a megawatt"))
    }
}

/// A reading of one value per channel. A channel that has none just now (`ENODATA`, `EAGAIN`) is missing and the
/// others stand; when no channel has one, the sample is lost for the reason the last of them gave.
fn read_channels<C>(channels: &mut [C], read: impl Fn(&mut C) -> Result<Value>) -> Result<Reading> {
    let mut reading = Reading::default();
    let mut last_error = None;
    for channel in channels {
        let value = match read(channel) {
            Err(error) if error.kind() == ErrorKind::Busy => {
                last_error = Some(error);
                Value::Missing
            }
            other => other?,
        };
        reading.values.push(value);
    }
    match last_error {
        Some(error) if reading.values.iter().all(|value| *value == Value::Missing) => Err(error),
        _ => Ok(reading),
    }
}
