//! What a second of CPU time costs on this machine, beyond its idle power.
//!
//! ```text
//! price = (E_board - P_idle x T) / busy CPU time of all, over the last ten seconds
//! ```
//!
//! So a piece of work whose CPU time is known is given its share of the machine's energy. The result is *modelled*
//! whatever the sensor is: power per CPU second differs between instructions.

use crate::clock::{Clock, Moment};
use crate::cpu::CpuTimesReader;
use crate::error::Result;
use crate::integrator::Integrator;
use crate::root::Root;
use crate::sensor::Sensor;
use crate::units::{Joules, Seconds, Watts};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// How often [`CpuPrice::read`] is best called.
pub const READ_PERIOD: Duration = Duration::from_millis(100);
/// The 10 ms ticks of `/proc/stat` are looked at so often,
const STEP: Seconds = Seconds(0.5);
/// and compared over so long.
const WINDOW: Seconds = Seconds(10.0);
/// A window less busy than this share of one core says nothing about the price of a CPU second.
const LEAST_BUSY: f64 = 0.1;

/// Follows the price of a CPU second.
pub struct CpuPrice {
    board: Box<dyn Sensor>,
    energy: Integrator,
    cpu: CpuTimesReader,
    clock: Arc<dyn Clock>,
    idle: Watts,
    window: VecDeque<Totals>,
    joules_per_cpu_second: Option<f64>,
}

/// Cumulative figures at a moment.
#[derive(Clone, Copy, Debug)]
struct Totals {
    t: Moment,
    board: Joules,
    busy: Seconds,
}

impl CpuPrice {
    /// On the machine of which `board` reads the power; `idle` is what it draws when nothing runs. Until it was busy
    /// for a while, the price is that of a core between idle and full load, where the sensor knows both.
    pub fn new(board: Box<dyn Sensor>, idle: Watts, root: &Root, clock: Arc<dyn Clock>) -> Result<Self> {
        let info = board.info();
        let mut cpu = CpuTimesReader::open(root)?;
        let cores = cpu.read()?.cores as f64;
        Ok(Self {
            energy: Integrator::new(&info, Seconds::from(READ_PERIOD)),
            joules_per_cpu_second: info.full.map(|full| (full.0 - idle.0).max(0.0) / cores),
            board,
            cpu,
            clock,
            idle,
            window: VecDeque::new(),
        })
    }

    /// Joules per CPU second now; `None`: the machine was not busy enough yet to tell.
    pub fn read(&mut self) -> Result<Option<f64>> {
        let reading = self.board.read()?;
        let now = self.clock.now();
        let is_new = self.energy.push(now, &reading);
        let is_due = self.window.back().is_none_or(|last| (now - last.t).0 >= STEP.0);
        if is_new && is_due {
            self.look(now)?;
        }
        Ok(self.joules_per_cpu_second)
    }

    fn look(&mut self, now: Moment) -> Result<()> {
        let times = self.cpu.read()?;
        let board = self.energy.last();
        let end = Totals {
            t: now,
            board: board.map_or(Joules::ZERO, |point| point.total.energy),
            busy: times.busy + times.other,
        };
        // The oldest that is kept is the youngest of those that are old enough.
        while self
            .window
            .get(1)
            .is_some_and(|next| (now - next.t).0 >= WINDOW.0)
        {
            self.window.pop_front();
        }
        if let Some(begin) = self.window.front() {
            let elapsed = end.t - begin.t;
            let busy = (end.busy - begin.busy).0;
            if busy > LEAST_BUSY * elapsed.0 {
                let dynamic = (end.board - begin.board - self.idle * elapsed).0;
                self.joules_per_cpu_second = Some(dynamic.max(0.0) / busy);
            }
        }
        self.window.push_back(end);
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::sensor::{Kind, Rail, Reading, Role, SensorInfo};
    use std::sync::Mutex;

    const IDLE: f64 = 2.0;

    /// A machine of two cores.
    struct Machine {
        clock: Arc<ManualClock>,
        dir: tempfile::TempDir,
        joules: Arc<Mutex<f64>>,
        busy: f64,
        price: CpuPrice,
    }

    struct Board {
        joules: Arc<Mutex<f64>>,
        full: Option<Watts>,
    }

    impl Sensor for Board {
        fn read(&mut self) -> Result<Reading> {
            Ok(Reading::of_energy(Joules(*self.joules.lock().unwrap())))
        }

        fn info(&self) -> SensorInfo {
            SensorInfo {
                full: self.full,
                ..SensorInfo::new("board", Kind::Measured, vec![Rail::new("total", Role::Total)])
            }
        }
    }

    impl Machine {
        fn new(full: Option<f64>) -> Self {
            let clock = Arc::new(ManualClock::new());
            let dir = tempfile::tempdir().unwrap();
            std::fs::create_dir_all(dir.path().join("proc")).unwrap();
            write_stat(&dir, 0.0);
            let joules = Arc::new(Mutex::new(0.0));
            let board = Board {
                joules: Arc::clone(&joules),
                full: full.map(Watts),
            };
            let root = Root::new(dir.path());
            let price = CpuPrice::new(Box::new(board), Watts(IDLE), &root, clock.clone());
            Self {
                clock,
                joules,
                busy: 0.0,
                price: price.unwrap(),
                dir,
            }
        }

        /// Some seconds with so many cores busy, each second of one costing so much.
        fn run(&mut self, seconds: f64, cores: f64, joules_per_cpu_second: f64) -> Option<f64> {
            let mut price = None;
            for _ in 0..(seconds * 10.0).round() as usize {
                self.clock.advance(READ_PERIOD);
                self.busy += 0.1 * cores;
                *self.joules.lock().unwrap() += 0.1 * (IDLE + joules_per_cpu_second * cores);
                write_stat(&self.dir, self.busy);
                price = self.price.read().unwrap();
            }
            price
        }
    }

    fn write_stat(dir: &tempfile::TempDir, busy: f64) {
        let ticks = (busy * 100.0).round();
        let text = format!("cpu  {ticks} 0 0 900 0 0 0 0 0 0\ncpu0 0 0 0 0\ncpu1 0 0 0 0\nintr 0\n");
        std::fs::write(dir.path().join("proc/stat"), text).unwrap();
    }

    #[test]
    fn the_price_is_what_the_board_draws_beyond_idle_by_the_busy_seconds_of_all() {
        let mut machine = Machine::new(None);
        let price = machine.run(15.0, 1.5, 7.0).unwrap();
        assert!((price - 7.0).abs() < 0.1, "{price}");
        // Another price is known once the window has gone over it.
        let price = machine.run(12.0, 0.5, 3.0).unwrap();
        assert!((price - 3.0).abs() < 0.1, "{price}");
        // Nothing to do says nothing.
        let price = machine.run(30.0, 0.0, 0.0).unwrap();
        assert!((price - 3.0).abs() < 0.1, "{price}");
    }

    #[test]
    fn before_it_was_busy_the_price_is_that_of_the_model_or_unknown() {
        assert_eq!(Machine::new(None).run(3.0, 0.0, 0.0), None);
        assert_eq!(Machine::new(Some(10.0)).run(3.0, 0.0, 0.0), Some(4.0));
    }
}
