//! The edges of all intervals in the order of time, on a clock of whole nanoseconds.

use super::Interval;
use hwmeter_hw::clock::Moment;
use hwmeter_hw::units::Seconds;

/// The moment of a trace's first row. Far enough from zero that earlier edges have a moment, too.
const FIRST_ROW: i64 = 1 << 62;

/// What is to be done with the samples of each sensor.
pub struct Plan<'a> {
    /// The time of the trace's first row.
    origin: Seconds,
    /// What was asked for.
    pub intervals: &'a [Interval],
    /// Sorted by time.
    pub edges: Vec<Edge>,
}

/// Where an interval begins or ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Edge {
    /// When. Edges beyond all samples are as good as endless.
    pub t: Moment,
    /// The end; an interval's beginning comes first.
    pub is_end: bool,
    /// Which interval.
    pub interval: usize,
}

impl<'a> Plan<'a> {
    /// A plan for a trace whose first row has the time `origin`.
    pub fn new(intervals: &'a [Interval], origin: Seconds) -> Self {
        let mut plan = Self {
            origin,
            intervals,
            edges: Vec::with_capacity(2 * intervals.len()),
        };
        for (i, interval) in intervals.iter().enumerate() {
            let begin = interval.from.map_or(Moment(0), |t| plan.nearest_moment(t));
            let end = interval.to.map_or(Moment(u64::MAX), |t| plan.nearest_moment(t));
            for (t, is_end) in [(begin, false), (end, true)] {
                plan.edges.push(Edge {
                    t,
                    is_end,
                    interval: i,
                });
            }
        }
        plan.edges.sort_unstable();
        plan
    }

    /// The moment of a row's time, to the nanosecond; `None` if it lies more than a century from the first row.
    pub fn moment(&self, t: Seconds) -> Option<Moment> {
        const LONGEST_NS: f64 = 4e18;
        let ns = ((t - self.origin).0 * 1e9).round();
        (ns.abs() < LONGEST_NS).then(|| Moment((FIRST_ROW + ns as i64) as u64))
    }

    fn nearest_moment(&self, t: Seconds) -> Moment {
        let end_of_time = match t < self.origin {
            true => Moment(0),
            false => Moment(u64::MAX),
        };
        self.moment(t).unwrap_or(end_of_time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nanoseconds_survive_for_months_and_edges_may_lie_anywhere() {
        let plan = Plan::new(&[], Seconds(0.25));
        let month = Seconds(30.0 * 86_400.0 + 0.250000001);
        let zero = plan.moment(Seconds(0.25)).unwrap();
        assert_eq!(plan.moment(month).unwrap().0 - zero.0, 2_592_000_000_000_001);
        assert!(plan.moment(Seconds(-1e9)).unwrap() < zero);
        assert_eq!(plan.moment(Seconds(1e300)), None);
        assert_eq!(plan.nearest_moment(Seconds(1e300)), Moment(u64::MAX));
        assert_eq!(plan.nearest_moment(Seconds(-1e300)), Moment(0));
    }

    #[test]
    fn edges_are_sorted_and_a_beginning_comes_before_an_end() {
        let interval = |from, to| Interval {
            name: String::new(),
            from,
            to,
        };
        let intervals = [
            interval(Some(Seconds(3.0)), None),
            interval(Some(Seconds(1.0)), Some(Seconds(3.0))),
            interval(None, Some(Seconds(2.0))),
        ];
        let order: Vec<(usize, bool)> = Plan::new(&intervals, Seconds::ZERO)
            .edges
            .iter()
            .map(|edge| (edge.interval, edge.is_end))
            .collect();
        assert_eq!(
            order,
            [
                (2, false),
                (1, false),
                (2, true),
                (0, false),
                (1, true),
                (0, true)
            ]
        );
    }
}
