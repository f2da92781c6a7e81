//! The last points of an integrator, overwritten in place.
//!
//! A point is large (a kilobyte), and a meter at 100 Hz comes back to it with a cold cache: whatever is moved or touched in
//! vain costs more than all its arithmetic.

use crate::clock::Moment;
use crate::integrator::Point;

/// The newest points, oldest first.
#[derive(Debug)]
pub struct Ring {
    points: Vec<Point>,
    capacity: usize,
    /// Where the oldest point is.
    oldest: usize,
}

impl Ring {
    /// Room for so many points.
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            points: Vec::with_capacity(capacity),
            capacity,
            oldest: 0,
        }
    }

    /// The place for the next point: a new one, or that of the oldest.
    pub(crate) fn next(&mut self) -> &mut Point {
        let at = if self.points.len() < self.capacity {
            self.points.push(Point::default());
            self.points.len() - 1
        } else {
            let at = self.oldest;
            self.oldest = (at + 1) % self.capacity;
            at
        };
        &mut self.points[at]
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.points.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.points.is_empty()
    }

    /// The one `i` places after the oldest.
    pub fn get(&self, i: usize) -> Option<&Point> {
        if i >= self.len() {
            return None;
        }
        self.points.get((self.oldest + i) % self.len())
    }

    /// The newest.
    pub fn last(&self) -> Option<&Point> {
        self.get(self.len().checked_sub(1)?)
    }

    /// How many lie before `t`, found in as many steps as their number has bits.
    pub fn before(&self, t: Moment) -> usize {
        let is_before = |i: usize| self.get(i).is_some_and(|point| point.t < t);
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low.midpoint(high);
            if is_before(middle) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_points_stay_in_order_and_are_found_by_time() {
        let mut ring = Ring::new(4);
        assert!(ring.is_empty() && ring.last().is_none() && ring.before(Moment(5)) == 0);
        for t in 1..=7u64 {
            ring.next().t = Moment(10 * t);
            assert_eq!(ring.last().map(|point| point.t), Some(Moment(10 * t)));
        }
        let times: Vec<u64> = (0..9)
            .filter_map(|i| ring.get(i))
            .map(|point| point.t.0)
            .collect();
        assert_eq!(times, [40, 50, 60, 70]);
        for (t, before) in [(1, 0), (40, 0), (41, 1), (60, 2), (61, 3), (70, 3), (99, 4)] {
            assert_eq!(ring.before(Moment(t)), before, "{t}");
        }
    }
}
