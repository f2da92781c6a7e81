//! `nvml`: NVIDIA graphics cards through the NVIDIA Management Library.
//!
//! `nvmlDeviceGetTotalEnergyConsumption` gives millijoules since the driver was loaded (Volta and later), else
//! `nvmlDeviceGetPowerUsage` milliwatts. The library is looked up when the sensor is opened. On a Jetson it is missing
//! (JetPack 4, 5), or it starts and then answers every call about power with `NotSupported` (JetPack 6, 7): both mean
//! that there is no such sensor here, and nothing is wrong.

use super::{Context, Driver, read_channels, sensor_id};
use crate::error::{Error, Result};
use crate::gpu;
use crate::sensor::{Accuracy, Kind, Rail, Reading, Role, Sensor, SensorInfo, Value};
use crate::units::{Joules, Seconds, Watts};
use nvml_wrapper::Nvml as Library;
use nvml_wrapper::error::NvmlError;
use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// How it is found.
pub const DRIVER: Driver = Driver {
    name: "nvml",
    kind: Kind::Measured,
    open: |context, instance| {
        Ok(Nvml::open(context, instance)?.map(|sensor| Box::new(sensor) as Box<dyn Sensor>))
    },
    expected: |context| !context.board.kind.is_jetson() && context.root.exists("/dev/nvidiactl"),
    place: "libnvidia-ml.so.1",
    hint: |_, _| {
        if gpu::is_hidden() {
            return "hwmeter measure --sensor nvml --duration 10s  # from another shell: --gpu off leaves the card alone"
                .to_owned();
        }
        "nvidia-smi  # must list the card; else install NVIDIA's driver with its library libnvidia-ml.so.1"
            .to_owned()
    },
};

/// The library's name: the one without a version belongs to development packages.
const LIBRARY: &str = "libnvidia-ml.so.1";

/// No card takes as much; a driver that has lost its card may answer with all bits set.
const HIGHEST_W: f64 = 10_000.0;

/// All cards that tell energy or power.
pub struct Nvml {
    cards: Vec<Card>,
    info: SensorInfo,
}

struct Card {
    library: Arc<Library>,
    index: u32,
    quantity: Quantity,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Quantity {
    Energy,
    Power,
}

impl Nvml {
    /// Opens every card, or only `instance` (such as `gpu0`). Below a prefix there are no cards, and where GPUs are
    /// hidden from this process, not even their sensor is touched.
    pub fn open(context: &Context, instance: Option<&str>) -> Result<Option<Self>> {
        if !context.root.is_real() || gpu::is_hidden() {
            return Ok(None);
        }
        Self::load(OsStr::new(LIBRARY), instance)
    }

    /// The same with a library of that name or path.
    pub fn load(library: &OsStr, instance: Option<&str>) -> Result<Option<Self>> {
        let library = match Library::builder().lib_path(library).init() {
            Ok(library) => Arc::new(library),
            Err(error) if is_absence(&error) => return Ok(None),
            Err(error) => return Err(failed("starting NVML", error)),
        };
        let mut cards = Vec::new();
        let mut rails = Vec::new();
        let count = match library.device_count() {
            Ok(count) => count,
            Err(error) if is_absence(&error) => return Ok(None),
            Err(error) => return Err(failed("counting the cards", error)),
        };
        for index in 0..count {
            let name = format!("gpu{index}");
            if instance.is_some_and(|wanted| wanted != name) {
                continue;
            }
            if let Some(quantity) = quantity(&library, index)? {
                cards.push(Card {
                    library: Arc::clone(&library),
                    index,
                    quantity,
                });
                let rail = Rail::new(name, Role::Gpu);
                rails.push(match quantity {
                    Quantity::Energy => rail.with_energy_step(Joules::from_milli(1.0)),
                    Quantity::Power => rail.with_power_step(Watts::from_milli(1.0)),
                });
            }
        }
        if cards.is_empty() {
            return Ok(None);
        }
        let info = SensorInfo {
            accuracy: accuracy(),
            note: Some("covers the graphics cards, not the rest of the machine".to_owned()),
            ..SensorInfo::new(sensor_id(&DRIVER, instance), Kind::Measured, rails)
        };
        Ok(Some(Self { cards, info }))
    }
}

impl Sensor for Nvml {
    fn read(&mut self) -> Result<Reading> {
        read_channels(&mut self.cards, Card::read)
    }

    fn info(&self) -> SensorInfo {
        self.info.clone()
    }
}

impl Card {
    fn read(&mut self) -> Result<Value> {
        let value = read(&self.library, self.index, self.quantity)
            .map_err(|e| failed(&format!("reading gpu{}", self.index), e))?;
        match value {
            Value::Power(power) if power.0 > HIGHEST_W => {
                let (card, found) = (format!("gpu{}", self.index), power.to_string());
                Err(Error::malformed(
                    Path::new(&card),
                    found.as_bytes(),
                    "a power below 10 kW",
                ))
            }
            value => Ok(value),
        }
    }
}

fn read(library: &Library, index: u32, quantity: Quantity) -> std::result::Result<Value, NvmlError> {
    let device = library.device_by_index(index)?;
    Ok(match quantity {
        Quantity::Energy => Value::Energy {
            counter: Joules::from_milli(device.total_energy_consumption()? as f64),
            wraps_at: None,
        },
        Quantity::Power => Value::Power(Watts::from_milli(device.power_usage()?.into())),
    })
}

/// What a card can tell; `None` if neither.
fn quantity(library: &Library, index: u32) -> Result<Option<Quantity>> {
    for quantity in [Quantity::Energy, Quantity::Power] {
        match read(library, index, quantity) {
            Ok(_) => return Ok(Some(quantity)),
            Err(error) if is_absence(&error) => {}
            Err(error) => return Err(failed(&format!("asking gpu{index}"), error)),
        }
    }
    Ok(None)
}

/// No library, no driver, no card, or a call that this card or library does not have.
fn is_absence(error: &NvmlError) -> bool {
    matches!(
        error,
        NvmlError::LibloadingError(_)
            | NvmlError::LibraryNotFound
            | NvmlError::DriverNotLoaded
            | NvmlError::NotFound
            | NvmlError::NotSupported
            | NvmlError::FunctionNotFound
            | NvmlError::FailedToLoadSymbol(_)
    )
}

fn failed(what: &str, error: NvmlError) -> Error {
    let source = match &error {
        NvmlError::NoPermission => io::Error::from_raw_os_error(libc::EACCES),
        NvmlError::GpuLost => io::Error::from_raw_os_error(libc::ENODEV),
        NvmlError::Timeout | NvmlError::InUse => io::Error::from_raw_os_error(libc::EBUSY),
        NvmlError::NotSupported => io::Error::from_raw_os_error(libc::EOPNOTSUPP),
        _ => io::Error::other(error.to_string()),
    };
    Error::os(format!("{what} through NVML"), source)
}

fn accuracy() -> Accuracy {
    Accuracy {
        gain: 0.05 / 3f64.sqrt(),
        update_period: Some(Seconds(0.1)),
        source: "plus or minus 5 % as NVIDIA states for power; a new value every 0.1 s assumed".to_owned(),
        ..Accuracy::default()
    }
}
