//! The claim behind every `± U`: the truth lies in the stated 95 % interval, for every waveform and every sensor.

use hwmeter_hw::synthetic::coverage::{Combination, Outcome, Row, run_all};
use hwmeter_hw::synthetic::{SensorModel, Severity, Shape};

/// Spans per combination.
const SPANS: u32 = 2000;

/// At least so much of the spans must contain the truth within two standard uncertainties.
const LEAST_COVERAGE: f64 = 0.93;

/// And the stated uncertainty must not be larger than so many times the true one.
const MOST_CAUTION: f64 = 3.0;

fn outcomes(rows: &[Row], shapes: &[Shape], spans: u32) -> Vec<(String, Outcome)> {
    let cells: Vec<(String, Combination)> = rows
        .iter()
        .flat_map(|row| {
            let name = move |shape: Shape| format!("{}, {}", row.name(), shape.name());
            shapes.iter().map(move |&shape| (name(shape), row.with(shape)))
        })
        .collect();
    let (names, combinations): (Vec<_>, Vec<Combination>) = cells.into_iter().unzip();
    names.into_iter().zip(run_all(&combinations, spans)).collect()
}

#[test]
fn the_truth_lies_within_the_stated_interval_and_the_interval_is_not_wider_than_it_must_be() {
    let bad: Vec<String> = outcomes(&Row::all(), &Shape::ALL, SPANS)
        .into_iter()
        .filter(|(_, outcome)| {
            outcome.spans < SPANS * 99 / 100
                || outcome.coverage < LEAST_COVERAGE
                || outcome.caution() > MOST_CAUTION
        })
        .map(|(name, outcome)| format!("{name}: {outcome:?}, caution {:.2}", outcome.caution()))
        .collect();
    assert!(bad.is_empty(), "{bad:#?}");
}

/// Before a meter has seen how power varies it can only assume. `hwmeter measure` lets it watch for a moment first.
#[test]
fn the_first_span_of_a_meter_is_nearly_as_honest() {
    for (name, outcome) in outcomes(&Row::first_spans(), &Shape::ALL, SPANS / 2) {
        assert!(outcome.coverage >= 0.8, "{name}: {outcome:?}");
    }
}

/// Sampled evenly, one in ten of these intervals would hold the truth.
#[test]
fn a_load_in_step_with_the_sampling_rate_is_seen_through() {
    for (name, outcome) in outcomes(&Row::all(), &[Shape::InStep], SPANS) {
        assert!(outcome.coverage >= LEAST_COVERAGE, "{name}: {outcome:?}");
    }
}

#[test]
fn a_gain_three_times_as_wrong_as_stated_is_seen() {
    let broken = [SensorModel::Rapl, SensorModel::ModbusMean].map(|sensor| Row {
        severity: Severity {
            gain: 3.0,
            ..Severity::SPECIFIED
        },
        ..Row::on_time(sensor)
    });
    for row in broken {
        // A meter that shows whole 0.1 W is unsure of constant power by its steps as well.
        let most = if row.sensor == SensorModel::Rapl { 0.8 } else { 0.9 };
        for (name, outcome) in outcomes(&[row], &Shape::ALL, SPANS / 4) {
            assert!(outcome.coverage < most, "{name}: {outcome:?}");
        }
    }
}
