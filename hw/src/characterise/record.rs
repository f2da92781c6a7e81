//! Many reads of a sensor, with their moments.

use crate::clock::{Clock, Moment};
use crate::sensor::{Reading, Sensor, Value};
use std::time::Duration;

/// Pause between two reads: short against any update period worth knowing, and no busy loop.
const PAUSE: Duration = Duration::from_micros(250);
/// More than this is not kept: half a minute at the shortest pause.
const MOST_LOOKS: usize = 120_000;

/// A value at a moment (seconds since the first look) and the number of the look that brought it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sample {
    pub t: f64,
    pub value: f64,
    pub look: usize,
}

struct Look {
    begin: Moment,
    end: Moment,
    reading: Reading,
}

/// The looks.
pub(super) struct Record {
    looks: Vec<Look>,
    rails: usize,
    origin: Option<Moment>,
    /// Reads that failed.
    pub lost: usize,
}

impl Record {
    pub fn new(rails: usize) -> Self {
        Self {
            looks: Vec::new(),
            rails,
            origin: None,
            lost: 0,
        }
    }

    /// Reads the sensor again and again for some time.
    pub fn watch(&mut self, sensor: &mut dyn Sensor, clock: &dyn Clock, duration: Duration) {
        let mut now = clock.now();
        let end = now.after(duration);
        self.origin.get_or_insert(now);
        while now < end && self.looks.len() < MOST_LOOKS {
            let result = sensor.read();
            let after = clock.now();
            match result {
                Ok(reading) if reading.is_finite() => self.looks.push(Look {
                    begin: now,
                    end: after,
                    reading,
                }),
                _ => self.lost += 1,
            }
            clock.sleep_until(after.after(PAUSE));
            now = clock.now();
        }
        clock.sleep_until(end);
    }

    pub fn len(&self) -> usize {
        self.looks.len()
    }

    /// Seconds since the first look.
    pub fn time_of(&self, moment: Moment) -> f64 {
        self.origin.map_or(0.0, |origin| (moment - origin).0)
    }

    /// Median and 99th percentile of the reads' durations in seconds.
    pub fn latencies(&self) -> Option<(f64, f64)> {
        let mut durations: Vec<f64> = self.looks.iter().map(|look| (look.end - look.begin).0).collect();
        durations.sort_by(f64::total_cmp);
        let at = |share: f64| {
            durations
                .get(((durations.len() - 1) as f64 * share) as usize)
                .copied()
        };
        if durations.is_empty() {
            return None;
        }
        Some((at(0.5)?, at(0.99)?))
    }

    /// Median time between two looks.
    pub fn pace(&self) -> Option<f64> {
        let mut gaps: Vec<f64> = self
            .looks
            .windows(2)
            .map(|pair| (pair[1].begin - pair[0].begin).0)
            .collect();
        gaps.sort_by(f64::total_cmp);
        gaps.get(gaps.len() / 2).copied()
    }

    pub fn rails(&self) -> usize {
        self.rails
    }

    /// Whether a rail is an energy counter.
    pub fn is_counter(&self, rail: usize) -> bool {
        let values = self.looks.iter().filter_map(|look| look.reading.values.get(rail));
        values.take(10).any(|value| matches!(value, Value::Energy { .. }))
    }

    /// The values of a rail: watts, or joules of a counter that goes on where it wraps.
    pub fn rail(&self, rail: usize) -> Vec<Sample> {
        let mut wrapped = 0.0;
        let mut last = f64::NEG_INFINITY;
        let mut samples = Vec::with_capacity(self.looks.len());
        for (look, read) in self.looks.iter().enumerate() {
            let value = match read.reading.values.get(rail) {
                Some(Value::Power(power)) => power.0,
                Some(Value::Energy { counter, wraps_at }) => {
                    if counter.0 < last {
                        wrapped += wraps_at.map_or(0.0, |range| range.0);
                    }
                    last = counter.0;
                    counter.0 + wrapped
                }
                Some(Value::Missing) | None => continue,
            };
            let middle = Moment(read.begin.0 + (read.end.0 - read.begin.0) / 2);
            let t = self.time_of(read.reading.at.unwrap_or(middle));
            samples.push(Sample { t, value, look });
        }
        samples
    }

    /// The sum of some rails where all have a value.
    pub fn sum(&self, rails: &[usize]) -> Vec<Sample> {
        let mut sum: Vec<Sample> = Vec::new();
        for (n, &rail) in rails.iter().enumerate() {
            let samples = self.rail(rail);
            if n == 0 {
                sum = samples;
                continue;
            }
            let mut others = samples.into_iter().peekable();
            sum.retain_mut(|sample| {
                while others.next_if(|other| other.look < sample.look).is_some() {}
                let same = others.next_if(|other| other.look == sample.look);
                same.is_some_and(|other| {
                    sample.value += other.value;
                    true
                })
            });
        }
        sum
    }
}

/// The samples of the first looks.
pub(super) fn before(samples: &[Sample], look: usize) -> &[Sample] {
    &samples[..samples.partition_point(|sample| sample.look < look)]
}

/// The samples that differ from the one before.
pub(super) fn changes(samples: &[Sample]) -> Vec<Sample> {
    let pairs = samples.windows(2);
    pairs
        .filter(|pair| pair[0].value != pair[1].value)
        .map(|pair| pair[1])
        .collect()
}

/// From this share of a period after an update that was not seen on, the next one is taken to have brought the same
/// value again.
const UNSEEN: f64 = 1.3;
/// Changes that follow an update sooner than this share of a period belong to it.
const SAME_UPDATE: f64 = 0.5;

/// One sample per update of a sensor with a new value every `period`, at the moment of the update: a change, or where
/// none was seen the same value again. All samples where the period is not known.
pub(super) fn per_update(samples: &[Sample], period: Option<f64>) -> Vec<Sample> {
    let (Some(period), Some(first)) = (period, samples.first()) else {
        return samples.to_vec();
    };
    let mut kept = vec![*first];
    let mut last = *first;
    for &sample in samples {
        let since = sample.t - last.t;
        if sample.value != last.value && since >= SAME_UPDATE * period {
            last = sample;
        } else if since >= UNSEEN * period {
            last = Sample {
                t: last.t + period,
                ..sample
            };
        } else {
            continue;
        }
        kept.push(last);
    }
    kept
}
