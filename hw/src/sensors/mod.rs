//! The sensors, one file per kind.
//!
//! Each file finds its hardware below [`Context::root`] and gives a [`Driver`]. To add a sensor, write its file
//! and put its `DRIVER` into [`DRIVERS`].

pub mod cpu_model;
pub mod ina3221_hwmon;
pub mod ina3221_iio;
mod load;
#[cfg(feature = "modbus")]
pub mod modbus;
pub mod powercap;
pub mod process_share;
pub mod replay;
pub mod rpi_model;

use crate::board::Board;
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::root::Root;
use crate::sensor::{Kind, Sensor};
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
}

impl Context {
    /// The context of `root` with its board identified.
    pub fn new(root: Root, clock: Arc<dyn Clock>) -> Self {
        let board = Board::identify(&root);
        Self { root, clock, board }
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
    /// What to do about an error or an absence, as a sentence or a command.
    pub hint: fn(&Context, Option<&Error>) -> String,
}

/// All drivers that discovery asks, best first: the first usable one is the default sensor.
pub const DRIVERS: &[&Driver] = &[
    &ina3221_iio::DRIVER,
    &ina3221_hwmon::DRIVER,
    &powercap::DRIVER,
    &rpi_model::DRIVER,
    &cpu_model::DRIVER,
];
