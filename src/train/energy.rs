//! What updates cost a trainer's machine in joules: their CPU time at the price that a CPU second has there.
//!
//! Above the idle machine, as the device's joules of an update are. Always modelled: see
//! [`cpu_price`](hwmeter_hw::cpu_price).

use super::lock;
use hwmeter_hw::cpu_price::{CpuPrice, READ_PERIOD};
use hwmeter_hw::sensor::Kind;
use nix::time::{ClockId, clock_gettime};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The kind of these joules, whatever the sensor is.
pub const KIND: Kind = Kind::Modelled;
/// A sensor that fails so often in a row is not read any more.
const MOST_FAILURES: u32 = 20;

/// The price of a CPU second, kept up to date by a thread.
#[derive(Clone)]
pub struct Price(Arc<Shared>);

struct Shared {
    /// A number as bits; not a number: unknown.
    joules_per_cpu_s: AtomicU64,
    /// Until the thread has it.
    board: Mutex<Option<CpuPrice>>,
}

impl Price {
    /// That of this board, unknown until [`watch`](Self::watch) is called.
    pub fn of(board: CpuPrice) -> Self {
        Self::new(f64::NAN, Some(board))
    }

    /// Always the same.
    pub fn fixed(joules_per_cpu_s: f64) -> Self {
        Self::new(joules_per_cpu_s, None)
    }

    fn new(joules_per_cpu_s: f64, board: Option<CpuPrice>) -> Self {
        Self(Arc::new(Shared {
            joules_per_cpu_s: joules_per_cpu_s.to_bits().into(),
            board: Mutex::new(board),
        }))
    }

    /// Starts the thread; it ends when nobody has this any more.
    pub fn watch(&self) -> std::io::Result<()> {
        let Some(mut board) = lock(&self.0.board).take() else {
            return Ok(());
        };
        let shared = Arc::downgrade(&self.0);
        let mut failures = 0;
        let watch = move || {
            while let Some(shared) = shared.upgrade() {
                match board.read() {
                    Ok(price) => {
                        failures = 0;
                        shared.set(price);
                    }
                    Err(error) => {
                        failures += 1;
                        shared.set(None);
                        if failures >= MOST_FAILURES {
                            return tracing::warn!("the joules of updates are not known any more: {error}");
                        }
                    }
                }
                drop(shared);
                std::thread::sleep(READ_PERIOD);
            }
        };
        let thread = std::thread::Builder::new().name("hwmeter-energy".to_owned());
        thread.spawn(watch).map(drop)
    }

    /// Joules of this CPU time, where they are known.
    pub fn joules(&self, cpu: Duration) -> Option<f64> {
        let price = f64::from_bits(self.0.joules_per_cpu_s.load(Ordering::Relaxed));
        (!price.is_nan()).then_some(price * cpu.as_secs_f64())
    }
}

impl Shared {
    fn set(&self, price: Option<f64>) {
        let bits = price.unwrap_or(f64::NAN).to_bits();
        self.joules_per_cpu_s.store(bits, Ordering::Relaxed);
    }
}

impl fmt::Debug for Price {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Price({:?} J/s)", self.joules(Duration::from_secs(1)))
    }
}

/// Tells what a thread's work costs, piece by piece.
pub struct Charge {
    price: Option<Price>,
    since: Duration,
}

impl Charge {
    /// From now on, for the calling thread.
    pub fn begin(price: Option<Price>) -> Self {
        Self {
            since: price.as_ref().map_or(Duration::ZERO, |_| cpu_time_of_thread()),
            price,
        }
    }

    /// What the thread has done since this was last called, for so many updates.
    pub fn take(&mut self, updates: u64) -> UpdateEnergy {
        let Some(price) = &self.price else {
            return UpdateEnergy::default();
        };
        let begin = std::mem::replace(&mut self.since, cpu_time_of_thread());
        UpdateEnergy::of(updates, price.joules(self.since.saturating_sub(begin)))
    }
}

/// CPU time that this thread has used. Zero where the kernel does not tell.
fn cpu_time_of_thread() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}

/// The energy of some updates, of those of which it is known.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct UpdateEnergy {
    updates: u64,
    joules: f64,
}

impl UpdateEnergy {
    /// So many updates together; none: joules that come on top of others.
    pub fn of(updates: u64, joules: Option<f64>) -> Self {
        joules.map_or_else(Self::default, |joules| Self { updates, joules })
    }

    /// Joules of one; `None`: of none it is known.
    pub fn mean(&self) -> Option<f64> {
        (self.updates > 0).then(|| self.joules / self.updates as f64)
    }
}

impl std::ops::AddAssign for UpdateEnergy {
    fn add_assign(&mut self, more: Self) {
        self.updates += more.updates;
        self.joules += more.joules;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_unknown_is_left_out_of_the_mean_and_is_not_zero() {
        let mut energy = UpdateEnergy::default();
        assert_eq!(energy.mean(), None);
        energy += UpdateEnergy::of(3, None);
        assert_eq!(energy.mean(), None);
        energy += UpdateEnergy::of(2, Some(6.0));
        energy += UpdateEnergy::of(1, Some(0.0));
        assert_eq!(energy.mean(), Some(2.0));
    }

    #[test]
    fn joules_are_cpu_time_at_the_price_of_it() {
        let price = Price::fixed(4.0);
        assert_eq!(price.joules(Duration::from_millis(500)), Some(2.0));
        assert_eq!(Price::fixed(f64::NAN).joules(Duration::from_secs(1)), None);
    }

    #[test]
    fn a_thread_is_charged_for_what_it_does_and_not_for_sleeping() {
        let mut charge = Charge::begin(Some(Price::fixed(1.0)));
        let begin = std::time::Instant::now();
        while begin.elapsed() < Duration::from_millis(20) {}
        let busy = charge.take(1).mean().unwrap_or_default();
        std::thread::sleep(Duration::from_millis(100));
        let asleep = charge.take(1).mean().unwrap_or(f64::NAN);
        assert!(busy > 0.0 && busy < 0.1 && asleep < 0.05, "{busy} {asleep}");
        assert_eq!(Charge::begin(None).take(1), UpdateEnergy::default());
    }
}
