//! Sensors that see a [`Waveform`] as the real ones would.

use super::{Random, Waveform};
use crate::clock::{Clock, ManualClock, Moment};
use crate::error::{Error, Result};
use crate::root::Root;
use crate::sensor::{Accuracy, Kind, Rail, Reading, Role, Sensor, SensorInfo, Value};
use crate::sensors::ina3221;
use crate::units::{Joules, Seconds, Watts};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// The simulated sensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SensorModel {
    /// An INA3221 whose registers average so many conversions (1, 64 or 512) of 140 µs in a first-order filter.
    Ina3221(u32),
    /// A processor's energy counter: 61 µJ, a new value every millisecond, wraps.
    Rapl,
    /// A line of text every 100 ms, each with an INA3221's latest conversion.
    Tegrastats,
    /// A meter that has a new value every second: the mean of the second before.
    ModbusMean,
    /// A meter that has a new value every second: the mean of its last 0.2 s, which the user does not know.
    ModbusSparse,
}

/// One turn of an INA3221's multiplexer over six inputs at 140 µs.
const SCAN_S: f64 = 6.0 * CONVERSION_S;
const CONVERSION_S: f64 = 140e-6;
const RAPL_STEP_J: f64 = 61e-6;
const RAPL_RANGE_J: f64 = 262_144.0;

impl SensorModel {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Ina3221(1),
        Self::Ina3221(64),
        Self::Ina3221(512),
        Self::Rapl,
        Self::Tegrastats,
        Self::ModbusMean,
        Self::ModbusSparse,
    ];

    /// The name in tables.
    pub fn name(self) -> String {
        match self {
            Self::Ina3221(samples) => format!("INA3221, {samples} samples"),
            Self::Rapl => "RAPL counter".into(),
            Self::Tegrastats => "tegrastats, 100 ms".into(),
            Self::ModbusMean => "Modbus, 1 s mean".into(),
            Self::ModbusSparse => "Modbus, 1 s, sparse".into(),
        }
    }

    /// What the meter is told about it. The 5 mΩ shunt at 5 V is that of a Jetson Nano.
    pub fn info(self) -> SensorInfo {
        let total = Rail::new("total", Role::Total);
        let ina_rail = ina3221::with_usual_steps(total.clone());
        let (rail, accuracy) = match self {
            Self::Ina3221(samples) => (
                ina_rail,
                ina3221::Timing {
                    scan_s: Some(SCAN_S),
                    scan_uncertainty: ina3221::CONVERSION_TOLERANCE / 3f64.sqrt(),
                    samples: Some(f64::from(samples)),
                }
                .accuracy("a Nano's shunt"),
            ),
            Self::Rapl => (
                total.with_energy_step(Joules(RAPL_STEP_J)),
                Accuracy {
                    gain: 0.05,
                    update_period: Some(Seconds(0.001)),
                    ..Accuracy::default()
                },
            ),
            Self::Tegrastats => (
                ina_rail,
                crate::sensors::tegrastats::accuracy(&Root::new("/nonexistent"), Seconds(0.1)),
            ),
            Self::ModbusMean | Self::ModbusSparse => (
                total.with_power_step(Watts(0.1)),
                Accuracy {
                    gain: 0.01 / 3f64.sqrt(),
                    window: (self == Self::ModbusMean).then_some(Seconds(1.0)),
                    update_period: Some(Seconds(1.0)),
                    clock: Seconds(0.02),
                    ..Accuracy::default()
                },
            ),
        };
        SensorInfo {
            accuracy,
            ..SensorInfo::new(self.name(), Kind::Simulated, vec![rail])
        }
    }
}

/// 80 µV and 40 µV across 5 mΩ, at 5 V.
const INA_OFFSET_W: f64 = 0.08;
const INA_STEP_W: f64 = 0.04;
/// The chip's oscillator: conversions take up to 10 % longer or shorter.
const SCAN_TOLERANCE: f64 = ina3221::CONVERSION_TOLERANCE;

/// How wrong one particular sensor is.
#[derive(Clone, Copy, Debug)]
struct Flaws {
    gain: f64,
    offset_w: f64,
    /// Length of its seconds.
    clock: f64,
    /// Where in its cycle it is when the simulation begins, 0 to 1.
    phase: f64,
}

/// How much of a sensor's specification to use up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Severity {
    /// The gain error is multiplied by it: 1 draws within the specification, 0 makes it perfect, 3 breaks it.
    pub gain: f64,
    /// The same for the offset.
    pub offset: f64,
    /// Share of reads that fail.
    pub dropped: f64,
}

/// A sensor looking at a waveform that begins at `origin` on the clock.
pub struct SimulatedSensor {
    model: SensorModel,
    wave: Arc<Waveform>,
    clock: Arc<ManualClock>,
    origin: Moment,
    flaws: Flaws,
    severity: Severity,
    random: Random,
    state: State,
}

/// What the sensor remembers.
#[derive(Debug)]
struct State {
    /// The next conversion, update or line.
    next: f64,
    cycle: u64,
    /// The filter's output, or the last value given out.
    value: f64,
    counter_start: f64,
    /// Lines on their way: when they arrive, and their value.
    lines: VecDeque<(f64, f64)>,
    failures_left: u32,
    is_started: bool,
}

impl SimulatedSensor {
    /// One drawn from `random`.
    pub fn draw(
        model: SensorModel,
        wave: Arc<Waveform>,
        clock: Arc<ManualClock>,
        severity: Severity,
        mut random: Random,
    ) -> Self {
        let (gain, clock_tolerance) = match model {
            SensorModel::Ina3221(_) => (
                random.within(ina3221::GAIN_MAX) + random.within(ina3221::SHUNT_TOLERANCE),
                SCAN_TOLERANCE,
            ),
            SensorModel::Tegrastats => (
                random.within(ina3221::GAIN_MAX) + random.within(ina3221::SHUNT_TOLERANCE),
                0.001,
            ),
            SensorModel::Rapl => (random.within(0.05 * 3f64.sqrt()), 0.001),
            SensorModel::ModbusMean | SensorModel::ModbusSparse => (random.within(0.01), 0.001),
        };
        let has_offset = matches!(model, SensorModel::Ina3221(_) | SensorModel::Tegrastats);
        let offset_w = if has_offset {
            random.within(INA_OFFSET_W)
        } else {
            0.0
        };
        let flaws = Flaws {
            gain: 1.0 + severity.gain * gain,
            offset_w: severity.offset * offset_w,
            clock: 1.0 + random.within(clock_tolerance),
            phase: random.uniform(0.0, 1.0),
        };
        let origin = clock.now();
        let mut sensor = Self {
            model,
            origin,
            clock,
            flaws,
            severity,
            state: State {
                next: 0.0,
                cycle: 0,
                value: wave.power(0.0).0,
                counter_start: RAPL_RANGE_J - random.uniform(0.0, 30.0),
                lines: VecDeque::new(),
                failures_left: 0,
                is_started: false,
            },
            random,
            wave,
        };
        sensor.state.next = sensor.flaws.phase * sensor.cycle_s();
        sensor
    }

    fn cycle_s(&self) -> f64 {
        let nominal = match self.model {
            SensorModel::Ina3221(_) => SCAN_S,
            SensorModel::Rapl => 0.001,
            SensorModel::Tegrastats => 0.1,
            SensorModel::ModbusMean | SensorModel::ModbusSparse => 1.0,
        };
        nominal * self.flaws.clock
    }

    fn elapsed(&self) -> f64 {
        (self.clock.now() - self.origin).0
    }

    /// Lets the sensor work until `t`, then tells what stands in its registers.
    fn advance(&mut self, t: f64) {
        let cycle = self.cycle_s();
        while self.state.next <= t {
            let at = self.state.next;
            self.update(at);
            self.state.cycle += 1;
            self.state.next = at + cycle;
        }
    }

    fn update(&mut self, at: f64) {
        match self.model {
            SensorModel::Ina3221(samples) => {
                let conversion = self.mean(at, CONVERSION_S * self.flaws.clock);
                self.state.value += (conversion - self.state.value) / f64::from(samples);
            }
            SensorModel::Rapl => {
                let late = self.random.uniform(0.0, 5e-5);
                self.state.value = self.wave.energy(at + late).0 * self.flaws.gain;
            }
            SensorModel::Tegrastats => {
                // The program reads dozens of files for a line; how long that takes varies.
                let at = at + self.random.uniform(0.0, 0.01);
                let value = self.mean(at, CONVERSION_S);
                let arrives = at + self.random.uniform(0.0, 0.01);
                self.state.lines.push_back((arrives, value));
            }
            SensorModel::ModbusMean => self.state.value = self.mean(at, 1.0),
            SensorModel::ModbusSparse => self.state.value = self.mean(at, 0.2),
        }
    }

    /// Mean power over `length` before `at`.
    fn mean(&self, at: f64, length: f64) -> f64 {
        let from = (at - length).max(0.0);
        self.wave.mean(from, at.max(from + 1e-9)).0
    }

    /// A power as the converter shows it.
    fn shown(&self, watts: f64, step: f64) -> Watts {
        Watts(((watts * self.flaws.gain + self.flaws.offset_w) / step).round() * step)
    }

    /// The first read succeeds; of those that fail, one in ten takes twenty more with it.
    fn fails(&mut self) -> bool {
        if !std::mem::replace(&mut self.state.is_started, true) {
            return false;
        }
        if self.state.failures_left > 0 {
            self.state.failures_left -= 1;
            return true;
        }
        let fails = self.random.chance(self.severity.dropped);
        if fails && self.random.chance(0.1) {
            self.state.failures_left = 20;
        }
        fails
    }
}

impl Sensor for SimulatedSensor {
    fn read(&mut self) -> Result<Reading> {
        if self.fails() {
            return Err(Error::os("read", std::io::Error::from_raw_os_error(libc::EIO)));
        }
        if matches!(self.model, SensorModel::ModbusMean | SensorModel::ModbusSparse) {
            // Request and reply at 9600 baud; the value is taken in the middle.
            self.clock.advance(Duration::from_millis(9));
        }
        let t = self.elapsed();
        self.advance(t);
        Ok(match self.model {
            SensorModel::Ina3221(_) => Reading::of_power(self.shown(self.state.value, INA_STEP_W)),
            SensorModel::Rapl => {
                let total = self.state.counter_start + self.state.value;
                let steps = (total / RAPL_STEP_J).floor() * RAPL_STEP_J;
                [Value::Energy {
                    counter: Joules(steps % RAPL_RANGE_J),
                    wraps_at: Some(Joules(RAPL_RANGE_J)),
                }]
                .into_iter()
                .collect()
            }
            SensorModel::Tegrastats => {
                let mut newest = None;
                while self.state.lines.front().is_some_and(|line| line.0 <= t) {
                    newest = self.state.lines.pop_front();
                }
                match newest {
                    Some((at, value)) => {
                        let at = self.origin.after(Duration::from_secs_f64(at));
                        Reading::of_power(self.shown(value, INA_STEP_W)).taken_at(at)
                    }
                    None => Reading::unchanged(),
                }
            }
            SensorModel::ModbusMean | SensorModel::ModbusSparse => {
                self.clock.advance(Duration::from_millis(9));
                Reading::of_power(self.shown(self.state.value, 0.1))
            }
        })
    }

    fn info(&self) -> SensorInfo {
        self.model.info()
    }
}
