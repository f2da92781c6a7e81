//! Traces written out by hand, and the joules that follow from them.

use super::*;
use hwmeter_hw::sensor::{Accuracy, Role, SensorInfo};
use proptest::prelude::*;
use std::path::Path;

const HEADER: &str = "t_s,sensor,rail,power_w,energy_j\n";

fn interval(from: impl Into<Option<f64>>, to: impl Into<Option<f64>>) -> Interval {
    Interval {
        name: "x".into(),
        from: from.into().map(Seconds),
        to: to.into().map(Seconds),
    }
}

fn whole() -> [Interval; 1] {
    [interval(None, None)]
}

fn run(text: &str, known: &[TracedSensor], intervals: &[Interval]) -> Result<Integrated> {
    let rows = TraceReader::new(Path::new("t.csv"), text.as_bytes())?;
    integrate(rows, known, intervals, None)
}

/// The spans of the only sensor.
fn spans(text: &str, intervals: &[Interval]) -> Vec<TracedSpan> {
    run(text, &[], intervals).unwrap().sensors.remove(0).spans
}

fn joules(span: &TracedSpan) -> f64 {
    span.total.as_ref().unwrap().0.energy.joules.0
}

fn close(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-12 * a.abs().max(b.abs())
}

/// `power(t)` sampled at these times.
fn two_columns(times: impl Iterator<Item = f64>, power: impl Fn(f64) -> f64) -> String {
    let rows = times.map(|t| format!("{t},{}\n", power(t)));
    format!("t_s,power_w\n{}", rows.collect::<String>())
}

#[test]
fn a_ramp_is_exact_between_rows_too() {
    let text = two_columns((0..=10).map(|i| 5.0 + f64::from(i) * 0.1), |t| 2.0 * t);
    let spans = spans(
        &text,
        &[interval(None, None), interval(5.25, 5.78), interval(5.11, 5.12)],
    );
    assert!(close(joules(&spans[0]), 11.0), "{spans:#?}");
    assert!(
        close(joules(&spans[1]), 5.78f64.powi(2) - 5.25f64.powi(2)),
        "{spans:#?}"
    );
    assert!((joules(&spans[2]) - (5.12f64.powi(2) - 5.11f64.powi(2))).abs() < 1e-9);
    assert_eq!((spans[0].from, spans[0].to), (Seconds(5.0), Seconds(6.0)));
    assert_eq!((spans[0].samples, spans[0].coverage), (11, 1.0));
    let (total, budget) = spans[1].total.unwrap();
    assert!(total.energy.uncertainty.0 > 0.0 && budget.gain.0 == 0.0 && budget.sampling.0 > 0.0);
    assert!(close(total.mean.0, joules(&spans[1]) / 0.53));
}

#[test]
fn an_interval_counts_as_far_as_the_trace_reaches() {
    let text = two_columns((0..=10).map(f64::from), |_| 3.0);
    let asked = [
        interval(-10.0, 10.0),
        interval(5.0, 25.0),
        interval(-1e300, 1e300),
        interval(20.0, 30.0),
        interval(-2.0, -1.0),
        interval(-5.0, None),
        interval(20.0, None),
    ];
    let spans = spans(&text, &asked);
    assert!(
        close(joules(&spans[0]), 30.0) && close(spans[0].coverage, 0.5),
        "{:?}",
        spans[0]
    );
    assert!(
        close(joules(&spans[1]), 15.0) && close(spans[1].coverage, 0.25),
        "{:?}",
        spans[1]
    );
    assert!(close(spans[1].total.unwrap().0.mean.0, 3.0));
    assert!(
        close(joules(&spans[2]), 30.0) && spans[2].coverage < 1e-200,
        "{:?}",
        spans[2]
    );
    for nothing in [&spans[3], &spans[4], &spans[6]] {
        assert_eq!((nothing.total, nothing.coverage), (None, 0.0), "{nothing:?}");
        assert_eq!(nothing.rails, [None], "unknown is not zero");
    }
    assert!(close(spans[5].coverage, 10.0 / 15.0), "{:?}", spans[5]);
}

#[test]
fn a_gap_is_bridged_and_not_covered_and_an_unknown_power_as_well() {
    let text = two_columns(
        (0..=20).map(f64::from).filter(|t| !(5.0..15.0).contains(t)),
        |_| 1.0,
    );
    let of_gap = spans(&text, &whole());
    // The 11 s between 4 and 15 stand for one period of 1 s.
    assert!(
        close(joules(&of_gap[0]), 20.0) && close(of_gap[0].coverage, 0.5),
        "{of_gap:?}"
    );
    let unknown = spans("t_s,power_w\n0,1\n1,1\n2,\n3,1\n4,1\n", &whole());
    assert!(
        close(joules(&unknown[0]), 4.0) && unknown[0].coverage < 0.8,
        "{unknown:?}"
    );
}

#[test]
fn a_counter_is_taken_from_its_energy_column() {
    // Constant mean power within each row, as a counter tells it.
    let text = format!(
        "{HEADER}0,rapl,core,,0\n1,rapl,core,2,2\n2,rapl,core,6,8\n3,rapl,core,,8\n4,rapl,core,1,10\n"
    );
    let spans = spans(&text, &[interval(None, None), interval(0.5, 1.5)]);
    assert!(
        close(joules(&spans[0]), 10.0) && close(joules(&spans[1]), 4.0),
        "{spans:?}"
    );
    assert!(
        close(spans[0].coverage, 0.75),
        "the row without power had no value: {spans:?}"
    );
}

#[test]
fn sensors_are_never_summed_and_take_what_stands_beside_the_trace() {
    let rails = vec![Rail::new("a", Role::Cpu), Rail::new("b", Role::Io)];
    let mut sensor = SensorInfo::new("ina:1", Kind::Modelled, rails);
    sensor.accuracy = Accuracy {
        gain: 0.1,
        ..Accuracy::default()
    };
    let known = [TracedSensor {
        sensor,
        sampling_hz: 2.0,
    }];
    let mut text = HEADER.to_owned();
    for t in 0..=4 {
        for (sensor, rail, watts) in [("ina:1", "a", 1), ("wall", "total", 9), ("ina:1", "b", 2)] {
            text += &format!("{t},{sensor},{rail},{watts},{}\n", watts * t);
        }
    }
    let found = run(&text, &known, &whole()).unwrap();
    let [ina, wall] = found.sensors.as_slice() else {
        panic!("{found:#?}")
    };
    assert_eq!((ina.kind, wall.kind), (Some(Kind::Modelled), None));
    assert_eq!((ina.has_accuracy, wall.has_accuracy), (true, false));
    assert!(close(joules(&ina.spans[0]), 12.0) && close(joules(&wall.spans[0]), 36.0));
    assert!(close(ina.spans[0].total.unwrap().1.gain.0, 1.2));
    assert!(
        close(ina.spans[0].coverage, 0.5),
        "rows half as dense as the rate: {ina:#?}"
    );
    assert!(close(ina.spans[0].rails[1].unwrap().energy.joules.0, 8.0));
}

#[test]
fn a_rail_without_any_value_is_unknown_and_not_zero() {
    let text = format!("{HEADER}0,s,total,1,0\n0,s,gpu,,0\n1,s,total,1,1\n1,s,gpu,,0\n");
    let found = run(&text, &[], &whole()).unwrap().sensors.remove(0);
    assert!(close(joules(&found.spans[0]), 1.0));
    assert!(
        found.spans[0].rails[0].is_some() && found.spans[0].rails[1].is_none(),
        "{found:#?}"
    );
}

#[test]
fn rails_that_may_contain_each_other_have_no_total() {
    let mut text = HEADER.to_owned();
    for t in 0..3 {
        text += &format!(
            "{t},powercap,package-0,5,{}\n{t},powercap,core,3,{}\n",
            5 * t,
            3 * t
        );
    }
    let found = run(&text, &[], &whole()).unwrap().sensors.remove(0);
    assert!(!found.has_total && found.spans[0].total.is_none());
    let rails: Vec<f64> = found.spans[0]
        .rails
        .iter()
        .map(|rail| rail.unwrap().energy.joules.0)
        .collect();
    assert_eq!(rails, [10.0, 6.0]);
}

#[test]
fn rows_that_go_back_or_repeat_are_told_with_their_line() {
    let of = |rows: &str| {
        run(&format!("{HEADER}{rows}"), &[], &whole())
            .unwrap_err()
            .to_string()
    };
    let back = of("1,s,a,1,0\n2,s,a,1,1\n1.5,s,a,1,2\n");
    assert!(
        back.starts_with("t.csv, line 4: time 1.5 goes back behind 2"),
        "{back}"
    );
    let repeated = of("1,s,a,1,0\n1,s,b,1,0\n2,s,a,1,1\n2,s,a,1,1\n");
    assert!(
        repeated.starts_with("t.csv, line 5: time 2 of rail a repeats"),
        "{repeated}"
    );
    let far = of("1,s,a,1,0\n1e300,s,a,1,1\n");
    assert!(
        far.starts_with("t.csv, line 3: time 1e300 lies") || far.contains("century"),
        "{far}"
    );
    let many: String = (0..2000).map(|i| format!("1,s,rail{i},1,0\n")).collect();
    assert!(
        of(&many).contains("line 1002: the rails are more than 1000"),
        "{}",
        of(&many)
    );
    let many: String = (0..2000).map(|i| format!("1,sensor{i},a,1,0\n")).collect();
    assert!(
        of(&many).contains("line 1002: the sensors are more than 1000"),
        "{}",
        of(&many)
    );
    let late = (0..300).map(|i| format!("{i},s,a,1,{i}\n")).collect::<String>() + "300,s,b,1,0\n";
    assert!(
        of(&late).contains("line 302: rail b is new; its sensor has the rails a"),
        "{}",
        of(&late)
    );
}

/// Every way two intervals can overlap, against sums over the rows done the slow way.
#[test]
fn thousands_of_overlapping_spans_are_those_of_a_naive_sum() {
    let rows: Vec<(f64, f64)> = (0..2000)
        .map(|i| (f64::from(i) * 0.01, 2.0 + f64::from(i * 7919 % 977) * 0.01))
        .collect();
    let text = two_columns(rows.iter().map(|row| row.0), |t| {
        rows[(t * 100.0).round() as usize].1
    });
    let power = |t: f64| {
        let i = ((t * 100.0) as usize).min(rows.len() - 2);
        let ((t0, p0), (t1, p1)) = (rows[i], rows[i + 1]);
        p0 + (p1 - p0) * (t - t0) / (t1 - t0)
    };
    let naive = |from: f64, to: f64| {
        let mut points = vec![(from, power(from))];
        points.extend(rows.iter().filter(|row| row.0 > from && row.0 < to));
        points.push((to, power(to)));
        points
            .windows(2)
            .map(|pair| (pair[0].1 + pair[1].1) / 2.0 * (pair[1].0 - pair[0].0))
            .sum::<f64>()
    };
    let asked: Vec<(f64, f64)> = (0..4000)
        .map(|i| {
            let from = f64::from(i * 4561 % 1800) * 0.01 + 0.003;
            (from, from + 0.02 + f64::from(i % 180) * 0.01)
        })
        .collect();
    let intervals: Vec<Interval> = asked.iter().map(|&(from, to)| interval(from, to)).collect();
    for (span, (from, to)) in spans(&text, &intervals).iter().zip(asked) {
        let expected = naive(from, to);
        assert!(
            (joules(span) - expected).abs() < 1e-9 * expected,
            "{span:?} {expected}"
        );
        assert!(span.coverage > 0.999_999, "{span:?}");
    }
}

proptest! {
    /// Whatever a trace holds: an answer or an error, and no joules out of nothing.
    #[test]
    fn any_rows_give_an_answer_or_an_error(
        mut rows in proptest::collection::vec((-1e3..1e3, 0..3, 0..3, proptest::option::of(-1e9..1e9), proptest::option::of(-1e9..1e9)), 0..40),
        sorted in any::<bool>(),
        from in -2e3..2e3,
        length in 1e-12..1e4,
    ) {
        if sorted {
            rows.sort_by(|a: &(f64, _, _, _, _), b| a.0.total_cmp(&b.0));
        }
        let cell = |x: Option<f64>| x.map_or(String::new(), |x| x.to_string());
        let text = rows.iter().fold(HEADER.to_owned(), |text, (t, sensor, rail, power, energy)| {
            text + &format!("{t},s{sensor},r{rail},{},{}\n", cell(*power), cell(*energy))
        });
        let asked = [interval(None, None), interval(from, from + length)];
        if let Ok(found) = run(&text, &[], &asked) {
            for span in found.sensors.iter().flat_map(|sensor| &sensor.spans) {
                prop_assert!((0.0..=1.0).contains(&span.coverage), "{span:?}");
                if let Some((total, _)) = &span.total {
                    prop_assert!(total.energy.joules.0.is_finite() && total.energy.uncertainty.0 >= 0.0);
                }
            }
        }
    }
}
