//! What sampling costs, and how fast it can be done.

use super::Options;
use crate::clock::Clock;
use crate::error::Result;
use crate::load::thread_cpu_time;
use crate::meter::{Meter, MeterOptions};
use crate::schedule::Schedule;
use crate::sensor::{Reading, Sensor, SensorInfo};
use crate::units::Seconds;
use serde::Serialize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The rates at which the cost is told.
const RATES_HZ: [f64; 3] = [10.0, 100.0, 1000.0];
/// The rates of which the highest without late ticks is looked for.
const LADDER_HZ: [f64; 13] = [
    10_000.0, 5000.0, 2000.0, 1000.0, 500.0, 200.0, 100.0, 50.0, 20.0, 10.0, 5.0, 2.0, 1.0,
];
/// A slow rate is watched for at least so many ticks.
const LEAST_TICKS: f64 = 5.0;
/// One late tick may be somebody else's doing.
const TRIES: usize = 2;

/// What sampling at a rate costs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Cost {
    /// The rate.
    pub rate_hz: f64,
    /// CPU time of the sampling thread as a share of one core; `None` where a read takes longer than there is.
    pub cpu_share: Option<f64>,
    /// The same per sample.
    pub cpu_per_sample: Option<Seconds>,
    /// Ticks that were late.
    pub late_ticks: u64,
    /// Ticks that were due.
    pub ticks: u64,
}

/// One sensor for several meters, one after the other.
#[derive(Clone)]
pub(super) struct Shared(Arc<Mutex<Box<dyn Sensor>>>);

impl Shared {
    pub fn new(sensor: Box<dyn Sensor>) -> Self {
        Self(Arc::new(Mutex::new(sensor)))
    }

    fn lock(&self) -> MutexGuard<'_, Box<dyn Sensor>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sensor for Shared {
    fn read(&mut self) -> Result<Reading> {
        self.lock().read()
    }

    fn info(&self) -> SensorInfo {
        self.lock().info()
    }
}

/// The costs, and the highest rate without late ticks. `latency` is the median duration of a read in seconds.
pub(super) fn measure(
    sensor: &Shared,
    clock: &Arc<dyn Clock>,
    latency: Option<f64>,
    options: &Options,
) -> (Vec<Cost>, Option<f64>) {
    let latency = latency.unwrap_or(0.0);
    let run = |rate_hz: f64| sample(sensor, clock, rate_hz, options.sampling);
    let costs = RATES_HZ.iter().filter_map(|&rate_hz| {
        let cost = run(rate_hz)?;
        let fits = rate_hz * latency < 1.0;
        Some(Cost {
            cpu_share: cost.cpu_share.filter(|_| fits),
            cpu_per_sample: cost.cpu_per_sample.filter(|_| fits),
            ..cost
        })
    });
    let costs: Vec<Cost> = costs.collect();
    let is_on_time = |rate_hz: f64| (0..TRIES).any(|_| run(rate_hz).is_some_and(|cost| cost.late_ticks == 0));
    let possible = LADDER_HZ.into_iter().filter(|rate_hz| rate_hz * latency <= 1.0);
    let mut possible = possible;
    (costs, possible.find(|&rate_hz| is_on_time(rate_hz)))
}

/// Samples as the meter's own thread does, on this one.
fn sample(sensor: &Shared, clock: &Arc<dyn Clock>, rate_hz: f64, duration: Duration) -> Option<Cost> {
    let options = MeterOptions {
        clock: Arc::clone(clock),
        ..MeterOptions::at(rate_hz)
    };
    let meter = Meter::start_manual(sensor.clone(), options).ok()?;
    let ticks = (duration.as_secs_f64() * rate_hz).max(LEAST_TICKS) as u64;
    let begin = clock.now();
    let schedule = Schedule::new(begin, meter.period(), meter.info().accuracy.update_period);
    let cpu = thread_cpu_time();
    let (mut n, mut late, mut samples) = (1, 0, 0);
    while n <= ticks {
        clock.sleep_until(schedule.tick(n));
        meter.sample_now();
        samples += 1;
        let next = schedule.next_after(n, clock.now());
        late += next - n - 1;
        n = next;
    }
    let cpu = (thread_cpu_time() - cpu).0;
    let elapsed = (clock.now() - begin).0;
    Some(Cost {
        rate_hz,
        cpu_share: (elapsed > 0.0).then(|| cpu / elapsed),
        cpu_per_sample: Some(Seconds(cpu / f64::from(samples))),
        late_ticks: late,
        ticks,
    })
}
