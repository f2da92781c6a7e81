//! What `cpu-model` and `rpi-model` share: energy computed from CPU load.

use crate::clock::{Clock, Moment};
use crate::cpu::{CpuTimes, CpuTimesReader};
use crate::error::Result;
use crate::root::Root;
use crate::sensor::Reading;
use crate::units::{Joules, Seconds, Watts};
use std::sync::Arc;

/// `/proc/stat` counts in ticks of 10 ms: over less than this, utilisation is mostly rounding.
pub(super) const UPDATE_PERIOD: Seconds = Seconds(0.05);

/// An energy counter that grows by P(u) dt, where P(u) = idle + u x (full - idle) and u is the utilisation
/// since the last update.
pub(super) struct LoadCounter {
    stat: CpuTimesReader,
    clock: Arc<dyn Clock>,
    utilisation: Utilisation,
    idle: Watts,
    full: Watts,
    last: Option<(Moment, CpuTimes)>,
    last_utilisation: f64,
    energy: Joules,
}

/// How a model defines utilisation: the share of the time between two looks, or `None` if no tick passed.
pub(super) type Utilisation = fn(earlier: &CpuTimes, now: &CpuTimes) -> Option<f64>;

impl LoadCounter {
    pub fn open(
        root: &Root,
        clock: Arc<dyn Clock>,
        utilisation: Utilisation,
        idle: Watts,
        full: Watts,
    ) -> Result<Self> {
        let mut stat = CpuTimesReader::open(root)?;
        stat.read()?; // a file that cannot be parsed is an unusable sensor, not a lost sample
        Ok(Self {
            stat,
            clock,
            utilisation,
            idle,
            full,
            last: None,
            last_utilisation: 0.0,
            energy: Joules::ZERO,
        })
    }

    pub fn read(&mut self) -> Result<Reading> {
        let now = self.clock.now();
        if self
            .last
            .is_some_and(|(then, _)| (now - then).0 < UPDATE_PERIOD.0)
        {
            return Ok(Reading::unchanged());
        }
        let times = self.stat.read()?;
        if let Some((then, earlier)) = self.last {
            if let Some(u) = (self.utilisation)(&earlier, &times) {
                self.last_utilisation = u.clamp(0.0, 1.0);
            }
            let power = self.idle + (self.full - self.idle) * self.last_utilisation;
            self.energy += power * (now - then);
        }
        self.last = Some((now, times));
        Ok(Reading::of_energy(self.energy).taken_at(now))
    }
}
