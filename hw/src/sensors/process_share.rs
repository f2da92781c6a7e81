//! The share of a process, or of a tree of them, in a board's energy.
//!
//! It is charged the board's idle power and its own CPU time at the board's price of a CPU second:
//!
//! ```text
//! device  = idle + dynamic
//! idle    = P_idle x T
//! dynamic = sum over windows of  (E_board - P_idle x T) x own CPU time / busy CPU time of all
//! ```
//!
//! A window lasts half a second. Within one, CPU time is charged at the price of the window before; what that was wrong
//! by is known at the end and made good in the next. So the dynamic parts of all processes and the idle part add up to
//! the board's energy, and what the board used beyond `device` is that of everything else. The result is *modelled*
//! whatever the board's sensor is: power per CPU second differs between instructions, so the share has an error of its own.

use crate::clock::{Clock, Moment};
use crate::cpu::CpuTimesReader;
use crate::cpu_time::CpuTimeSource;
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

/// A window less busy than this share of one core says nothing about the price of a CPU second.
const LEAST_BUSY: f64 = 0.1;

/// Shortest time between two readings.
const SHORTEST: Seconds = Seconds(0.0005);

/// A board's sensor seen from one process or tree. Its rails are `device` (the total), its parts `dynamic` and `idle`,
/// and the whole `board`.
pub struct ProcessShare<S> {
    board: S,
    info: SensorInfo,
    energy: Integrator,
    own: Box<dyn CpuTimeSource>,
    cpu: CpuTimesReader,
    clock: Arc<dyn Clock>,
    idle: Watts,
    price: Price,
    last: Option<(Moment, Seconds)>,
    idle_energy: Joules,
    dynamic_energy: Joules,
}

impl<S: Sensor> ProcessShare<S> {
    /// The share in what `board` reads of those whose CPU time is `own`. `idle` is the board's power when nothing
    /// runs; `first_price` the joules per CPU second until the first window has passed.
    pub fn new(
        board: S,
        root: &Root,
        clock: Arc<dyn Clock>,
        own: impl CpuTimeSource + 'static,
        idle: Watts,
        first_price: f64,
    ) -> Result<Self> {
        let inner = board.info();
        Ok(Self {
            energy: Integrator::new(&inner, SHORTEST),
            info: share_info(&inner),
            board,
            own: Box::new(own),
            cpu: CpuTimesReader::open(root)?,
            clock,
            idle,
            price: Price::new(first_price),
            last: None,
            idle_energy: Joules::ZERO,
            dynamic_energy: Joules::ZERO,
        })
    }

    fn board_energy(&self) -> Joules {
        let last = self.energy.last();
        last.map_or(Joules::ZERO, |point| point.total.energy)
    }

    /// Called when the board has a new value. `/proc/stat` is looked at only at the ends of a window.
    fn close_window(&mut self, now: Moment, own: Seconds) -> Result<()> {
        if !self.price.is_due(now) {
            return Ok(());
        }
        let busy = self.cpu.read()?;
        let end = Totals {
            t: now,
            board: self.board_energy(),
            busy: busy.busy + busy.other,
            own,
        };
        self.price.close_window(end, self.idle);
        Ok(())
    }
}

impl<S: Sensor> Sensor for ProcessShare<S> {
    fn read(&mut self) -> Result<Reading> {
        let reading = self.board.read()?;
        let now = self.clock.now();
        let own = self.own.read()?;
        let is_new = self.energy.push(now, &reading);
        if let Some((then, own_then)) = self.last {
            let elapsed = now - then;
            if elapsed.0 < SHORTEST.0 {
                return Ok(Reading::unchanged());
            }
            self.idle_energy += self.idle * elapsed;
            self.dynamic_energy += self.price.charge(own - own_then, elapsed);
        }
        self.last = Some((now, own));
        if is_new {
            self.close_window(now, own)?;
        }
        let counters = [
            self.idle_energy + self.dynamic_energy,
            self.dynamic_energy,
            self.idle_energy,
            self.board_energy(),
        ];
        let value = |counter| Value::Energy {
            counter,
            wraps_at: None,
        };
        Ok(counters.into_iter().map(value).collect())
    }

    fn info(&self) -> SensorInfo {
        SensorInfo {
            idle: Some(self.idle),
            ..self.info.clone()
        }
    }
}

/// What a CPU second costs beyond idle.
#[derive(Debug)]
struct Price {
    joules_per_cpu_second: f64,
    window_begin: Option<Totals>,
    /// Charged at this price since the window began.
    charged: f64,
    /// What earlier windows were charged too little (or, negative, too much).
    owed: f64,
    /// How much of that is made good per second.
    owed_per_second: f64,
}

/// Cumulative figures at an end of a window.
#[derive(Clone, Copy, Debug)]
struct Totals {
    t: Moment,
    board: Joules,
    busy: Seconds,
    own: Seconds,
}

impl Price {
    fn new(joules_per_cpu_second: f64) -> Self {
        Self {
            joules_per_cpu_second,
            window_begin: None,
            charged: 0.0,
            owed: 0.0,
            owed_per_second: 0.0,
        }
    }

    /// The dynamic energy of `own` CPU time within `elapsed`. Never negative: energy only grows.
    fn charge(&mut self, own: Seconds, elapsed: Seconds) -> Joules {
        let fair = self.joules_per_cpu_second * own.0;
        let limit = self.owed.abs();
        let correction = (self.owed_per_second * elapsed.0).clamp(-limit, limit).max(-fair);
        self.owed -= correction;
        self.charged += fair;
        Joules(fair + correction)
    }

    fn is_due(&self, now: Moment) -> bool {
        self.window_begin
            .is_none_or(|begin| (now - begin.t).0 >= PRICE_WINDOW.0)
    }

    fn close_window(&mut self, end: Totals, idle: Watts) {
        let Some(begin) = self.window_begin.replace(end) else {
            self.charged = 0.0;
            return;
        };
        let elapsed = end.t - begin.t;
        let busy = (end.busy - begin.busy).0;
        // An idle window says nothing about the price of a CPU second: keep the one known.
        if busy > LEAST_BUSY * elapsed.0 {
            let dynamic = (end.board - begin.board - idle * elapsed).0.max(0.0);
            self.joules_per_cpu_second = dynamic / busy;
            // Ticks are coarse: a share may seem to be more than the whole.
            let share = ((end.own - begin.own).0 / busy).clamp(0.0, 1.0);
            self.owed += dynamic * share - self.charged;
        }
        self.owed_per_second = self.owed / PRICE_WINDOW.0;
        self.charged = 0.0;
    }
}

/// The device is the total; the other rails are its parts, and the board stands beside it and is not added.
fn share_info(board: &SensorInfo) -> SensorInfo {
    let offset = board
        .total
        .iter()
        .filter_map(|&i| board.rails.get(i))
        .map(|rail| rail.offset.0.powi(2));
    let offset = Watts(offset.sum::<f64>().sqrt());
    let rails = vec![
        Rail::new("device", Role::Total).with_offset(offset),
        Rail::new("dynamic", Role::Other).with_offset(offset),
        Rail::new("idle", Role::Other),
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
            "idle power and the process's share of the dynamic energy of {}, by CPU time",
            board.id
        )),
        ..SensorInfo::new(board.id.clone(), Kind::Modelled, rails)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use std::sync::Mutex;
    use std::time::Duration;

    const IDLE: f64 = 2.0;

    /// A board of two cores on which two processes run, and nothing else.
    struct Machine {
        clock: Arc<ManualClock>,
        dir: tempfile::TempDir,
        board: Arc<Mutex<f64>>,
        own: [Arc<Mutex<f64>>; 2],
        shares: Vec<ProcessShare<Board>>,
    }

    struct Board(Arc<Mutex<f64>>);

    impl Sensor for Board {
        fn read(&mut self) -> Result<Reading> {
            Ok(Reading::of_energy(Joules(*self.0.lock().unwrap())))
        }
    }

    struct Own(Arc<Mutex<f64>>);

    impl CpuTimeSource for Own {
        fn read(&mut self) -> Result<Seconds> {
            Ok(Seconds(*self.0.lock().unwrap()))
        }
    }

    impl Machine {
        fn new() -> Self {
            let mut machine = Self {
                clock: Arc::new(ManualClock::new()),
                dir: tempfile::tempdir().unwrap(),
                board: Arc::default(),
                own: Default::default(),
                shares: Vec::new(),
            };
            std::fs::create_dir_all(machine.dir.path().join("proc")).unwrap();
            machine.write_stat();
            for own in machine.own.clone() {
                let root = Root::new(machine.dir.path());
                let board = Board(Arc::clone(&machine.board));
                let clock = Arc::clone(&machine.clock) as Arc<dyn Clock>;
                let share = ProcessShare::new(board, &root, clock, Own(own), Watts(IDLE), 1.0);
                machine.shares.push(share.unwrap());
            }
            machine.read();
            machine
        }

        fn write_stat(&self) {
            let busy: f64 = self.own.iter().map(|own| *own.lock().unwrap()).sum();
            let ticks = (busy * 100.0).round();
            let text = format!("cpu  {ticks} 0 0 900 0 0 0 0 0 0\ncpu0 0 0 0 0\ncpu1 0 0 0 0\nintr 0\n");
            std::fs::write(self.dir.path().join("proc/stat"), text).unwrap();
        }

        /// Joules of `[device, dynamic, idle, board]` of each process.
        fn read(&mut self) -> Vec<Vec<f64>> {
            let joules = |value: &Value| match value {
                Value::Energy { counter, .. } => counter.0,
                other => panic!("{other:?}"),
            };
            let mut read = |share: &mut ProcessShare<Board>| -> Vec<f64> {
                share.read().unwrap().values.iter().map(joules).collect()
            };
            self.shares.iter_mut().map(&mut read).collect()
        }

        /// Lets both processes keep these shares of a core busy, at a price per CPU second.
        fn run(&mut self, seconds: f64, shares: [f64; 2], price: f64) -> Vec<Vec<f64>> {
            let mut last = Vec::new();
            for _ in 0..(seconds * 20.0).round() as usize {
                self.clock.advance(Duration::from_millis(50));
                for (own, share) in self.own.iter().zip(shares) {
                    *own.lock().unwrap() += 0.05 * share;
                }
                *self.board.lock().unwrap() += 0.05 * (IDLE + price * (shares[0] + shares[1]));
                self.write_stat();
                last = self.read();
            }
            last
        }
    }

    /// Idle and the dynamic parts of all are the board's energy.
    fn assert_sums(parts: &[Vec<f64>]) {
        let sum = parts[0][2] + parts[0][1] + parts[1][1];
        assert!((sum - parts[0][3]).abs() < 1e-6, "{parts:?}");
        for part in parts {
            assert!((part[0] - part[1] - part[2]).abs() < 1e-9, "{parts:?}");
        }
    }

    #[test]
    fn the_parts_of_all_processes_add_up_to_the_board() {
        let mut machine = Machine::new();
        // Each change of price or load is made good within the window after the one that shows it.
        for (shares, price) in [([1.0, 0.6], 7.0), ([0.2, 1.0], 3.0), ([1.0, 1.0], 9.0)] {
            machine.run(2.0, shares, price);
            assert_sums(&machine.run(1.0, shares, price));
        }
        let before = machine.run(1.0, [0.8, 0.4], 5.0);
        let after = machine.run(1.0, [0.8, 0.4], 5.0);
        assert!((after[0][1] - before[0][1] - 0.8 * 5.0).abs() < 1e-6, "{after:?}");
    }

    #[test]
    fn nothing_to_do_is_idle_power_and_never_nan() {
        let mut machine = Machine::new();
        let read = machine.run(3.0, [0.0, 0.0], 5.0);
        for part in &read {
            assert_eq!((part[1], part.iter().any(|joules| joules.is_nan())), (0.0, false));
            assert!((part[0] - 3.0 * IDLE).abs() < 1e-9, "{read:?}");
        }
    }

    #[test]
    fn energy_never_goes_back_although_a_price_was_too_high() {
        let mut machine = Machine::new();
        machine.run(2.0, [1.0, 1.0], 50.0);
        let mut last = 0.0;
        for _ in 0..40 {
            let dynamic = machine.run(0.05, [1.0, 1.0], 1.0)[0][1];
            assert!(dynamic >= last, "{dynamic} after {last}");
            last = dynamic;
        }
        assert_sums(&machine.run(60.0, [1.0, 1.0], 1.0));
    }
}
