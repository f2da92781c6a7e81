//! The filter's lag, from the response to a load step.

use super::LoadEdge;
use super::record::{Record, Sample, per_update};
use crate::units::Seconds;
use serde::Serialize;

/// The response of a sensor to a load step.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Lag {
    /// Time constant of the first-order response.
    pub time_constant: Seconds,
    /// Its standard uncertainty, from how the edges agree and how often the sensor has a value.
    pub uncertainty: Seconds,
    /// Time before the response begins.
    pub delay: Seconds,
    /// Edges that it was fitted to.
    pub edges: usize,
}

/// A response has to rise by so many times the scatter around its fit.
const LEAST_RISE: f64 = 5.0;
/// A time constant has to be this long, in times between two values, to be told from none; and the time after the edge
/// this many time constants.
const SHORTEST: f64 = 1.0;
const LEAST_DECAY: f64 = 2.5;
/// Fewer values around an edge tell nothing.
const FEWEST_VALUES: usize = 8;
/// Grid of delays and time constants, and how often it is drawn finer around the best.
const GRID: usize = 24;
const ZOOMS: usize = 4;

/// The lag of the sum of some rails; or why none can be told.
pub(super) fn of(
    record: &Record,
    rails: &[usize],
    edges: &[LoadEdge],
    period: Option<f64>,
) -> Result<Lag, String> {
    if rails.iter().any(|&rail| record.is_counter(rail)) {
        return Err("a counter has none".to_owned());
    }
    let samples = record.sum(rails);
    let between = period.or_else(|| record.pace()).unwrap_or(0.0);
    let mut fits = Vec::new();
    for (n, edge) in edges.iter().enumerate() {
        // From halfway to the edge before to the one after it.
        let before = if n == 0 {
            edge.look / 2
        } else {
            (edges[n - 1].look + edge.look) / 2
        };
        let after = edges.get(n + 1).map_or(usize::MAX, |next| next.look);
        let around: Vec<Sample> = samples
            .iter()
            .copied()
            .filter(|sample| (before..after).contains(&sample.look))
            .collect();
        let values = per_update(&around, period);
        let points: Vec<(f64, f64)> = thinned(&values)
            .map(|sample| (sample.t - edge.t, sample.value))
            .collect();
        fits.extend(fit(&points, between));
    }
    summary(&fits, edges.len(), between)
}

/// At most 400 of them.
fn thinned(samples: &[Sample]) -> impl Iterator<Item = &Sample> {
    samples.iter().step_by(samples.len().div_ceil(400).max(1))
}

fn summary(fits: &[Response], edges: usize, between: f64) -> Result<Lag, String> {
    let n = fits.len() as f64;
    if fits.len() < 2 {
        return Err(format!(
            "{} of {edges} load steps show a clear response",
            fits.len()
        ));
    }
    let mean = fits.iter().map(|fit| fit.tau).sum::<f64>() / n;
    let scatter = fits.iter().map(|fit| (fit.tau - mean).powi(2)).sum::<f64>() / (n - 1.0);
    if mean < SHORTEST * between {
        return Err(format!(
            "it is shorter than the {:.1} ms between two values",
            1e3 * between
        ));
    }
    let grain = between * between / 12.0;
    Ok(Lag {
        time_constant: Seconds(mean),
        uncertainty: Seconds(((scatter + grain) / n).sqrt()),
        delay: Seconds(fits.iter().map(|fit| fit.delay).sum::<f64>() / n),
        edges: fits.len(),
    })
}

#[derive(Clone, Copy, Debug)]
struct Response {
    delay: f64,
    tau: f64,
}

/// Fits one edge: times are since the load changed.
fn fit(points: &[(f64, f64)], between: f64) -> Option<Response> {
    let end = points.iter().map(|(t, _)| *t).fold(0.0, f64::max);
    if points.len() < FEWEST_VALUES || end <= 0.0 || between <= 0.0 {
        return None;
    }
    let (mut delays, mut taus) = ((0.0, 0.5 * end), ((0.1 * between).ln(), end.ln()));
    let mut best = (f64::INFINITY, 0.0, Response { delay: 0.0, tau: 0.0 });
    for _ in 0..ZOOMS {
        let at = |(low, high): (f64, f64), i: usize| low + (high - low) * i as f64 / (GRID - 1) as f64;
        for i in 0..GRID {
            for j in 0..GRID {
                let response = Response {
                    delay: at(delays, i),
                    tau: at(taus, j).exp(),
                };
                let (rest, rise) = response.compare(points);
                if rest < best.0 {
                    best = (rest, rise, response);
                }
            }
        }
        let cell = |(low, high): (f64, f64)| 1.5 * (high - low) / (GRID - 1) as f64;
        let (d, t) = (cell(delays), cell(taus));
        delays = ((best.2.delay - d).max(0.0), best.2.delay + d);
        taus = (best.2.tau.ln() - t, best.2.tau.ln() + t);
    }
    let (rest, rise, response) = best;
    let scatter = (rest / (points.len() - 4) as f64).sqrt();
    let is_clear = rise.abs() > LEAST_RISE * scatter && rise != 0.0;
    (is_clear && end - response.delay > LEAST_DECAY * response.tau).then_some(response)
}

impl Response {
    /// Sum of squares that the best a and b leave, and that b.
    fn compare(self, points: &[(f64, f64)]) -> (f64, f64) {
        let n = points.len() as f64;
        let shape = |t: f64| {
            if t > self.delay {
                1.0 - (-(t - self.delay) / self.tau).exp()
            } else {
                0.0
            }
        };
        let (mut sg, mut sp, mut sgg, mut sgp, mut spp) = (0.0, 0.0, 0.0, 0.0, 0.0);
        for &(t, p) in points {
            let g = shape(t);
            sg += g;
            sp += p;
            sgg += g * g;
            sgp += g * p;
            spp += p * p;
        }
        let (cgg, cgp, cpp) = (sgg - sg * sg / n, sgp - sg * sp / n, spp - sp * sp / n);
        if cgg <= 1e-12 {
            return (cpp, 0.0);
        }
        ((cpp - cgp * cgp / cgg).max(0.0), cgp / cgg)
    }
}
