//! The state: five values, all at hand before a decision is due.

use super::executor::Outcome;
use crate::learn::State;
use crate::offload::load_poller::LoadPoller;
use crate::offload::throughput::Throughput;
use crate::task::Task;
use hwmeter_hw::Root;
use hwmeter_hw::cpu::{CpuTimes, CpuTimesReader};
use std::time::{Duration, Instant};

/// A MEC that has not answered for this long counts as unreachable.
const OLDEST_LOAD: Duration = Duration::from_secs(3);

/// Told to the learner while no transfer has shown the throughput yet: a link that hardly exists.
const UNKNOWN_THROUGHPUT_BPS: f64 = 1e3;

/// Where the five values come from.
pub struct Observer {
    cpu: Option<CpuTimesReader>,
    last: Option<CpuTimes>,
    device_free: f64,
    mec: LoadPoller,
    /// Throughput to the MEC, learned from transfers.
    pub throughput: Throughput,
}

/// A state, and which of its values were really known.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Observation {
    /// What the learner sees; an unreachable MEC is one without free CPU.
    pub state: State,
    /// Free share of the MEC's CPU, if it answered lately.
    pub mec_free: Option<f64>,
    /// Throughput, if a transfer has shown it.
    pub throughput_bps: Option<f64>,
}

/// What the learner sees where some of it is not known.
pub(super) fn state(
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
    /// Watches the device's CPU below `root` and the MEC through `mec`.
    pub fn new(root: &Root, mec: LoadPoller) -> Self {
        let mut observer = Self {
            cpu: CpuTimesReader::open(root).ok(),
            last: None,
            device_free: 1.0,
            mec,
            throughput: Throughput::new(),
        };
        observer.look_at_device();
        observer
    }

    /// The state in which `task` arrives. Waits for nothing.
    pub fn observe(&mut self, task: &Task) -> Observation {
        self.look_at_device();
        let load = self.mec.latest().filter(|(_, age)| *age <= OLDEST_LOAD);
        let mec_free = load.map(|(load, _)| load.free);
        let throughput_bps = self.throughput.bps();
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

    /// Takes what a transfer to the MEC tells about the link.
    pub fn learn_from(&mut self, outcome: &Outcome) {
        if let Some(transfer) = outcome.mec_transfer {
            self.throughput.observe(
                transfer.payload_bytes,
                transfer.receive_bytes,
                transfer.receive_s,
                Instant::now(),
            );
        }
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
