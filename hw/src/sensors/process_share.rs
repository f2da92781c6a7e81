//! One process's share of a board's energy, for when device and servers share a machine.
//!
//! The process is charged the board's idle power and its own CPU time at the board's price of a CPU second:
//!
//! ```text
//! E_device = idle x T + sum of  c x dcpu,   c = (E_board - idle x T) / busy CPU time, over the last half second
//! ```
//!
//! Shares of all processes plus idle add up to the board's energy over each such window. The result is *modelled*
//! whatever the board's sensor is: power per CPU second differs between instructions, so the share has an error of its own.

use crate::clock::{Clock, Moment};
use crate::cpu::CpuTimesReader;
use crate::cpu_time::ProcessCpuTime;
use crate::error::Result;
use crate::integrator::Integrator;
use crate::root::Root;
use crate::sensor::{Accuracy, Kind, Rail, Reading, Role, Sensor, SensorInfo, Value};
use crate::units::{Joules, Seconds, Watts};
use std::sync::Arc;

/// Relative standard uncertainty of giving every CPU second the same price (assumed).
const SHARE_ERROR: f64 = 0.2;

/// Over shorter windows the 10 ms ticks of `/proc/stat` make the price of a CPU second unsteady.
const PRICE_WINDOW: Seconds = Seconds(0.5);

/// Shortest time between two readings.
const SHORTEST: Seconds = Seconds(0.0005);

/// A board's sensor seen from one process.
pub struct ProcessShare<S> {
    board: S,
    info: SensorInfo,
    energy: Integrator,
    process: ProcessCpuTime,
    cpu: CpuTimesReader,
    clock: Arc<dyn Clock>,
    idle: Watts,
    price: Price,
    last: Option<(Moment, Seconds)>,
    device: Joules,
}

/// What a CPU second costs beyond idle.
#[derive(Debug)]
struct Price {
    joules_per_cpu_second: f64,
    window_begin: Option<WindowBegin>,
}

#[derive(Clone, Copy, Debug)]
struct WindowBegin {
    t: Moment,
    energy: Joules,
    busy: Seconds,
}

impl<S: Sensor> ProcessShare<S> {
    /// The share of process `pid` in what `board` reads. `idle` is the board's power when nothing runs;
    /// `first_price` the joules per CPU second until the first window has passed.
    pub fn new(
        board: S,
        root: &Root,
        clock: Arc<dyn Clock>,
        pid: u32,
        idle: Watts,
        first_price: f64,
    ) -> Result<Self> {
        let inner = board.info();
        Ok(Self {
            energy: Integrator::new(&inner, SHORTEST),
            info: share_info(&inner),
            board,
            process: ProcessCpuTime::open(Root::default(), pid)?,
            cpu: CpuTimesReader::open(root)?,
            clock,
            idle,
            price: Price {
                joules_per_cpu_second: first_price,
                window_begin: None,
            },
            last: None,
            device: Joules::ZERO,
        })
    }
}

impl<S: Sensor> Sensor for ProcessShare<S> {
    fn read(&mut self) -> Result<Reading> {
        let reading = self.board.read()?;
        let now = self.clock.now();
        let own = self.process.read()?;
        if self.energy.push(now, &reading) {
            self.update_price(now)?;
        }
        if let Some((then, own_then)) = self.last {
            let elapsed = now - then;
            if elapsed.0 < SHORTEST.0 {
                return Ok(Reading::unchanged());
            }
            let dynamic = self.price.joules_per_cpu_second * (own - own_then).0;
            self.device += self.idle * elapsed + Joules(dynamic);
        }
        self.last = Some((now, own));
        let board = self
            .energy
            .last()
            .map_or(Joules::ZERO, |point| point.total.energy);
        let counter = |counter| Value::Energy {
            counter,
            wraps_at: None,
        };
        Ok([counter(self.device), counter(board)].into_iter().collect())
    }

    fn info(&self) -> SensorInfo {
        SensorInfo {
            idle: Some(self.idle),
            ..self.info.clone()
        }
    }
}

impl<S> ProcessShare<S> {
    /// Called when the board has a new value. `/proc/stat` is looked at only at the ends of a window.
    fn update_price(&mut self, now: Moment) -> Result<()> {
        if !self.price.is_due(now) {
            return Ok(());
        }
        let busy = self.cpu.read()?;
        let busy = busy.busy + busy.other;
        let Some(energy) = self.energy.last().map(|point| point.total.energy) else {
            return Ok(());
        };
        self.price.update(WindowBegin { t: now, energy, busy }, self.idle);
        Ok(())
    }
}

impl Price {
    fn is_due(&self, now: Moment) -> bool {
        self.window_begin
            .is_none_or(|begin| (now - begin.t).0 >= PRICE_WINDOW.0)
    }

    fn update(&mut self, now: WindowBegin, idle: Watts) {
        let Some(begin) = self.window_begin else {
            self.window_begin = Some(now);
            return;
        };
        let elapsed = now.t - begin.t;
        let busy = (now.busy - begin.busy).0;
        if elapsed.0 < PRICE_WINDOW.0 {
            return;
        }
        // An idle window says nothing about the price of a CPU second: keep the one known.
        if busy > 0.1 * elapsed.0 {
            let dynamic = (now.energy - begin.energy - idle * elapsed).0.max(0.0);
            self.joules_per_cpu_second = dynamic / busy;
        }
        self.window_begin = Some(now);
    }
}

/// The device is the total; the board stands beside it and is not added.
fn share_info(board: &SensorInfo) -> SensorInfo {
    let offset = board
        .total
        .iter()
        .filter_map(|&i| board.rails.get(i))
        .map(|rail| rail.offset.0.powi(2));
    let offset = Watts(offset.sum::<f64>().sqrt());
    let rails = vec![
        Rail::new("device", Role::Total).with_offset(offset),
        Rail::new("board", Role::Other).with_offset(offset),
    ];
    SensorInfo {
        accuracy: Accuracy {
            gain: board.accuracy.gain.hypot(SHARE_ERROR),
            update_period: None,
            lag: board.accuracy.lag,
            source: format!("{}; share by CPU time: 20 % assumed", board.accuracy.source),
            ..Accuracy::default()
        },
        note: Some(format!(
            "idle power and this process's share of the dynamic energy of {}, by CPU time",
            board.id
        )),
        ..SensorInfo::new(board.id.clone(), Kind::Modelled, rails)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_price_is_dynamic_energy_per_busy_second_and_never_nan() {
        let mut price = Price {
            joules_per_cpu_second: 7.0,
            window_begin: None,
        };
        let at = |t: f64, energy, busy| WindowBegin {
            t: Moment((t * 1e9) as u64),
            energy: Joules(energy),
            busy: Seconds(busy),
        };
        price.update(at(0.0, 0.0, 0.0), Watts(2.0));
        price.update(at(0.2, 9.0, 0.1), Watts(2.0));
        assert_eq!(price.joules_per_cpu_second, 7.0, "window too short");
        price.update(at(1.0, 6.0, 0.5), Watts(2.0));
        assert!((price.joules_per_cpu_second - 8.0).abs() < 1e-12);
        price.update(at(2.0, 8.0, 0.5), Watts(2.0));
        assert!(
            (price.joules_per_cpu_second - 8.0).abs() < 1e-12,
            "an idle window keeps the price"
        );
    }
}
