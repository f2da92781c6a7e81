//! A link over time.

pub use super::profile_file::ProfileError;

use super::conditions::{Change, Conditions};
use serde::{Deserialize, Serialize};

/// A direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the client, a device, to the server.
    Up,
    /// Back.
    Down,
}

/// A link over time. Always valid: what it is made from has been checked.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Profile {
    /// How the link is from certain moments on; the first is 0.
    pub(super) changes: Vec<Keyframe>,
    /// Apart from each other, in order.
    pub(super) outages: Vec<Outage>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) repeat_s: Option<f64>,
}

/// How a link is at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Keyframe {
    pub t_s: f64,
    pub change: Course,
    pub up: Conditions,
    pub down: Conditions,
}

/// How a change comes about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Course {
    /// At once.
    #[default]
    Step,
    /// In a straight line from the change before.
    Linear,
}

/// A time in which nothing passes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outage {
    /// When it begins, in seconds.
    pub t_s: f64,
    /// How long it lasts, in seconds.
    pub for_s: f64,
    /// Whether connections are reset; otherwise they live on, and what waits comes afterwards.
    #[serde(default)]
    pub reset: bool,
}

impl Outage {
    fn end_s(&self) -> f64 {
        self.t_s + self.for_s
    }

    fn contains(&self, t_s: f64) -> bool {
        (self.t_s..self.end_s()).contains(&t_s)
    }
}

impl Profile {
    /// The same conditions in both directions, always.
    pub fn constant(conditions: Conditions) -> Result<Self, String> {
        Self {
            changes: vec![Keyframe {
                t_s: 0.0,
                change: Course::Step,
                up: conditions,
                down: conditions,
            }],
            outages: Vec::new(),
            repeat_s: None,
        }
        .checked()
    }

    /// The same with `up` and `down` set throughout, whatever the profile says about it over time.
    pub fn overridden(mut self, up: &Change, down: &Change) -> Result<Self, String> {
        for keyframe in &mut self.changes {
            keyframe.up = keyframe.up.with(up);
            keyframe.down = keyframe.down.with(down);
        }
        self.checked()
    }

    /// The same with these outages besides.
    pub fn with_outages(mut self, outages: &[Outage]) -> Result<Self, String> {
        self.outages.extend_from_slice(outages);
        self.checked()
    }

    /// The same, beginning anew every so many seconds.
    pub fn repeated(mut self, every_s: Option<f64>) -> Result<Self, String> {
        self.repeat_s = every_s.or(self.repeat_s);
        self.checked()
    }

    /// Itself, if it can be; the error is a sentence.
    pub(super) fn checked(mut self) -> Result<Self, String> {
        for keyframe in &self.changes {
            let of_way = |way: &'static str| move |why| format!("{way} at {} s: {why}", keyframe.t_s);
            keyframe.up.check().map_err(of_way("up"))?;
            keyframe.down.check().map_err(of_way("down"))?;
        }
        let is_time = |t_s: f64| (0.0..=LONGEST_S).contains(&t_s);
        for pair in self.changes.windows(2) {
            let (before, t_s) = (pair[0].t_s, pair[1].t_s);
            if !is_time(t_s) || t_s <= before {
                return Err(format!(
                    "a change at t_s = {t_s} must come after the one at {before}"
                ));
            }
        }
        self.outages.sort_by(|a, b| a.t_s.total_cmp(&b.t_s));
        for outage in &self.outages {
            if !is_time(outage.t_s) || !is_time(outage.for_s) || outage.for_s == 0.0 {
                return Err(format!(
                    "an outage at t_s = {} for_s = {} cannot be",
                    outage.t_s, outage.for_s
                ));
            }
        }
        for pair in self.outages.windows(2) {
            if pair[1].t_s < pair[0].end_s() {
                return Err(format!(
                    "the outages at {} and {} s overlap",
                    pair[0].t_s, pair[1].t_s
                ));
            }
        }
        let last_change = self.changes.last().map_or(0.0, |last| last.t_s);
        let end_s = self.outages.last().map_or(0.0, Outage::end_s).max(last_change);
        let silent_s: f64 = self.outages.iter().map(|outage| outage.for_s).sum();
        match self.repeat_s {
            Some(every) if silent_s > 0.0 && silent_s >= every => Err(format!(
                "repeat_s is {every} and the outages take all of it: nothing ever passes"
            )),
            Some(every) if !is_time(every) || every == 0.0 || every < end_s => Err(format!(
                "repeat_s is {every}, but the last change or outage ends at {end_s} s; it must not come earlier"
            )),
            _ => Ok(self),
        }
    }

    /// Seconds into the repetition, and when that one began.
    fn folded(&self, t_s: f64) -> (f64, f64) {
        match self.repeat_s {
            Some(every) => {
                let began = (t_s / every).floor() * every;
                ((t_s - began).max(0.0), began)
            }
            None => (t_s, 0.0),
        }
    }

    /// How a direction is at `t_s` seconds.
    pub fn at(&self, t_s: f64, way: Way) -> Conditions {
        let (t_s, _) = self.folded(t_s);
        let next = self.changes.partition_point(|keyframe| keyframe.t_s <= t_s);
        let before = &self.changes[next.saturating_sub(1)];
        match self.changes.get(next) {
            Some(after) if after.change == Course::Linear => {
                let share = (t_s - before.t_s) / (after.t_s - before.t_s);
                before.of(way).towards(after.of(way), share)
            }
            _ => *before.of(way),
        }
    }

    /// The mean round trip at `t_s`, in seconds.
    pub fn round_trip_s(&self, t_s: f64) -> f64 {
        self.at(t_s, Way::Up).latency_s + self.at(t_s, Way::Down).latency_s
    }

    /// When something that would pass at `t_s` does: then, or when the outage ends.
    pub fn after_outage(&self, t_s: f64) -> f64 {
        if self.outages.is_empty() {
            return t_s;
        }
        let until = |t_s: f64, outage: &Outage| if outage.contains(t_s) { outage.end_s() } else { t_s };
        let after = |t_s: f64| {
            let (folded, began) = self.folded(t_s);
            began + self.outages.iter().fold(folded, until)
        };
        // One may follow right upon another, and the first upon the last.
        after(after(t_s))
    }

    /// When the link is next another than at `t_s`: at a change, at either end of an outage; on the way from one change to
    /// the next, a little later.
    pub fn next_change(&self, t_s: f64) -> Option<f64> {
        let (folded, began) = self.folded(t_s);
        let next = self.changes.iter().find(|keyframe| keyframe.t_s > folded);
        let on_the_way = next.filter(|next| next.change == Course::Linear);
        let of_outages = self
            .outages
            .iter()
            .flat_map(|outage| [outage.t_s, outage.end_s()]);
        let candidates = next
            .map(|next| next.t_s)
            .into_iter()
            .chain(on_the_way.map(|_| folded + RAMP_STEP_S))
            .chain(of_outages)
            .chain(self.repeat_s)
            .filter(|at| *at > folded);
        candidates.min_by(f64::total_cmp).map(|at| began + at)
    }

    /// When connections are reset next, `t_s` or later; now, if it is such an outage already.
    pub fn next_reset(&self, t_s: f64) -> Option<f64> {
        let (folded, began) = self.folded(t_s);
        let mut resets = self.outages.iter().filter(|outage| outage.reset);
        let first = resets.clone().next()?;
        match resets.find(|outage| outage.end_s() > folded) {
            Some(outage) => Some(began + outage.t_s.max(folded)),
            None => Some(began + self.repeat_s? + first.t_s),
        }
    }

    /// The conditions, if they never change and never fail.
    pub fn if_constant(&self, way: Way) -> Option<Conditions> {
        match self.changes.as_slice() {
            [only] if self.outages.is_empty() => Some(*only.of(way)),
            _ => None,
        }
    }

    /// The largest number of bytes that are ever on the cable at once.
    pub fn largest_flight_bytes(&self, way: Way) -> f64 {
        let each = || self.changes.iter().map(|keyframe| keyframe.of(way));
        // Four deviations beyond the mean, and a round trip for what is sent again.
        let delays = each().map(|c| 3.0 * c.latency_s + 4.0 * c.jitter_s);
        let delay_s = delays.fold(0.0, f64::max);
        let rate_bps = each().map(|c| c.rate_bps).fold(0.0, f64::max);
        delay_s * rate_bps / 8.0
    }
}

/// A link that changes in a straight line is looked at this often, in seconds.
const RAMP_STEP_S: f64 = 0.1;

/// Times beyond this (a year, in seconds) are slips of the unit.
const LONGEST_S: f64 = 366.0 * 86_400.0;

impl Keyframe {
    fn of(&self, way: Way) -> &Conditions {
        match way {
            Way::Up => &self.up,
            Way::Down => &self.down,
        }
    }
}

#[cfg(test)]
#[path = "profile_tests.rs"]
mod tests;
