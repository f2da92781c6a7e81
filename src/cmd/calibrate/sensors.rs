//! Which sensor is looked at, and which one joules are read from.

use crate::cli::CalibrateRunArgs;
use crate::cmd::open_sensor;
use anyhow::{Context as _, bail};
use hwmeter_hw::calibration::Calibration;
use hwmeter_hw::meter::{Meter, MeterOptions};
use hwmeter_hw::sensor::{Kind, Sensor, SensorInfo};
use hwmeter_hw::sensors::Context;

/// The sampler shares the cores with the load that it watches: a tick that is not too close to the next one is on time.
const HIGHEST_RATE_HZ: f64 = 50.0;

/// The two; the same one unless there is a `--reference`.
pub struct Sensors<'a> {
    context: &'a Context,
    calibration: &'a Calibration,
    /// What is characterised; why there is none.
    pub subject: Result<SensorInfo, String>,
    /// What joules are read from; `None` if nothing can be.
    pub meter: Option<SensorInfo>,
}

impl<'a> Sensors<'a> {
    /// A sensor that was named and cannot be used is an error; without a name, none is no error.
    pub fn choose(
        args: &CalibrateRunArgs,
        context: &'a Context,
        calibration: &'a Calibration,
    ) -> anyhow::Result<Self> {
        let named = args.sensor.as_deref();
        let own = match open_sensor(context, calibration, named) {
            Ok(sensor) => Ok(sensor.info()),
            Err(error) if named.is_some() => return Err(error),
            Err(error) => Err(format!("{error:#}")),
        };
        let reference = args.reference.as_deref();
        let reference = reference
            .map(|id| reference_info(context, calibration, id))
            .transpose()?;
        let is_better = |own: &SensorInfo| named.is_some() || own.kind == Kind::Measured;
        let subject = match (own, &reference) {
            (Ok(own), Some(reference)) if !is_better(&own) => Ok(reference.clone()),
            (Err(_), Some(reference)) => Ok(reference.clone()),
            (own, _) => own,
        };
        let meter = reference.or_else(|| subject.clone().ok());
        Ok(Self {
            context,
            calibration,
            subject,
            meter,
        })
    }

    /// One of the two, opened anew.
    pub fn open(&self, info: &SensorInfo) -> anyhow::Result<Box<dyn Sensor>> {
        open_sensor(self.context, self.calibration, Some(&info.id))
    }

    /// Starts to read joules; `None` if there is nothing to read from.
    pub fn start_meter(&self) -> anyhow::Result<Option<Meter>> {
        let Some(info) = &self.meter else { return Ok(None) };
        let options = MeterOptions::at(info.default_rate_hz().min(HIGHEST_RATE_HZ));
        let meter = Meter::start(self.open(info)?, options);
        Ok(Some(
            meter.with_context(|| format!("sensor {} cannot be read", info.id))?,
        ))
    }
}

/// The reference must be a meter, and answer.
fn reference_info(context: &Context, calibration: &Calibration, id: &str) -> anyhow::Result<SensorInfo> {
    let mut sensor = open_sensor(context, calibration, Some(id))?;
    let info = sensor.info();
    if info.kind != Kind::Measured {
        bail!(
            "--reference {id}: it is {}, and a reference has to measure",
            info.kind
        );
    }
    sensor
        .read()
        .with_context(|| format!("the reference meter {id} cannot be read"))?;
    Ok(info)
}
