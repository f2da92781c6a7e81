//! Which sensors are there, and for each one that cannot be used: why, and what to do.

use crate::error::{Error, ErrorKind, Result};
use crate::sensor::{Kind, Role, Sensor, SensorInfo};
use crate::sensors::replay::Replay;
use crate::sensors::{Context, DRIVERS, Driver};
use crate::total;

/// One kind of sensor on this board.
#[derive(Debug)]
pub struct Found {
    /// The driver's name.
    pub name: &'static str,
    /// Measured or modelled.
    pub kind: Kind,
    /// What it is, or why it cannot be used.
    pub status: Status,
}

/// Whether a sensor can be used.
#[derive(Debug)]
pub enum Status {
    /// It was opened and read.
    Ok(SensorInfo),
    /// It cannot be used.
    Unusable {
        /// How to react.
        kind: ErrorKind,
        /// What failed, on what.
        reason: String,
        /// What to do: a line for a shell, explanations behind a `#` (see [`Driver::hint`]).
        hint: String,
    },
}

/// Looks for every known sensor. Sensors that this board does not normally have are left out where absent.
pub fn discover(context: &Context) -> Vec<Found> {
    DRIVERS
        .iter()
        .filter_map(|driver| {
            let status = try_driver(context, driver)?;
            Some(Found {
                name: driver.name,
                kind: driver.kind,
                status,
            })
        })
        .collect()
}

/// The sensor used when none is asked for: among the usable ones a measured one before a modelled one, one that has
/// the whole board on a rail before one that has parts of it, and then the first. One that sees nothing but a GPU
/// says little about a machine and is never it.
pub fn default_sensor(found: &[Found]) -> Option<&SensorInfo> {
    let usable = found.iter().filter_map(|found| match &found.status {
        Status::Ok(info) => Some(info),
        Status::Unusable { .. } => None,
    });
    let sees_more_than_gpus = |info: &&SensorInfo| info.rails.iter().any(|rail| rail.role != Role::Gpu);
    usable.filter(sees_more_than_gpus).min_by_key(|info| {
        let mut total = info.total.iter().filter_map(|&i| info.rails.get(i));
        let has_board = total.any(|rail| rail.role == Role::Total);
        (info.kind != Kind::Measured, !has_board)
    })
}

/// Opens a sensor by the name a user gives: a driver's name, with or without an instance.
pub fn open(context: &Context, id: &str) -> Result<Box<dyn Sensor>> {
    let (name, instance) = match id.split_once(':') {
        Some((name, instance)) => (name, Some(instance)),
        None => (id, None),
    };
    if name == "replay" {
        let file = instance.ok_or_else(|| Error::unsupported("sensor replay", "name a file: replay:FILE"))?;
        return Ok(Box::new(Replay::open(context, file)?));
    }
    if name == "modbus" {
        return open_modbus(context, instance.unwrap_or_default());
    }
    let Some(driver) = DRIVERS.iter().find(|driver| driver.name == name) else {
        let known: Vec<&str> = DRIVERS.iter().map(|driver| driver.name).collect();
        let why = format!(
            "there is no such sensor; known are {}, modbus:URL, replay:FILE",
            known.join(", ")
        );
        return Err(Error::unsupported(format!("sensor {id}"), why));
    };
    match (driver.open)(context, instance) {
        Ok(Some(sensor)) => Ok(sensor),
        Ok(None) => {
            let why = format!(
                "not found on this machine; `hwmeter probe` lists what is. {}",
                (driver.hint)(context, None)
            );
            Err(Error::unsupported(format!("sensor {id}"), why))
        }
        Err(error) => Err(error),
    }
}

#[cfg(feature = "modbus")]
fn open_modbus(context: &Context, url: &str) -> Result<Box<dyn Sensor>> {
    Ok(Box::new(crate::sensors::modbus::Modbus::open(context, url)?))
}

#[cfg(not(feature = "modbus"))]
fn open_modbus(_: &Context, _: &str) -> Result<Box<dyn Sensor>> {
    let why = "this program was built without the cargo feature `modbus`";
    Err(Error::unsupported("sensor modbus", why))
}

fn try_driver(context: &Context, driver: &Driver) -> Option<Status> {
    let unusable = |error: &Error| Status::Unusable {
        kind: error.kind(),
        reason: error.to_string(),
        hint: (driver.hint)(context, Some(error)),
    };
    match (driver.open)(context, None) {
        Ok(Some(mut sensor)) => Some(match sensor.read() {
            Ok(reading) => {
                let mut info = sensor.info();
                if let Some(warning) = total::warning(&info, &reading) {
                    total::add_note(&mut info, &warning);
                }
                Status::Ok(info)
            }
            Err(error) => unusable(&error),
        }),
        Ok(None) if (driver.expected)(context) => Some(Status::Unusable {
            kind: ErrorKind::Gone,
            reason: format!("no driver or no device: nothing at {}", driver.place),
            hint: (driver.hint)(context, None),
        }),
        Ok(None) => None,
        Err(error) => Some(unusable(&error)),
    }
}
