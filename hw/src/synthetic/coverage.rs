//! How often the truth lies within the stated interval.

use super::sensors::{Severity, SimulatedSensor};
use super::{Random, SensorModel, Shape, Waveform};
use crate::clock::{Clock, ManualClock, Moment};
use crate::meter::{Meter, MeterOptions};
use crate::schedule::Schedule;
use crate::span::{Resolution, SpanEnergy};
use crate::units::Seconds;
use std::sync::Arc;
use std::time::Duration;

/// When the meter's ticks really come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ticks {
    /// Always on time.
    Exact,
    /// Each up to 2 ms late, and one in fifty by 10 to 50 ms.
    Late,
    /// On time, and every span begins with the meter's first sample.
    Cold,
}

/// What to try.
#[derive(Clone, Copy, Debug)]
pub struct Combination {
    /// The power.
    pub shape: Shape,
    /// The sensor.
    pub sensor: SensorModel,
    /// The sampling.
    pub ticks: Ticks,
    /// The sensor's errors.
    pub severity: Severity,
}

impl Severity {
    /// As the specification says.
    pub const SPECIFIED: Self = Self {
        gain: 1.0,
        offset: 1.0,
        dropped: 0.0,
    };
}

/// A sensor and how it is read: a row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The sensor.
    pub sensor: SensorModel,
    /// The sampling.
    pub ticks: Ticks,
    /// The sensor's errors.
    pub severity: Severity,
}

impl Row {
    /// Every sensor read on time, and the main kinds read late or with one read in ten failing.
    pub fn all() -> Vec<Self> {
        let on_time = SensorModel::ALL.map(Self::on_time);
        let disturbed = [
            SensorModel::Ina3221(1),
            SensorModel::Ina3221(512),
            SensorModel::Rapl,
            SensorModel::Tegrastats,
        ];
        let late = disturbed.map(|sensor| Self {
            ticks: Ticks::Late,
            ..Self::on_time(sensor)
        });
        let dropped = disturbed.map(|sensor| Self {
            severity: Severity {
                dropped: 0.1,
                ..Severity::SPECIFIED
            },
            ..Self::on_time(sensor)
        });
        on_time.into_iter().chain(late).chain(dropped).collect()
    }

    /// Within its specification, read on time.
    pub fn on_time(sensor: SensorModel) -> Self {
        Self {
            sensor,
            ticks: Ticks::Exact,
            severity: Severity::SPECIFIED,
        }
    }

    /// Every sensor with spans that begin with the meter's first sample.
    pub fn first_spans() -> Vec<Self> {
        let cold = SensorModel::ALL.map(|sensor| Self {
            ticks: Ticks::Cold,
            ..Self::on_time(sensor)
        });
        cold.into_iter().collect()
    }

    /// The name in the table.
    pub fn name(&self) -> String {
        let how = match (self.ticks, self.severity.dropped > 0.0) {
            (Ticks::Late, _) => ", ticks late",
            (Ticks::Cold, _) => ", first span",
            (_, true) => ", reads lost",
            _ => "",
        };
        format!("{}{how}", self.sensor.name())
    }

    /// This row's cell for a waveform.
    pub fn with(&self, shape: Shape) -> Combination {
        Combination {
            shape,
            sensor: self.sensor,
            ticks: self.ticks,
            severity: self.severity,
        }
    }
}

/// What came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Outcome {
    /// Spans with an energy.
    pub spans: u32,
    /// Share of them in which the truth was within two standard uncertainties.
    pub coverage: f64,
    /// Root mean square of the errors, in joules.
    pub rms_error_j: f64,
    /// Root mean square of the stated standard uncertainties, in joules.
    pub rms_stated_j: f64,
}

impl Outcome {
    /// Stated over true uncertainty: 1 is perfect, above it is cautious.
    pub fn caution(&self) -> f64 {
        self.rms_stated_j / self.rms_error_j
    }
}

/// Tries `spans` random spans.
pub fn run(combination: &Combination, spans: u32, seed: u64) -> Outcome {
    let mut random = Random::new(seed);
    let (mut hits, mut n, mut errors, mut stated) = (0u32, 0u32, 0.0, 0.0);
    for _ in 0..spans {
        let Some((span, truth)) = one_span(combination, &mut random) else {
            continue;
        };
        let Some(energy) = span.total else { continue };
        let error = energy.joules.0 - truth;
        n += 1;
        hits += u32::from(error.abs() <= 2.0 * energy.uncertainty.0);
        errors += error * error;
        stated += energy.uncertainty.0.powi(2);
    }
    let mean = |sum: f64| (sum / f64::from(n.max(1))).sqrt();
    Outcome {
        spans: n,
        coverage: f64::from(hits) / f64::from(n.max(1)),
        rms_error_j: mean(errors),
        rms_stated_j: mean(stated),
    }
}

/// [`run`] for each combination, on all cores; the seed is its place in the list.
pub fn run_all(combinations: &[Combination], spans: u32) -> Vec<Outcome> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut outcomes = vec![Outcome::default(); combinations.len()];
    std::thread::scope(|scope| {
        let size = combinations.len().div_ceil(threads).max(1);
        for (part, (mine, slots)) in (combinations.chunks(size))
            .zip(outcomes.chunks_mut(size))
            .enumerate()
        {
            scope.spawn(move || {
                for (i, (combination, slot)) in mine.iter().zip(slots).enumerate() {
                    *slot = run(combination, spans, (part * size + i) as u64);
                }
            });
        }
    });
    outcomes
}

/// One span somewhere in a run of the meter; its energy as stated, and the truth.
fn one_span(combination: &Combination, random: &mut Random) -> Option<(SpanEnergy, f64)> {
    let info = combination.sensor.info();
    let rate_hz = info.default_rate_hz();
    let update = info.accuracy.update_period.map_or(0.0, |x| x.0);
    let interval = update.max(1.0 / rate_hz);
    let length = interval * random.log_uniform(0.3, 100.0);
    // One in ten begins with the meter; the others find it running.
    let warm_up = if combination.ticks == Ticks::Cold || random.chance(0.1) {
        0.0
    } else {
        interval * random.uniform(20.0, 100.0)
    };
    let settling = info.accuracy.lag.map_or(0.0, |lag| 5.0 * lag.0) + 2.0 * interval;
    let begin = settling + warm_up + random.uniform(0.0, interval);
    let whole = begin + length + 10.0 * interval + 1.0;
    let wave = Arc::new(Waveform::draw(combination.shape, Seconds(whole), random));

    let clock = Arc::new(ManualClock::new());
    clock.advance(Duration::from_secs(100));
    let origin = clock.now();
    let at = |t: f64| origin.after(Duration::from_secs_f64(t));
    let sensor = SimulatedSensor::draw(
        combination.sensor,
        Arc::clone(&wave),
        Arc::clone(&clock),
        combination.severity,
        Random::new(random.uniform(0.0, 1e15) as u64),
    );
    clock.sleep_until(at(settling));
    let mut options = MeterOptions::at(rate_hz);
    options.clock = Arc::clone(&clock) as Arc<dyn Clock>;
    let meter = Meter::start_manual(sensor, options).ok()?;
    let mut ticker = Ticker {
        schedule: Schedule::new(at(settling), Seconds(1.0 / rate_hz), info.accuracy.update_period),
        next: 1,
        ticks: combination.ticks,
    };
    ticker.run_until(at(begin), &meter, &clock, random);
    let span = meter.span("");
    let begin = clock.now();
    ticker.run_until(
        begin.after(Duration::from_secs_f64(length)),
        &meter,
        &clock,
        random,
    );
    let pending = span.end();
    let end = clock.now();
    for _ in 0..2000 {
        if let Resolution::Resolved(span) = pending.poll() {
            let since = |moment: Moment| (moment - origin).0;
            let truth = (wave.energy(since(end)) - wave.energy(since(begin))).0;
            return Some((span, truth));
        }
        ticker.tick(&meter, &clock, random);
    }
    None
}

/// Ticks as the meter's thread would have them.
struct Ticker {
    schedule: Schedule,
    next: u64,
    ticks: Ticks,
}

impl Ticker {
    fn run_until(&mut self, end: Moment, meter: &Meter, clock: &ManualClock, random: &mut Random) {
        while self.schedule.tick(self.next) <= end {
            self.tick(meter, clock, random);
        }
        clock.sleep_until(end);
    }

    fn tick(&mut self, meter: &Meter, clock: &ManualClock, random: &mut Random) {
        let late = match self.ticks {
            Ticks::Exact | Ticks::Cold => 0.0,
            Ticks::Late if random.chance(0.02) => random.uniform(0.01, 0.05),
            Ticks::Late => random.uniform(0.0, 0.002),
        };
        let due = self.schedule.tick(self.next);
        clock.sleep_until(due.after(Duration::from_secs_f64(late)));
        meter.sample_now();
        self.next = self.schedule.next_after(self.next, clock.now());
    }
}
