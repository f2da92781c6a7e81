//! The state: five values, all at hand before a decision is due.

use crate::learn::State;
use crate::offload::site::Seen;
use crate::task::Task;
use hwmeter_hw::Root;
use hwmeter_hw::cpu::{CpuTimes, CpuTimesReader};
use serde::Serialize;
use std::time::Duration;

/// A MEC that has not answered for this long counts as unreachable.
const OLDEST_LOAD: Duration = Duration::from_secs(3);
/// A link that nothing has crossed for this long may be another one by now.
const OLDEST_THROUGHPUT: Duration = Duration::from_secs(30);

/// Told to the learner while no transfer has shown the throughput yet: a link that hardly exists.
const UNKNOWN_THROUGHPUT_BPS: f64 = 1e3;

/// Where the five values come from.
pub struct Observer {
    cpu: Option<CpuTimesReader>,
    last: Option<CpuTimes>,
    device_free: f64,
    ages: Ages,
}

/// A state, and which of its values were really known.
///
/// What is known of the MEC is its latest answer, which is told as it is until it is too old (3 s for the load, 30 s for
/// the throughput), or until the MEC has failed so often that no task is sent to it. From then on both values are
/// unknown: empty in `decisions.csv`, and to the learner a MEC without free CPU behind a link that hardly exists.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Observation {
    /// What the learner sees.
    pub state: State,
    /// Free share of the MEC's CPU, if it answered lately.
    pub mec_free: Option<f64>,
    /// Throughput, if a transfer has shown it.
    pub throughput_bps: Option<f64>,
}

/// How old the MEC's load was when it was used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Ages {
    /// Decisions for which it was known.
    pub known: u64,
    /// Decisions for which it was not, or too old.
    pub unknown: u64,
    /// Mean age in seconds where it was known.
    pub mean_s: Option<f64>,
    /// Largest one.
    pub max_s: Option<f64>,
}

/// What the learner sees where some of it is not known.
pub(crate) fn state(
    device_free: f64,
    mec_free: Option<f64>,
    throughput_bps: Option<f64>,
    cycles: f64,
    deadline_s: f64,
) -> State {
    State {
        device_free,
        mec_free: mec_free.unwrap_or(0.0),
        throughput_bps: throughput_bps.unwrap_or(UNKNOWN_THROUGHPUT_BPS),
        cycles,
        deadline_s,
    }
}

impl Observer {
    /// Watches the device's CPU below `root`.
    pub fn new(root: &Root) -> Self {
        let mut observer = Self {
            cpu: CpuTimesReader::open(root).ok(),
            last: None,
            device_free: 1.0,
            ages: Ages::default(),
        };
        observer.look_at_device();
        observer
    }

    /// The state in which `task` arrives, with the MEC as it was last seen. Waits for nothing.
    pub fn observe(&mut self, task: &Task, mec: &Seen) -> Observation {
        self.look_at_device();
        let known = !mec.is_open;
        let load = mec
            .load
            .map(|(load, asked)| (load, asked.elapsed()))
            .filter(|(_, age)| known && *age <= OLDEST_LOAD);
        self.ages.note(load.map(|(_, age)| age));
        let mec_free = load.map(|(load, _)| load.free);
        let throughput_bps = mec
            .throughput_bps
            .filter(|(_, since)| known && since.elapsed() <= OLDEST_THROUGHPUT)
            .map(|(bps, _)| bps);
        let state = state(
            self.device_free,
            mec_free,
            throughput_bps,
            task.cycles as f64,
            task.deadline_s,
        );
        Observation {
            state,
            mec_free,
            throughput_bps,
        }
    }

    /// How old the load was in the decisions so far.
    pub fn ages(&self) -> Ages {
        self.ages
    }

    /// The free share since the last look; ticks of 10 ms make shorter intervals meaningless.
    fn look_at_device(&mut self) {
        const SHORTEST_S: f64 = 0.05;
        let Some(now) = self.cpu.as_mut().and_then(|cpu| cpu.read().ok()) else {
            return;
        };
        match self.last {
            Some(last) if (now.total() - last.total()).0 < SHORTEST_S => {}
            Some(last) => {
                if let Some(busy) = now.utilisation_since(&last) {
                    self.device_free = 1.0 - busy;
                }
                self.last = Some(now);
            }
            None => self.last = Some(now),
        }
    }
}

impl Ages {
    fn note(&mut self, age: Option<Duration>) {
        let Some(age_s) = age.map(|age| age.as_secs_f64()) else {
            self.unknown += 1;
            return;
        };
        self.known += 1;
        let mean = self.mean_s.unwrap_or(0.0);
        self.mean_s = Some(mean + (age_s - mean) / self.known as f64);
        self.max_s = Some(self.max_s.unwrap_or(0.0).max(age_s));
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::offload::wire::Load;
    use crate::task::TaskSet;
    use std::time::Instant;

    #[test]
    fn a_mec_that_falls_silent_is_known_for_a_while_and_then_unknown() {
        let load = Load {
            cpu_use: 0.25,
            free: 0.75,
            cpu_use_now: 0.25,
            free_now: 0.75,
            queue: 0,
            queue_smoothed: 0.0,
            running: 0,
            workers: 1,
        };
        let ago = |time: Duration| Instant::now().checked_sub(time).unwrap();
        let seen = |load_age, throughput_age, is_open| Seen {
            load: Some((load, ago(load_age))),
            throughput_bps: Some((50e6, ago(throughput_age))),
            is_open,
        };
        let mut observer = Observer::new(&Root::default());
        let task = &TaskSet::default_set(1, 1).tasks[0];
        let second = Duration::from_secs(1);
        let fresh = observer.observe(task, &seen(2 * second, 20 * second, false));
        assert_eq!((fresh.mec_free, fresh.throughput_bps), (Some(0.75), Some(50e6)));
        assert_eq!((fresh.state.mec_free, fresh.state.throughput_bps), (0.75, 50e6));
        for gone in [
            seen(4 * second, 31 * second, false),
            seen(second, second, true),
            Seen::default(),
        ] {
            let gone = observer.observe(task, &gone);
            assert_eq!((gone.mec_free, gone.throughput_bps), (None, None));
            assert_eq!(
                (gone.state.mec_free, gone.state.throughput_bps),
                (0.0, UNKNOWN_THROUGHPUT_BPS)
            );
        }
        let ages = observer.ages();
        assert_eq!((ages.known, ages.unknown), (1, 3));
        assert!(
            ages.mean_s == ages.max_s && ages.max_s.unwrap() >= 2.0,
            "{ages:?}"
        );
    }
}
