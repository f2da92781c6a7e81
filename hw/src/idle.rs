//! Idle power, and what is left of an energy without it.
//!
//! `E_net = E - P T`, with the idle power `P` and the length `T` of the span. It is negative where less was drawn than
//! while idle, and stays so. Both `E` and `P` come from one sensor, so what is wrong with it is wrong with both:
//!
//! | term | formula | why |
//! |---|---|---|
//! | gain | abs(g E - g P T) = g abs(E_net) | one gain for both |
//! | offset | abs(o T - o T) = 0 | a constant offset is subtracted with the idle power |
//! | all others | sqrt(x² + (x_P T)²) | independent: x of the span, x_P of the idle power |
//! | idle | sqrt(s² T² / k + s² T_k T) | idle power wanders by itself: s its scatter over k parts of length T_k; the first half is that of its mean, the second that of the span's own share of it |

use crate::calibration::{ASSUMED_IDLE_UNCERTAINTY, Calibration};
use crate::combine::Terms;
use crate::meter::Meter;
use crate::sensor::SensorInfo;
use crate::span::{PendingSpan, SpanEnergy};
use crate::units::{Joules, Seconds, Watts};
use std::time::Duration;

/// Idle power is watched in this many parts, to see how much it wanders.
const PARTS: u32 = 10;
/// Fewer parts say nothing about scatter; 5 % is assumed then.
const FEWEST_PARTS: usize = 3;

/// A board's power while nothing of ours runs, as one sensor sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct IdlePower {
    watts: Watts,
    origin: Origin,
    /// Variance (W²) of `watts` by its own scatter.
    variance: f64,
    /// Variance of idle power averaged over one second (W² s).
    wander: f64,
}

#[derive(Clone, Debug, PartialEq)]
enum Origin {
    Measured(Box<SpanEnergy>),
    /// A constant, with where it comes from.
    Constant(String),
}

impl IdlePower {
    /// Watches `meter` for `duration`; `None` if no sample came meanwhile. `sleep` waits, or ends the watch early.
    pub fn measure(meter: &Meter, duration: Duration, sleep: impl FnMut(Duration)) -> Option<Self> {
        let (whole, parts) = watch(meter, duration, sleep);
        meter.sample_now();
        let parts: Vec<SpanEnergy> = parts.iter().map(PendingSpan::wait).collect();
        Self::of(whole.wait(), &parts)
    }

    /// From the energy of an idle span and of equal parts of it.
    fn of(whole: SpanEnergy, parts: &[SpanEnergy]) -> Option<Self> {
        let watts = whole.mean_power()?;
        let powers: Vec<f64> = parts
            .iter()
            .filter_map(SpanEnergy::mean_power)
            .map(|p| p.0)
            .collect();
        let n = powers.len() as f64;
        let (variance, wander) = if powers.len() < FEWEST_PARTS {
            ((ASSUMED_IDLE_UNCERTAINTY * watts.0).powi(2), 0.0)
        } else {
            let mean = powers.iter().sum::<f64>() / n;
            let scatter = powers.iter().map(|p| (p - mean).powi(2)).sum::<f64>() / (n - 1.0);
            (scatter / n, scatter * whole.duration().0 / n)
        };
        Some(Self {
            watts,
            origin: Origin::Measured(Box::new(whole)),
            variance,
            wander,
        })
    }

    /// What the calibration or, failing that, the sensor's own model says.
    pub fn known(info: &SensorInfo, calibration: &Calibration) -> Option<Self> {
        let watts = info.idle?;
        Some(match calibration.idle_uncertainty(&info.id) {
            Some(uncertainty) => Self::constant(watts, uncertainty, "calibration file"),
            // A model's idle power is a constant of the very energies it is subtracted from.
            None => Self::constant(watts, Watts::ZERO, "the sensor's model"),
        })
    }

    /// A power as this very sensor reads it, with its own standard uncertainty and where it comes from, in words.
    pub fn constant(watts: Watts, uncertainty: Watts, source: impl Into<String>) -> Self {
        Self {
            watts,
            origin: Origin::Constant(source.into()),
            variance: uncertainty.0 * uncertainty.0,
            wander: 0.0,
        }
    }

    /// The power.
    pub fn watts(&self) -> Watts {
        self.watts
    }

    /// Its standard uncertainty (k = 1) beyond what is common to all readings of the sensor.
    pub fn uncertainty(&self) -> Watts {
        let Origin::Measured(span) = &self.origin else {
            return Watts(self.variance.sqrt());
        };
        let terms = span.budget.terms();
        let own = terms.iter().filter(|(name, _)| !cancels(name));
        let own: f64 = own.map(|(_, u)| (u.0 / span.duration().0).powi(2)).sum();
        Watts((own + self.variance).sqrt())
    }

    /// Where it comes from, in words.
    pub fn source(&self) -> String {
        match &self.origin {
            Origin::Measured(span) => format!("measured for {:.1} before", span.duration()),
            Origin::Constant(source) => source.clone(),
        }
    }

    /// A span's energy without that of the idle board; `None` if the span's energy is unknown.
    pub fn net(&self, span: &SpanEnergy) -> Option<Terms> {
        let gross = Terms::of(span)?;
        let duration = span.duration().0;
        let mut terms: Vec<(&'static str, Joules)> = gross
            .terms
            .iter()
            .map(|&(name, of_span)| {
                let of_idle = self.term(name, of_span, gross.joules, duration);
                let left = if cancels(name) {
                    let signed = |u: f64, energy: f64| if energy < 0.0 { -u } else { u };
                    let sign_matters = name == "gain";
                    let (a, b) = if sign_matters {
                        (signed(of_span.0, gross.joules.0), signed(of_idle, self.watts.0))
                    } else {
                        (of_span.0, of_idle)
                    };
                    (a - b).abs()
                } else {
                    of_span.0.hypot(of_idle)
                };
                (name, Joules(left))
            })
            .collect();
        let idle = self.variance * duration * duration + self.wander * duration;
        terms.push(("idle", Joules(idle.sqrt())));
        Some(Terms {
            joules: gross.joules - self.watts * Seconds(duration),
            terms,
        })
    }

    /// A term of the idle energy over `duration`. A constant of the same sensor has the sensor's own gain and offset.
    fn term(&self, name: &str, of_span: Joules, energy: Joules, duration: f64) -> f64 {
        match &self.origin {
            Origin::Measured(idle) => {
                let found = idle.budget.terms().into_iter().find(|(other, _)| *other == name);
                found.map_or(0.0, |(_, u)| u.0) * duration / idle.duration().0
            }
            Origin::Constant(_) => match name {
                "gain" if energy.0 != 0.0 => of_span.0 * (self.watts.0 * duration / energy.0).abs(),
                "offset" => of_span.0,
                _ => 0.0,
            },
        }
    }
}

/// Whether a term is subtracted together with the idle energy.
fn cancels(term: &str) -> bool {
    matches!(term, "gain" | "offset")
}

/// An idle span and equal parts of it.
fn watch(
    meter: &Meter,
    duration: Duration,
    mut sleep: impl FnMut(Duration),
) -> (PendingSpan, Vec<PendingSpan>) {
    let n = number_of_parts(meter, duration);
    let whole = meter.span("idle");
    let parts = (0..n).map(|_| {
        let part = meter.span("part of idle");
        sleep(duration / n);
        part.end()
    });
    let parts = parts.collect();
    (whole.end(), parts)
}

/// Parts long enough for the sensor to bring new values in each.
fn number_of_parts(meter: &Meter, duration: Duration) -> u32 {
    let update = meter.info().accuracy.update_period.unwrap_or(Seconds::ZERO);
    let shortest = 2.0 * update.0.max(meter.period().0);
    let fitting = (duration.as_secs_f64() / shortest) as u32;
    fitting.clamp(1, PARTS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock, ManualClock};
    use crate::meter::MeterOptions;
    use crate::sensor::{Accuracy, Kind, Rail, Reading, Role, Sensor};
    use std::sync::Arc;

    const GAIN: f64 = 0.01;

    /// Idle at 2 W for ten seconds, then at work at 5 W.
    struct Board(Arc<ManualClock>);

    impl Sensor for Board {
        fn read(&mut self) -> crate::Result<Reading> {
            let is_idle = self.0.now().0 <= 10_000_000_000;
            Ok(Reading::of_power(Watts(if is_idle { 2.0 } else { 5.0 })))
        }

        fn info(&self) -> SensorInfo {
            let rail = Rail::new("total", Role::Total).with_offset(Watts(0.1));
            SensorInfo {
                accuracy: Accuracy {
                    gain: GAIN,
                    ..Accuracy::default()
                },
                idle: Some(Watts(2.0)),
                ..SensorInfo::new("hwmon", Kind::Measured, vec![rail])
            }
        }
    }

    fn term(net: &Terms, name: &str) -> f64 {
        net.terms.iter().find(|(other, _)| *other == name).unwrap().1.0
    }

    /// Idle power, an idle span of 3 s, and a working span of 4 s.
    fn measured() -> (IdlePower, SpanEnergy, SpanEnergy) {
        let clock = Arc::new(ManualClock::new());
        let options = MeterOptions {
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            ..MeterOptions::at(100.0)
        };
        let meter = Meter::start_manual(Board(Arc::clone(&clock)), options).unwrap();
        let run = |time: Duration| {
            for _ in 0..(time.as_millis() / 10) {
                clock.advance(Duration::from_millis(10));
                meter.sample_now();
            }
        };
        let (whole, parts) = watch(&meter, Duration::from_secs(5), run);
        let span = meter.span("idle as before");
        run(Duration::from_secs(3));
        let still_idle = span.end();
        run(Duration::from_millis(2100));
        let span = meter.span("work");
        run(Duration::from_secs(4));
        let work = span.end();
        run(Duration::from_millis(20));
        let parts: Vec<SpanEnergy> = parts.iter().map(PendingSpan::wait).collect();
        let idle = IdlePower::of(whole.wait(), &parts).unwrap();
        (idle, still_idle.wait(), work.wait())
    }

    #[test]
    fn gain_shrinks_with_the_difference_and_the_offset_is_gone() {
        let (idle, still_idle, work) = measured();
        assert!((idle.watts().0 - 2.0).abs() < 1e-9);
        let net = idle.net(&work).unwrap();
        assert!((net.joules.0 - 12.0).abs() < 1e-6, "{net:?}");
        assert!((term(&net, "gain") - GAIN * 12.0).abs() < 1e-6, "{net:?}");
        assert!(term(&net, "offset").abs() < 1e-9, "{net:?}");
        let nothing = idle.net(&still_idle).unwrap();
        assert!(nothing.joules.0.abs() < 1e-6 && term(&nothing, "gain") < 1e-6);
        let gross = still_idle.total.unwrap().uncertainty;
        assert!(nothing.energy().uncertainty < gross, "surer than either energy");
    }

    #[test]
    fn a_constant_of_the_sensor_counts_as_read_by_it() {
        let (_, _, work) = measured();
        let info = Board(Arc::default()).info();
        let model = IdlePower::known(&info, &Calibration::default()).unwrap();
        let net = model.net(&work).unwrap();
        assert!((term(&net, "gain") - GAIN * 12.0).abs() < 1e-6 && term(&net, "offset").abs() < 1e-9);
        assert_eq!(term(&net, "idle"), 0.0);
        let file = "[sensor.hwmon]\nidle_watts = 2.0\nidle_uncertainty_watts = 0.5\n";
        let calibration = Calibration::parse("c.toml".as_ref(), file).unwrap();
        let calibrated = IdlePower::known(&info, &calibration).unwrap();
        assert_eq!(calibrated.source(), "calibration file");
        assert!((term(&calibrated.net(&work).unwrap(), "idle") - 2.0).abs() < 1e-9);
    }

    #[test]
    fn less_than_idle_is_negative() {
        let (_, still_idle, _) = measured();
        let info = SensorInfo {
            idle: Some(Watts(3.0)),
            ..Board(Arc::default()).info()
        };
        let idle = IdlePower::known(&info, &Calibration::default()).unwrap();
        assert!((idle.net(&still_idle).unwrap().joules.0 + 3.0).abs() < 1e-6);
    }

    #[test]
    fn idle_power_that_wanders_is_less_sure() {
        let (idle, _, work) = measured();
        let Origin::Measured(whole) = idle.origin else {
            panic!("not measured")
        };
        let part = |watts: f64| SpanEnergy {
            end: whole.begin.after(Duration::from_secs(1)),
            total: whole.total.map(|total| crate::uncertainty::Energy {
                joules: Joules(watts),
                ..total
            }),
            ..(*whole).clone()
        };
        // s = 1 W over 4 parts of 1.25 s: u² = T²/4 + 1.25 T.
        let parts = [1.0, 3.0, 1.0, 3.0].map(|watts| part(1.0 + (watts - 1.0) * 0.75f64.sqrt()));
        let wandering = IdlePower::of((*whole).clone(), &parts).unwrap();
        let expected = (16.0 / 4.0 + 1.25 * 4.0f64).sqrt();
        let net = wandering.net(&work).unwrap();
        assert!((term(&net, "idle") - expected).abs() < 1e-9, "{net:?}");
        let few = IdlePower::of((*whole).clone(), &parts[..1]).unwrap();
        assert!((few.uncertainty().0 - 0.1).abs() < 0.01, "5 % assumed");
    }
}
