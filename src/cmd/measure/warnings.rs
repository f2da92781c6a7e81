//! What a user should know before believing the number, and what to do about it.

use super::{Measurement, Run};
use crate::ui;
use hwmeter_hw::combine::Terms;
use hwmeter_hw::repeat::Repeated;
use hwmeter_hw::units::Seconds;

/// Below this share of time backed by samples, the rest is guesswork worth a word.
const LOW_COVERAGE: f64 = 0.95;
/// More late ticks than this share are worth a word.
const MANY_LATE: f64 = 0.01;

/// All runs as one sensor saw them.
pub struct Several<'a> {
    runs: Vec<(&'a Run, &'a Measurement)>,
}

impl<'a> Several<'a> {
    /// Those of sensor number `i`.
    pub fn of(runs: &'a [Run], i: usize) -> Self {
        let seen = runs.iter().filter_map(|run| Some((run, run.sensors.get(i)?)));
        Self { runs: seen.collect() }
    }

    /// A single run.
    pub fn one(run: &'a Run, measurement: &'a Measurement) -> Self {
        Self {
            runs: vec![(run, measurement)],
        }
    }

    /// The first run.
    pub fn first(&self) -> Option<&'a Measurement> {
        self.runs.first().map(|&(_, measurement)| measurement)
    }

    /// Each run with its measurement.
    pub fn runs(&self) -> &[(&'a Run, &'a Measurement)] {
        &self.runs
    }

    /// The measurements.
    pub fn all(&self) -> impl Iterator<Item = &'a Measurement> {
        self.runs.iter().map(|&(_, measurement)| measurement)
    }

    /// The measurements that say what a run costs: of several, not the one that a signal cut short.
    fn complete(&self) -> impl Iterator<Item = &'a Measurement> {
        let is_only = self.runs.len() == 1;
        let complete = self.runs.iter().filter(move |(run, _)| is_only || !run.cut_short);
        complete.map(|&(_, measurement)| measurement)
    }

    /// Mean and scatter of the energies known.
    pub fn gross(&self) -> Option<Repeated> {
        Repeated::of(&self.terms())
    }

    /// The same without idle energy; `None` where idle power is unknown.
    pub fn net(&self) -> Option<Repeated> {
        Repeated::of(&self.net_terms())
    }

    /// Each complete run's energy and the terms of its uncertainty.
    pub fn terms(&self) -> Vec<Terms> {
        self.complete().filter_map(|m| Terms::of(&m.span)).collect()
    }

    /// The same without idle energy; empty where idle power is unknown.
    pub fn net_terms(&self) -> Vec<Terms> {
        self.complete().filter_map(|m| m.net.clone()).collect()
    }

    /// Time of all runs together.
    pub fn duration(&self) -> Seconds {
        self.all().map(|m| m.span.duration()).sum()
    }

    /// Share of that time which is backed by samples; 0 without any time.
    pub fn coverage(&self) -> f64 {
        let covered: f64 = self.all().map(|m| m.span.duration().0 * m.span.coverage).sum();
        if self.duration().0 > 0.0 {
            covered / self.duration().0
        } else {
            0.0
        }
    }

    /// A count over all runs.
    pub fn count(&self, of: impl Fn(&Measurement) -> u64) -> u64 {
        self.all().map(of).sum()
    }
}

/// The warnings, worst first.
pub fn of(several: &Several) -> Vec<String> {
    [
        cut_short(several),
        failed(several),
        coverage(several),
        short(several),
        late(several),
        lost(several),
        resets(several),
        suspended(several),
        refused(several),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn cut_short(several: &Several) -> Option<String> {
    let runs = several.runs();
    let is_cut = runs.iter().any(|(run, _)| run.cut_short);
    (runs.len() > 1 && is_cut)
        .then(|| "a signal cut the last run short: it is listed, but not in the mean".to_owned())
}

fn failed(several: &Several) -> Option<String> {
    let runs = several.runs();
    let failed = runs
        .iter()
        .filter(|(run, _)| run.exit_status != 0 && !run.cut_short)
        .count();
    (runs.len() > 1 && failed > 0).then(|| {
        format!(
            "{failed} of {} runs ended with an exit status other than 0, and are in the mean",
            runs.len()
        )
    })
}

fn coverage(several: &Several) -> Option<String> {
    let coverage = several.coverage();
    let is_known = several.all().any(|m| m.span.total.is_some());
    (is_known && coverage < LOW_COVERAGE).then(|| {
        format!(
            "only {:.0} % of the time is backed by samples: lower --rate, or try --realtime",
            100.0 * coverage
        )
    })
}

/// A sensor that updates once a second says little about a tenth of it.
fn short(several: &Several) -> Option<String> {
    let first = several.first()?;
    let update = first.info.accuracy.update_period?;
    let shortest = several
        .all()
        .map(|m| m.span.duration())
        .fold(first.span.duration(), |a, b| if b < a { b } else { a });
    (shortest < update).then(|| {
        format!(
            "{} is less than the sensor takes for a new value ({}): do the work several times within one run",
            ui::seconds(shortest.0),
            ui::seconds(update.0)
        )
    })
}

fn late(several: &Several) -> Option<String> {
    let late = several.count(|m| m.seen.late_ticks);
    let ticks = several.first()?.rate_hz * several.duration().0;
    (late as f64 > MANY_LATE * ticks.max(1.0)).then(|| {
        format!(
            "{late} of about {ticks:.0} ticks came too late: lower --rate, or try --realtime on a busy machine"
        )
    })
}

fn lost(several: &Several) -> Option<String> {
    let lost = several.count(|m| m.seen.lost_samples);
    let error = several
        .all()
        .filter_map(|m| m.seen.last_error.as_deref())
        .last()?;
    Some(format!("{lost} reads failed, the last one: {error}"))
}

fn resets(several: &Several) -> Option<String> {
    let resets = several.count(|m| m.seen.resets);
    (resets > 0).then(|| format!("a counter of the sensor began anew {resets} times: the joules up to then in those intervals are missing"))
}

fn suspended(several: &Several) -> Option<String> {
    ui::suspended_sentence(several.runs().iter().map(|(run, _)| run.suspended).sum())
}

fn refused(several: &Several) -> Option<String> {
    let refused = several.runs().iter().map(|(run, _)| &run.refused);
    let marks: u64 = refused.clone().map(|refused| refused.marks).sum();
    let reason = refused.filter_map(|refused| refused.reason.as_deref()).next()?;
    Some(format!(
        "{marks} marks began no phase, the first because {reason}"
    ))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::Seen;
    use super::*;
    use crate::cmd::measure::phases::Refused;
    use hwmeter_hw::clock::{Clock, ManualClock, SuspendWatch};
    use hwmeter_hw::meter::{Meter, MeterOptions};
    use hwmeter_hw::sensor::{Reading, Sensor};
    use hwmeter_hw::units::Watts;
    use std::sync::Arc;
    use std::time::Duration;

    struct Flat;

    impl Sensor for Flat {
        fn read(&mut self) -> hwmeter_hw::Result<Reading> {
            Ok(Reading::of_power(Watts(2.0)))
        }
    }

    /// A run of one second at 100 Hz, in which the machine slept for a minute.
    fn run_with_sleep() -> Run {
        let clock = Arc::new(ManualClock::new());
        let options = MeterOptions {
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            ..MeterOptions::at(100.0)
        };
        let meter = Meter::start_manual(Flat, options).unwrap();
        let awake = SuspendWatch::begin(&*clock);
        let span = meter.span("measured");
        for _ in 0..100 {
            clock.advance(Duration::from_millis(10));
            meter.sample_now();
        }
        clock.suspend(Duration::from_secs(60));
        let span = span.end();
        clock.advance(Duration::from_millis(10));
        meter.sample_now();
        let measurement = Measurement {
            info: meter.info().clone(),
            span: span.wait(),
            idle: None,
            net: None,
            phases: Vec::new(),
            seen: Seen::default(),
            rate_hz: 100.0,
            calibration: None,
        };
        Run {
            sensors: vec![measurement],
            exit_status: 0,
            cut_short: false,
            suspended: awake.elapsed(&*clock),
            refused: Refused::default(),
        }
    }

    #[test]
    fn time_suspended_is_told_and_neither_time_nor_joules_of_the_run() {
        let run = run_with_sleep();
        let warnings = of(&Several::of(std::slice::from_ref(&run), 0));
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].contains("suspended for 60.00 s"), "{warnings:?}");
        let span = &run.sensors[0].span;
        assert!((span.duration().0 - 1.0).abs() < 1e-9);
        assert!((span.total.unwrap().joules.0 - 2.0).abs() < 1e-9);
        let document = crate::cmd::measure::document::document(std::slice::from_ref(&run));
        let suspended = document["suspended_s"].as_f64().unwrap();
        assert!((suspended - 60.0).abs() < 1e-6);
    }

    #[test]
    fn what_makes_a_number_doubtful_is_told_with_what_to_do() {
        let mut run = run_with_sleep();
        run.suspended = Seconds::ZERO;
        let measurement = &mut run.sensors[0];
        measurement.seen.late_ticks = 5;
        measurement.seen.resets = 1;
        measurement.span.coverage = 0.5;
        measurement.info.accuracy.update_period = Some(Seconds(3.0));
        run.refused = Refused {
            marks: 2,
            reason: Some("a phase needs a name".to_owned()),
        };
        let warnings = of(&Several::of(std::slice::from_ref(&run), 0));
        for words in [
            "only 50 %",
            "less than the sensor takes",
            "5 of about 100",
            "began anew",
            "2 marks",
        ] {
            assert!(
                warnings.iter().any(|said| said.contains(words)),
                "{words}: {warnings:?}"
            );
        }
        assert_eq!(warnings.len(), 5);
    }
}
