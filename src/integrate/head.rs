//! What the first samples of a sensor tell: which figure of a row to integrate, and how far apart samples should be.
//!
//! `energy.csv` has a power and a cumulative energy in each row. Where the energy is the trapezoid of the power, the
//! rail's power was sampled, and it is integrated again, with the uncertainty that sampling has. Where it is not,
//! the energy is a counter's, and the rows' power is only its mean since the row before: then the energy is taken.
//! Either way the joules of the whole trace are those of the energy column.

use crate::trace::TracedSensor;
use hwmeter_hw::clock::Moment;
use hwmeter_hw::integrator::energy_between;
use hwmeter_hw::rails::role_of;
use hwmeter_hw::sensor::{Accuracy, Kind, Rail, Role, SensorInfo, Value};
use hwmeter_hw::units::{Joules, Seconds, Watts};

/// One rail in one sample.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cell {
    /// Power, where known.
    pub power: Option<Watts>,
    /// Cumulative energy, where known.
    pub energy: Option<Joules>,
}

/// What one sensor said at one moment; a rail of which there is no row is `None`.
#[derive(Clone, Debug, Default)]
pub struct Sample {
    /// When.
    pub t: Moment,
    /// In the order of the sensor's rails.
    pub cells: Vec<Option<Cell>>,
}

/// Which figure of a rail's rows is integrated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Power, by trapezoids.
    Power,
    /// Cumulative energy, by differences.
    Counter,
}

impl Source {
    /// Judges from the first samples of a rail.
    pub fn of(rail: &Rail, index: usize, accuracy: &Accuracy, period: Seconds, head: &[Sample]) -> Self {
        let cells = || {
            head.iter()
                .filter_map(move |sample| Some((sample.t, (*sample.cells.get(index)?)?)))
        };
        let has_energy = cells().any(|(_, cell)| cell.energy.is_some());
        let has_power = cells().any(|(_, cell)| cell.power.is_some());
        if !has_energy {
            return Self::Power;
        }
        if !has_power || rail.energy_step > Joules::ZERO {
            return Self::Counter;
        }
        let rows: Vec<(Moment, Watts, Joules)> = cells()
            .filter_map(|(t, cell)| Some((t, cell.power?, cell.energy?)))
            .collect();
        let verdicts: Vec<bool> = rows
            .windows(2)
            .filter_map(|pair| is_integral(&pair[0], &pair[1], accuracy, period))
            .collect();
        match verdicts.iter().all(|&is_integral| is_integral) && !verdicts.is_empty() {
            true => Self::Power,
            false => Self::Counter,
        }
    }

    /// What the integrator is given. A counter's first row has no power yet, and is where it counts from.
    pub fn value(self, cell: Option<Cell>, is_first: bool) -> Value {
        let Some(cell) = cell else { return Value::Missing };
        match (self, cell.power, cell.energy) {
            (Self::Power, Some(power), _) => Value::Power(power),
            (Self::Counter, power, Some(counter)) if power.is_some() || is_first => Value::Energy {
                counter,
                wraps_at: None,
            },
            _ => Value::Missing,
        }
    }
}

/// Whether the energy between two rows is what the integrator makes of their powers (a trapezoid, corrected for a
/// low-pass); `None` where that cannot be told: no energy
/// at all, or a counter that began again.
fn is_integral(
    a: &(Moment, Watts, Joules),
    b: &(Moment, Watts, Joules),
    accuracy: &Accuracy,
    period: Seconds,
) -> Option<bool> {
    let integral = energy_between(accuracy, period, a.1, b.1, b.0 - a.0).0;
    let energy = (b.2 - a.2).0;
    if energy < 0.0 && integral >= 0.0 || energy == 0.0 && integral == 0.0 {
        return None;
    }
    // What rounding leaves of a difference of large numbers, and of rows written with six digits.
    let rounding = 4.0 * f64::EPSILON * b.2.0.abs() + 1e-6 * integral.abs();
    Some((energy - integral).abs() <= rounding)
}

/// How far apart two samples may be expected to be at most.
///
/// A live meter also knows of looks that found nothing new; a trace has only what was new. A value is seen at the
/// latest one update and one look after the value before. Without a known rate it is the median of the first
/// distances.
pub fn nominal_period(known: Option<&TracedSensor>, head: &[Sample]) -> Seconds {
    let rate = known.map(|traced| traced.sampling_hz).filter(|&hz| hz > 0.0);
    if let (Some(traced), Some(hz)) = (known, rate) {
        let look = 1.0 / hz;
        let update = traced
            .sensor
            .accuracy
            .update_period
            .map_or(0.0, |period| period.0);
        return Seconds(if update > look { update + look } else { look });
    }
    let mut distances: Vec<f64> = head.windows(2).map(|pair| (pair[1].t - pair[0].t).0).collect();
    distances.sort_unstable_by(f64::total_cmp);
    Seconds(distances.get(distances.len() / 2).copied().unwrap_or(1.0))
}

/// What is known about a sensor, and whether that includes its total.
pub fn sensor_info(known: Option<&TracedSensor>, rails: &[String]) -> (SensorInfo, bool) {
    if let Some(traced) = known {
        return (traced.sensor.clone(), true);
    }
    let rails: Vec<Rail> = rails
        .iter()
        .map(|name| Rail::new(name.as_str(), role_of(name)))
        .collect();
    // A sum over rails that may contain each other would count joules twice: only a rail that is the whole will do.
    let has_total = rails.len() == 1 || rails.iter().any(|rail| rail.role == Role::Total);
    // Neither is the kind known; the caller shows its own id and kind, not these.
    (SensorInfo::new("trace", Kind::Measured, rails), has_total)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(rows: &[(f64, Option<f64>, Option<f64>)]) -> Vec<Sample> {
        rows.iter()
            .map(|&(t, power, energy)| Sample {
                t: Moment((t * 1e9) as u64),
                cells: vec![Some(Cell {
                    power: power.map(Watts),
                    energy: energy.map(Joules),
                })],
            })
            .collect()
    }

    fn source(rows: &[(f64, Option<f64>, Option<f64>)]) -> Source {
        source_behind(None, rows)
    }

    fn source_behind(lag: Option<Seconds>, rows: &[(f64, Option<f64>, Option<f64>)]) -> Source {
        let accuracy = Accuracy {
            lag,
            ..Accuracy::default()
        };
        Source::of(
            &Rail::new("a", Role::Other),
            0,
            &accuracy,
            Seconds(1.0),
            &head(rows),
        )
    }

    #[test]
    fn energy_corrected_for_a_low_pass_is_power_too() {
        let p = Some;
        // Trapezoids of 2 J and 3 J, and 0.5 s of the rise of 2 W.
        let rows = [
            (0.0, p(1.0), p(0.0)),
            (1.0, p(3.0), p(3.0)),
            (2.0, p(3.0), p(6.0)),
        ];
        assert_eq!(source_behind(Some(Seconds(0.5)), &rows), Source::Power);
        assert_eq!(source_behind(None, &rows), Source::Counter);
    }

    #[test]
    fn trapezoids_are_power_and_anything_else_is_a_counter() {
        let p = Some;
        let power = [
            (0.0, p(1.0), p(0.0)),
            (1.0, p(3.0), p(2.0)),
            (2.0, p(3.0), p(5.0)),
        ];
        assert_eq!(source(&power), Source::Power);
        let bridged = [(0.0, p(1.0), p(0.0)), (1.0, None, p(0.0)), (2.0, p(3.0), p(4.0))];
        assert_eq!(source(&bridged), Source::Power);
        let started_again = [
            (0.0, p(1.0), p(7.0)),
            (1.0, p(3.0), p(0.0)),
            (2.0, p(3.0), p(3.0)),
        ];
        assert_eq!(source(&started_again), Source::Power);
        let counter = [
            (0.0, p(0.0), p(0.0)),
            (1.0, p(3.0), p(3.0)),
            (2.0, p(3.0), p(6.0)),
        ];
        assert_eq!(source(&counter), Source::Counter);
        let thinned_out = [(0.0, p(1.0), p(0.0)), (2.0, p(1.0), p(9.0))];
        assert_eq!(source(&thinned_out), Source::Counter);
        let nothing_yet = [(0.0, p(0.0), p(0.0)), (1.0, p(0.0), p(0.0))];
        assert_eq!(source(&nothing_yet), Source::Counter);
        assert_eq!(source(&[(0.0, p(1.0), None), (1.0, p(1.0), None)]), Source::Power);
        assert_eq!(
            source(&[(0.0, None, p(1.0)), (1.0, None, p(2.0))]),
            Source::Counter
        );
        let rail = Rail::new("a", Role::Other).with_energy_step(Joules(1e-6));
        assert_eq!(
            Source::of(&rail, 0, &Accuracy::default(), Seconds(1.0), &head(&power)),
            Source::Counter,
            "it says so itself"
        );
    }

    #[test]
    fn a_value_may_be_one_update_and_one_look_late() {
        let of = |update: Option<f64>, hz: f64| {
            let mut sensor = SensorInfo::new("a", Kind::Measured, vec![]);
            sensor.accuracy.update_period = update.map(Seconds);
            let traced = TracedSensor {
                sensor,
                sampling_hz: hz,
            };
            nominal_period(Some(&traced), &head(&[(0.0, None, None), (7.0, None, None)])).0
        };
        assert_eq!(of(None, 100.0), 0.01);
        assert_eq!(of(Some(0.001), 100.0), 0.01);
        assert!((of(Some(0.1), 20.0) - 0.15).abs() < 1e-12);
        assert_eq!(of(None, 0.0), 7.0, "no rate: as the rows are");
    }

    #[test]
    fn without_a_file_beside_it_a_sum_of_rails_is_not_known() {
        let info = |rails: &[&str]| {
            let rails: Vec<String> = rails.iter().map(|&name| name.to_owned()).collect();
            let (info, has_total) = sensor_info(None, &rails);
            has_total.then_some(info.total)
        };
        assert_eq!(info(&["a"]), Some(vec![0]));
        assert_eq!(info(&["POM_5V_CPU", "POM_5V_IN"]), Some(vec![1]));
        assert_eq!(info(&["package-0", "core"]), None);
    }
}
