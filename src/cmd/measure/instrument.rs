//! The meters of a measurement, and what idle power each of them knows.

use super::signals::Interrupts;
use crate::cli::MeasureArgs;
use crate::cmd::{open_sensor, with_radio, with_total};
use anyhow::{Context as _, bail};
use hwmeter::trace::TraceWriter;
use hwmeter_hw::Root;
use hwmeter_hw::calibration::Calibration;
use hwmeter_hw::clock::Moment;
use hwmeter_hw::cpu::core_count;
use hwmeter_hw::cpu_tree::{self, TreeCpuTime, TreeRoot};
use hwmeter_hw::envelope::{PowerEnvelope, mean_power};
use hwmeter_hw::idle::IdlePower;
use hwmeter_hw::meter::{Meter, MeterOptions};
use hwmeter_hw::sensor::Sensor;
use hwmeter_hw::sensors::Context;
use hwmeter_hw::sensors::process_share::ProcessShare;
use hwmeter_hw::units::Watts;
use std::path::PathBuf;
use std::sync::Arc;

/// A sensor being read.
pub struct Instrument {
    /// Its meter.
    pub meter: Meter,
    /// The board's idle power by this sensor, where it is known.
    pub idle: Option<IdlePower>,
    /// The calibration file, if it says anything about this sensor.
    pub calibration: Option<PathBuf>,
}

/// What instruments are started with.
pub struct Starter<'a> {
    pub args: &'a MeasureArgs,
    pub context: &'a Context,
    pub calibration: &'a Calibration,
    /// Where samples go, and the moment their times count from.
    pub trace: Option<&'a TraceWriter>,
    pub origin: Moment,
    /// The measured command, once it runs.
    pub tree: &'a TreeRoot,
    pub interrupts: &'a Interrupts,
}

impl Starter<'_> {
    /// Starts a meter for each sensor asked for, and measures idle power where that is asked for.
    pub fn start(&self) -> anyhow::Result<Vec<Instrument>> {
        let names: Vec<Option<&str>> = match self.args.sensor.as_slice() {
            [] => vec![None],
            names => names.iter().map(|name| Some(name.as_str())).collect(),
        };
        let mut instruments: Vec<Instrument> = names
            .into_iter()
            .map(|name| self.instrument(name))
            .collect::<anyhow::Result<_>>()?;
        if !self.args.share {
            self.measure_idle(&mut instruments)?;
        }
        Ok(instruments)
    }

    fn instrument(&self, name: Option<&str>) -> anyhow::Result<Instrument> {
        let Self { args, context, .. } = self;
        let sensor = open_sensor(context, self.calibration, name)?;
        let sensor = with_total(sensor, &args.total)?;
        let sensor = with_radio(sensor, args.radio.as_ref(), context)?;
        let (sensor, idle) = if args.share {
            let (share, idle) = self.share(sensor)?;
            (share, Some(idle))
        } else {
            let idle = IdlePower::known(&sensor.info(), self.calibration);
            (sensor, idle)
        };
        let info = sensor.info();
        let mut options = MeterOptions::at(args.rate.unwrap_or(info.default_rate_hz()));
        options.realtime = args.realtime;
        options.on_sample = self.trace.map(|trace| trace.on_sample(self.origin));
        let meter =
            Meter::start(sensor, options).with_context(|| format!("sensor {} cannot be read", info.id))?;
        Ok(Instrument {
            meter,
            idle,
            calibration: self.calibration.path_for(&info.id).map(PathBuf::from),
        })
    }

    /// The command's own share of what the sensor sees. It needs idle and full-load power, from the calibration, the
    /// sensor's model, or watching the board in both states now.
    fn share(&self, mut sensor: Box<dyn Sensor>) -> anyhow::Result<(Box<dyn Sensor>, IdlePower)> {
        if !cpu_tree::is_supported(&Root::default()) {
            bail!(
                "--share cannot see what the command starts: this kernel lacks CONFIG_PROC_CHILDREN; \
                 measure the whole board without --share"
            );
        }
        let context = self.context;
        let cores = core_count(&context.root);
        let id = sensor.info().id;
        let envelope = PowerEnvelope::find(&mut *sensor, &*context.clock, cores)
            .with_context(|| format!("sensor {id} cannot be read"))?;
        let (idle, source) = match self.args.idle {
            Some(duration) => (
                mean_power(&mut *sensor, &*context.clock, duration)?,
                format!("measured for {:.1} s before", duration.as_secs_f64()),
            ),
            None if envelope.is_measured => (envelope.idle_watts, "measured shortly before".to_owned()),
            None => (
                envelope.idle_watts,
                "calibration or model of the sensor".to_owned(),
            ),
        };
        let price = (envelope.full_watts.0 - idle.0).max(0.0) / cores as f64;
        let own = TreeCpuTime::new(Root::default(), self.tree.clone());
        let clock = Arc::clone(&context.clock);
        let share = ProcessShare::new(sensor, &context.root, clock, own, idle, price)?;
        Ok((Box::new(share), IdlePower::constant(idle, Watts::ZERO, source)))
    }

    /// All sensors watch the idle board side by side.
    fn measure_idle(&self, instruments: &mut [Instrument]) -> anyhow::Result<()> {
        let Some(duration) = self.args.idle else {
            return Ok(());
        };
        let measured: Vec<Option<IdlePower>> = std::thread::scope(|scope| {
            let watch = |meter| {
                scope.spawn(move || IdlePower::measure(meter, duration, |time| self.interrupts.sleep(time)))
            };
            let watches: Vec<_> = instruments.iter().map(|i| watch(&i.meter)).collect();
            watches
                .into_iter()
                .map(|watch| watch.join().unwrap_or_default())
                .collect()
        });
        for (instrument, idle) in instruments.iter_mut().zip(measured) {
            let id = &instrument.meter.info().id;
            instrument.idle = Some(idle.with_context(|| {
                format!(
                    "sensor {id} gave no sample within --idle {:.1}s; use a longer one",
                    duration.as_secs_f64()
                )
            })?);
        }
        Ok(())
    }
}
