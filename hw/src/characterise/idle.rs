//! The idle machine: power of a rail, its drift and its noise.

use super::record::{Sample, per_update};
use crate::units::Watts;
use serde::Serialize;

/// The idle time is cut into so many parts.
const PARTS: usize = 10;

/// Power of a rail while nothing runs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct IdleRail {
    /// Mean power.
    pub watts: Watts,
    /// Its standard uncertainty, from the scatter of ten parts and the rounding; without the sensor's gain and offset.
    pub uncertainty: Watts,
    /// Change of power in a minute.
    pub drift_watts_per_minute: f64,
    /// Its standard uncertainty: a drift that is no larger is none.
    pub drift_uncertainty: f64,
}

/// From the samples at idle: watts in steps of `step`, or joules of a counter. `None` of too few.
pub(super) fn of(samples: &[Sample], is_counter: bool, step: f64) -> Option<IdleRail> {
    let (first, last) = (samples.first()?.t, samples.last()?.t);
    let length = (last - first) / PARTS as f64;
    let mut parts = Vec::with_capacity(PARTS);
    for i in 0..PARTS {
        let begin = first + i as f64 * length;
        let inside: Vec<&Sample> = samples
            .iter()
            .filter(|sample| (begin..=begin + length).contains(&sample.t))
            .collect();
        let power = if is_counter { slope(&inside) } else { mean(&inside) };
        parts.extend(power.map(|power| (begin + 0.5 * length, power)));
    }
    // Values that hardly change are all rounded alike.
    let rounding = if is_counter { 0.0 } else { step / 12f64.sqrt() };
    line(&parts).map(|rail| IdleRail {
        uncertainty: Watts(rail.uncertainty.0.hypot(rounding)),
        ..rail
    })
}

fn mean(samples: &[&Sample]) -> Option<f64> {
    let sum: f64 = samples.iter().map(|sample| sample.value).sum();
    (!samples.is_empty()).then(|| sum / samples.len() as f64)
}

fn slope(samples: &[&Sample]) -> Option<f64> {
    let (first, last) = (samples.first()?, samples.last()?);
    (last.t > first.t).then(|| (last.value - first.value) / (last.t - first.t))
}

/// A straight line through the parts' powers.
fn line(parts: &[(f64, f64)]) -> Option<IdleRail> {
    let n = parts.len() as f64;
    if parts.len() < 3 {
        return None;
    }
    let mean_t = parts.iter().map(|(t, _)| t).sum::<f64>() / n;
    let mean_p = parts.iter().map(|(_, p)| p).sum::<f64>() / n;
    let spread: f64 = parts.iter().map(|(t, _)| (t - mean_t).powi(2)).sum();
    let slope = parts
        .iter()
        .map(|(t, p)| (t - mean_t) * (p - mean_p))
        .sum::<f64>()
        / spread;
    let rest = |(t, p): &(f64, f64)| (p - mean_p - slope * (t - mean_t)).powi(2);
    let variance = parts.iter().map(rest).sum::<f64>() / (n - 2.0);
    Some(IdleRail {
        watts: Watts(mean_p),
        uncertainty: Watts((variance / n).sqrt()),
        drift_watts_per_minute: 60.0 * slope,
        drift_uncertainty: 60.0 * (variance / spread).sqrt(),
    })
}

/// Standard deviation of a value in watts, from the differences of neighbouring ones: a drift does not count. `None` of
/// too few, or if the value never changed: then it is smaller than the steps.
pub(super) fn noise(samples: &[Sample], period: Option<f64>) -> Option<f64> {
    let values = per_update(samples, period);
    let differences = values.windows(2).map(|pair| pair[1].value - pair[0].value);
    let squares: f64 = differences.map(|difference| difference * difference).sum();
    (values.len() > 3 && squares > 0.0).then(|| (0.5 * squares / (values.len() - 1) as f64).sqrt())
}
