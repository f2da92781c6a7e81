//! Sensors of which everything is known are characterised on a manual clock, and what was put in comes out.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::clock::ManualClock;
use crate::error::Error;
use crate::sensor::{Accuracy, Rail, Reading, Role, Value};
use crate::synthetic::sensors::SimulatedSensor;
use crate::synthetic::{Random, SensorModel, Severity, Waveform};
use std::sync::Mutex;

const IDLE_W: f64 = 2.0;
const BUSY_W: f64 = 6.0;

/// The load of a board that exists on the clock alone.
#[derive(Clone)]
struct Switch {
    clock: Arc<ManualClock>,
    edges: Arc<Mutex<Vec<(f64, f64)>>>,
}

impl LoadSwitch for Switch {
    fn switch(&mut self, is_busy: bool) -> Result<()> {
        let watts = if is_busy { BUSY_W } else { IDLE_W };
        self.edges
            .lock()
            .unwrap()
            .push((self.clock.now().0 as f64 * 1e-9, watts));
        Ok(())
    }
}

/// What a made-up sensor does.
#[derive(Clone, Copy)]
struct Nature {
    period: f64,
    lag: f64,
    noise: f64,
    step: f64,
    read_time: Duration,
    drift: f64,
}

const NATURE: Nature = Nature {
    period: 0.01,
    lag: 0.08,
    noise: 0.02,
    step: 0.004,
    read_time: Duration::from_micros(300),
    drift: 0.0,
};

/// A sensor with a new value every period: power through a low-pass, with noise, in steps.
struct Known {
    nature: Nature,
    load: Switch,
    random: Random,
    next: f64,
    filtered: f64,
    shown: f64,
}

impl Known {
    fn new(nature: Nature, load: &Switch) -> Self {
        Self {
            nature,
            load: load.clone(),
            random: Random::new(11),
            next: 0.0,
            filtered: IDLE_W,
            shown: IDLE_W,
        }
    }

    fn power(&self, t: f64) -> f64 {
        let edges = self.load.edges.lock().unwrap();
        let last = edges.iter().rev().find(|(at, _)| *at <= t);
        last.map_or(IDLE_W, |(_, watts)| *watts) + self.nature.drift * t
    }
}

impl Sensor for Known {
    fn read(&mut self) -> Result<Reading> {
        let nature = self.nature;
        let now = self.load.clock.now().0 as f64 * 1e-9;
        while self.next <= now {
            // The power at the moment of the update, after the exact response of the low-pass since the last one.
            let share = if nature.lag > 0.0 {
                1.0 - (-nature.period / nature.lag).exp()
            } else {
                1.0
            };
            self.filtered += share * (self.power(self.next) - self.filtered);
            let noise = (0..12).map(|_| self.random.uniform(-0.5, 0.5)).sum::<f64>() * nature.noise;
            self.shown = (self.filtered + noise) / nature.step;
            self.shown = self.shown.round() * nature.step;
            self.next += nature.period;
        }
        self.load.clock.advance(nature.read_time);
        Ok(Reading::of_power(Watts(self.shown)))
    }

    fn info(&self) -> SensorInfo {
        SensorInfo {
            accuracy: Accuracy {
                update_period: Some(Seconds(0.1)),
                source: "a datasheet".into(),
                ..Accuracy::default()
            },
            ..SensorInfo::new(
                "hwmon:hwmon1",
                Kind::Measured,
                vec![Rail::new("VDD", Role::Total)],
            )
        }
    }
}

fn options() -> Options {
    Options {
        idle: Duration::from_secs(4),
        pulses: 2,
        half_pulse: Duration::from_secs(1),
        sampling: Duration::from_millis(200),
    }
}

fn switch() -> Switch {
    Switch {
        clock: Arc::new(ManualClock::new()),
        edges: Arc::default(),
    }
}

fn look_at(nature: Nature) -> Characteristics {
    let mut load = switch();
    let sensor = Box::new(Known::new(nature, &load));
    let clock: Arc<dyn Clock> = load.clock.clone();
    characterise(sensor, &clock, &mut load, &options()).unwrap()
}

fn near(found: f64, truth: f64, tolerance: f64) {
    assert!(
        (found - truth).abs() <= tolerance,
        "{found} is not {truth} ± {tolerance}"
    );
}

#[test]
fn what_was_put_in_comes_out() {
    let found = look_at(NATURE);
    near(found.read_latency.unwrap().0, 300e-6, 1e-9);
    near(found.read_latency_p99.unwrap().0, 300e-6, 1e-9);
    near(found.update_period.unwrap().0, NATURE.period, 2e-5);
    let lag = found.lag.unwrap();
    near(lag.time_constant.0, NATURE.lag, 2.0 * lag.uncertainty.0);
    assert!(lag.uncertainty.0 < 0.1 * NATURE.lag && lag.edges == 4, "{lag:?}");
    assert!(lag.delay.0 < NATURE.period, "{lag:?}");
    let rail = &found.rails[0];
    near(rail.noise.unwrap().0, NATURE.noise, 0.1 * NATURE.noise);
    near(rail.power_step.unwrap().0, NATURE.step, 1e-6);
    assert_eq!(rail.energy_step, None);
    let idle = rail.idle.unwrap();
    near(idle.watts.0, IDLE_W, 3.0 * idle.uncertainty.0);
    near(idle.drift_watts_per_minute, 0.0, 3.0 * idle.drift_uncertainty);
    assert_eq!(found.stated.update_period, Some(Seconds(0.1)));
    assert_eq!(found.unknown, [""; 0]);
}

#[test]
fn slow_sensors_and_fast_ones_are_told() {
    for period in [0.002, 0.03, 0.1] {
        let found = look_at(Nature {
            period,
            lag: 0.2,
            ..NATURE
        });
        near(found.update_period.unwrap().0, period, 0.01 * period);
        let lag = found.lag.unwrap();
        near(lag.time_constant.0, 0.2, 3.0 * lag.uncertainty.0);
    }
}

#[test]
fn a_drift_is_seen_and_is_no_noise() {
    let found = look_at(Nature {
        drift: 0.05,
        ..NATURE
    });
    let idle = found.rails[0].idle.unwrap();
    near(idle.drift_watts_per_minute, 3.0, 4.0 * idle.drift_uncertainty);
    assert!(idle.drift_uncertainty < 0.5, "{idle:?}");
    near(found.rails[0].noise.unwrap().0, NATURE.noise, 0.15 * NATURE.noise);
}

#[test]
fn a_sensor_without_filter_has_no_lag_and_one_that_is_new_at_every_read_no_period() {
    let found = look_at(Nature { lag: 0.0, ..NATURE });
    assert_eq!(found.lag, None);
    assert!(
        found
            .unknown
            .iter()
            .any(|why| why.contains("shorter than the 10.0 ms")),
        "{:?}",
        found.unknown
    );
    let found = look_at(Nature {
        period: 1e-4,
        ..NATURE
    });
    assert_eq!(found.update_period, None);
    assert!(
        found.unknown[0].contains("nearly every read"),
        "{:?}",
        found.unknown
    );
    let lag = found.lag.unwrap();
    near(lag.time_constant.0, NATURE.lag, 0.01);
}

#[test]
fn the_highest_rate_follows_the_time_of_a_read() {
    for (read_time, highest) in [(3000, 200.0), (300, 2000.0), (40_000, 20.0)] {
        let found = look_at(Nature {
            read_time: Duration::from_micros(read_time),
            ..NATURE
        });
        assert_eq!(found.highest_rate_hz, Some(highest), "{read_time} µs per read");
        let rates: Vec<f64> = found.costs.iter().map(|cost| cost.rate_hz).collect();
        assert_eq!(rates, [10.0, 100.0, 1000.0]);
        for cost in &found.costs {
            let fits = cost.rate_hz * read_time as f64 * 1e-6 < 1.0;
            assert_eq!(cost.cpu_share.is_some(), fits, "{cost:?}");
            assert!(cost.cpu_share.is_none_or(|share| share > 0.0));
            assert_eq!(cost.late_ticks == 0, fits, "{cost:?}");
        }
    }
}

/// A counter that grows by power x time in steps, with a new value every millisecond, and wraps.
struct Counter {
    load: Switch,
    joules: f64,
    last: f64,
}

impl Sensor for Counter {
    fn read(&mut self) -> Result<Reading> {
        let now = (self.load.clock.now().0 as f64 * 1e-6).floor() * 1e-3;
        let edges = self.load.edges.lock().unwrap();
        let watts = edges.last().map_or(IDLE_W, |(_, watts)| *watts);
        self.joules += watts * (now - self.last);
        self.last = now;
        let counter = Joules((self.joules / 61e-6).floor() * 61e-6 % 10.0);
        let wraps_at = Some(Joules(10.0));
        Ok([Value::Energy { counter, wraps_at }].into_iter().collect())
    }
}

#[test]
fn a_counter_has_steps_and_a_period_and_neither_noise_nor_lag() {
    let mut load = switch();
    let sensor = Box::new(Counter {
        load: load.clone(),
        joules: 9.0,
        last: 0.0,
    });
    let clock: Arc<dyn Clock> = load.clock.clone();
    let found = characterise(sensor, &clock, &mut load, &options()).unwrap();
    near(found.update_period.unwrap().0, 0.001, 2e-5);
    let rail = &found.rails[0];
    near(rail.energy_step.unwrap().0, 61e-6, 1e-6);
    assert_eq!((rail.noise, rail.power_step, found.lag), (None, None, None));
    near(rail.idle.unwrap().watts.0, IDLE_W, 0.02);
}

#[test]
fn what_the_driver_states_wrongly_or_not_at_all_goes_into_the_file_and_nothing_else() {
    let found = look_at(NATURE);
    let findings = found.findings();
    assert_eq!(findings.update_period_s, Some(0.01));
    near(findings.lag_s.unwrap(), NATURE.lag, 0.01);
    assert_eq!(findings.rail["VDD"].power_step_w, Some(0.004));
    let mut known = found.clone();
    known.stated.update_period = Some(Seconds(0.0101));
    known.stated.lag = found.lag.map(|lag| lag.time_constant);
    known.rails[0].stated_power_step = Watts(0.004);
    assert_eq!(known.findings(), SensorFindings::default());
}

/// Fails from the beginning, or from the hundredth read on.
struct Broken(u32);

impl Sensor for Broken {
    fn read(&mut self) -> Result<Reading> {
        self.0 = self
            .0
            .checked_sub(1)
            .ok_or_else(|| Error::unsupported("another read", "it is broken"))?;
        Ok(Reading::of_power(Watts(2.0)))
    }
}

#[test]
fn a_sensor_that_breaks_is_an_error_or_leaves_what_was_seen() {
    let mut load = switch();
    let clock: Arc<dyn Clock> = load.clock.clone();
    assert!(characterise(Box::new(Broken(0)), &clock, &mut load, &options()).is_err());
    let found = characterise(Box::new(Broken(100)), &clock, &mut load, &options()).unwrap();
    assert_eq!(found.reads, 99);
    assert!(found.lost_reads > 1000);
    assert!(found.update_period.is_none() && found.lag.is_none() && found.highest_rate_hz.is_none());
    assert_eq!(found.unknown.len(), 5, "{:?}", found.unknown);
}

#[test]
fn a_meter_with_a_value_a_second_is_given_the_time_it_needs() {
    let found = look_at(Nature {
        period: 0.4,
        lag: 0.5,
        read_time: Duration::from_millis(9),
        ..NATURE
    });
    near(found.update_period.unwrap().0, 0.4, 0.01);
    let lag = found.lag.unwrap();
    near(lag.time_constant.0, 0.5, 3.0 * lag.uncertainty.0);
}

#[test]
fn a_real_sensor_on_the_real_clock_under_a_real_load() {
    let clock: Arc<dyn Clock> = Arc::new(crate::clock::MonotonicClock);
    let context = crate::sensors::Context::new(crate::Root::default(), Arc::clone(&clock));
    let sensor = Box::new(crate::sensors::cpu_model::CpuModel::open(&context).unwrap());
    let mut load = Cores::new(crate::cpu::Affinity::current().unwrap());
    let options = Options {
        idle: Duration::from_millis(600),
        pulses: 1,
        half_pulse: Duration::from_millis(100),
        sampling: Duration::from_millis(50),
    };
    let found = characterise(sensor, &clock, &mut load, &options).unwrap();
    assert!(load.load.is_none(), "the load is off again");
    assert!(found.reads > 50 && found.lost_reads == 0, "{found:?}");
    assert!(found.read_latency_p99 >= found.read_latency && found.read_latency.unwrap().0 > 0.0);
    // It looks at /proc/stat every 50 ms, or later where the machine is busy.
    assert!(
        found.update_period.is_none_or(|period| period.0 > 0.045),
        "{found:?}"
    );
    assert!(
        found.costs.iter().all(|cost| cost.cpu_share.unwrap() > 0.0),
        "{:?}",
        found.costs
    );
    assert!(found.unknown.iter().any(|why| why.contains("a counter has none")));
}

/// A simulated chip before a load that goes on and off twice, each time for `half_s` seconds.
fn look_at_chip(model: SensorModel, half_s: f64) -> Characteristics {
    let load = switch();
    let half = Seconds(half_s);
    let mut levels = vec![(Seconds(2.0), Watts(IDLE_W))];
    levels.extend([BUSY_W, IDLE_W, BUSY_W, IDLE_W].map(|watts| (half, Watts(watts))));
    let wave = Arc::new(Waveform::of_levels(&levels));
    let clock = Arc::clone(&load.clock);
    let sensor = SimulatedSensor::draw(model, wave, clock, Severity::SPECIFIED, Random::new(3));
    let options = Options {
        idle: Duration::from_secs(2),
        pulses: 2,
        half_pulse: Duration::from_secs_f64(half_s),
        sampling: Duration::from_millis(100),
    };
    let clock: Arc<dyn Clock> = load.clock.clone();
    let mut load = load;
    characterise(Box::new(sensor), &clock, &mut load, &options).unwrap()
}

/// How far the clock of a simulated chip may be off.
const CLOCK: f64 = 0.11;

#[test]
fn simulated_chips_are_recognised() {
    for (samples, half_s) in [(64, 1.0), (512, 3.0)] {
        let found = look_at_chip(SensorModel::Ina3221(samples), half_s);
        let period = 6.0 * 140e-6;
        // Behind the slower filter the shown value changes only every few updates: then there is nothing to tell it by.
        assert_eq!(
            found.update_period.is_some(),
            samples == 64,
            "{:?}",
            found.unknown
        );
        if let Some(found) = found.update_period {
            near(found.0, period, CLOCK * period);
        }
        let lag = found.lag.unwrap();
        let truth = period * f64::from(samples);
        near(lag.time_constant.0, truth, CLOCK * truth);
        near(found.rails[0].power_step.unwrap().0, 0.04, 1e-6);
        let stated = found.stated.lag.unwrap().0;
        near(stated, truth, 0.01 * truth);
    }
    let rapl = look_at_chip(SensorModel::Rapl, 0.5);
    near(rapl.update_period.unwrap().0, 0.001, 1e-4);
    near(rapl.rails[0].energy_step.unwrap().0, 61e-6, 1e-8);
    let tegrastats = look_at_chip(SensorModel::Tegrastats, 2.0);
    assert_eq!(tegrastats.rails[0].energy_step, None);
    let modbus = look_at_chip(SensorModel::ModbusMean, 12.0);
    assert!(modbus.read_latency.unwrap().0 >= 0.009, "{modbus:?}");
    assert!(modbus.highest_rate_hz.is_some_and(|rate| rate <= 100.0));
    near(modbus.update_period.unwrap().0, 1.0, 0.01);
    // Without noise nothing changed at idle, and that is not a noise of zero watts.
    assert_eq!(modbus.rails[0].noise, None);
    assert!(
        modbus.unknown.iter().any(|why| why.starts_with("noise of total")),
        "{:?}",
        modbus.unknown
    );
    near(
        tegrastats.rails[0].idle.unwrap().uncertainty.0,
        0.04 / 12f64.sqrt(),
        1e-9,
    );
}
