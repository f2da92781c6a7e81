//! `--stress`: a load that makes the MEC as busy as other users would, for experiments.
//!
//! One thread per CPU computes for a share of every [`PERIOD`] and sleeps for the rest, at ordinary priority. So the
//! CPU is used by that share while nothing else runs, and a task is slowed: on a core it shares with the load it gets
//! about `1 - share / 2` of the core, because the scheduler halves the time in which both want it.

use hwmeter_hw::Error;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::fmt;
use std::hint::black_box;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Short beside a task and beside the window over which the load is told; long beside waking up from a sleep.
const PERIOD: Duration = Duration::from_millis(20);

/// How busy the CPU is kept over time: by a share that wanders between two bounds, at which it is reflected. The same
/// seed gives the same walk.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    /// Lowest and highest share, above 0 and at most 1.
    pub bounds: RangeInclusive<f64>,
    /// The largest change at once; every change up to it, up or down, is equally likely.
    pub step: f64,
    /// The time between two changes.
    pub every: Duration,
    /// Of the changes and of where the walk begins.
    pub seed: u64,
}

impl Default for Profile {
    /// A walk between 80 and 100 %.
    fn default() -> Self {
        Self {
            bounds: 0.8..=1.0,
            step: 0.05,
            every: Duration::from_secs(1),
            seed: 50,
        }
    }
}

/// A profile that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0}; give a share such as 0.9, or a walk such as walk:0.8..1.0,seed=5,step=0.05,every=1s, of which all but \
     `walk` may be left out"
)]
pub struct InvalidProfile(String);

impl FromStr for Profile {
    type Err = InvalidProfile;

    fn from_str(text: &str) -> Result<Self, InvalidProfile> {
        let parsed = match text.strip_prefix("walk") {
            Some(rest) => Self::walk(rest),
            None => share(text).map(Self::constant),
        };
        parsed.map_err(InvalidProfile)
    }
}

impl Profile {
    /// Always the same share.
    fn constant(share: f64) -> Self {
        Self {
            bounds: share..=share,
            ..Self::default()
        }
    }

    /// What follows the word `walk`.
    fn walk(text: &str) -> Result<Self, String> {
        let mut walk = Self::default();
        if text.is_empty() {
            return Ok(walk);
        }
        let settings = text.strip_prefix(':').ok_or("a colon must follow `walk`")?;
        for (nth, setting) in settings.split(',').enumerate() {
            match setting.split_once('=') {
                Some(("seed", value)) => walk.seed = parse(value)?,
                Some(("step", value)) => walk.step = share(value)?,
                Some(("every", value)) => walk.every = seconds(value)?,
                None if nth == 0 => walk.bounds = bounds(setting)?,
                _ => return Err(format!("{setting:?} is not known")),
            }
        }
        Ok(walk)
    }

    /// The shares one after another, for ever.
    pub fn shares(&self) -> impl Iterator<Item = f64> + use<> {
        let (low, high, step) = (*self.bounds.start(), *self.bounds.end(), self.step);
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        let mut next = low + (high - low) * rng.random::<f64>();
        std::iter::repeat_with(move || {
            let change = step * (2.0 * rng.random::<f64>() - 1.0);
            let now = next;
            next = reflected(now + change, low, high);
            now
        })
    }
}

/// What lies beyond a bound is mirrored at it; a step wider than the room between them ends at the far one.
fn reflected(at: f64, low: f64, high: f64) -> f64 {
    let mirrored = if at < low {
        2.0 * low - at
    } else if at > high {
        2.0 * high - at
    } else {
        at
    };
    mirrored.clamp(low, high)
}

fn bounds(text: &str) -> Result<RangeInclusive<f64>, String> {
    let (low, high) = text
        .split_once("..")
        .ok_or_else(|| format!("{text:?} should be two shares such as 0.8..1.0"))?;
    let (low, high) = (share(low)?, share(high)?);
    if low <= high {
        Ok(low..=high)
    } else {
        Err(format!("{low} is above {high}"))
    }
}

fn share(text: &str) -> Result<f64, String> {
    match text.trim().parse() {
        Ok(share) if share > 0.0 && share <= 1.0 => Ok(share),
        _ => Err(format!("{text:?} is no share above 0 and at most 1")),
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let number: f64 = parse(text.strip_suffix('s').unwrap_or(text))?;
    let time = Duration::try_from_secs_f64(number).ok();
    time.filter(|&time| time >= PERIOD)
        .ok_or_else(|| format!("{text:?} is no time of {} s or more", PERIOD.as_secs_f64()))
}

fn parse<T: FromStr<Err: fmt::Display>>(text: &str) -> Result<T, String> {
    text.trim().parse().map_err(|e| format!("{text:?}: {e}"))
}

/// Keeps the CPU busy until dropped.
#[derive(Debug)]
pub(super) struct Stress {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Stress {
    /// Starts one thread for each CPU this process may use.
    pub fn start(profile: &Profile) -> Result<Self, Error> {
        let cpus = thread::available_parallelism().map_or(1, usize::from);
        let mut stress = Self {
            stop: Arc::default(),
            threads: Vec::new(),
        };
        let begin = Instant::now();
        for cpu in 0..cpus {
            // Side by side, not all at once: whenever possible some core is free.
            let begin = begin + PERIOD.mul_f64(cpu as f64 / cpus as f64);
            let (profile, stop) = (profile.clone(), Arc::clone(&stress.stop));
            let thread = thread::Builder::new()
                .name("hwmeter-stress".to_owned())
                .spawn(move || keep_busy(&profile, begin, &stop))
                .map_err(|e| Error::os("starting a thread that keeps the CPU busy", e))?;
            stress.threads.push(thread);
        }
        Ok(stress)
    }
}

impl Drop for Stress {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // It cannot panic.
            let _ = thread.join();
        }
    }
}

fn keep_busy(profile: &Profile, mut begin: Instant, stop: &AtomicBool) {
    let mut change = begin;
    for share in profile.shares() {
        change += profile.every;
        while begin < change {
            thread::sleep(begin.saturating_duration_since(Instant::now()));
            let pause = begin + PERIOD.mul_f64(share);
            while Instant::now() < pause && !stop.load(Ordering::Relaxed) {
                compute();
            }
            if stop.load(Ordering::Relaxed) {
                return;
            }
            begin += PERIOD;
        }
    }
}

/// A few microseconds of arithmetic.
fn compute() {
    let mut state = black_box(0x9E37_79B9_7F4A_7C15_u64);
    for _ in 0..1_000 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
    }
    black_box(state);
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn walk(text: &str) -> Vec<f64> {
        let profile: Profile = text.parse().unwrap();
        profile.shares().take(1000).collect()
    }

    #[test]
    fn a_walk_stays_within_its_bounds_and_follows_from_its_seed() {
        let shares = walk("walk:0.8..1.0,seed=5,step=0.02");
        assert!(shares.iter().all(|share| (0.8..=1.0).contains(share)));
        assert!(shares.windows(2).all(|pair| (pair[1] - pair[0]).abs() <= 0.02));
        // It gets around: bounds are reached, and the middle is where it is on average.
        let [least, most] = [f64::min, f64::max].map(|pick| shares.iter().copied().reduce(pick).unwrap());
        assert!(least < 0.81 && most > 0.99, "{least} to {most}");
        let mean = shares.iter().sum::<f64>() / 1000.0;
        assert!((0.85..0.95).contains(&mean), "{mean}");
        assert_eq!(shares, walk("walk:0.8..1.0,seed=5,step=0.02"));
        assert_ne!(shares, walk("walk:0.8..1.0,seed=6,step=0.02"));
        // Written down once: a stored experiment must mean the same tomorrow.
        assert_eq!(
            format!("{:.6} {:.6}", shares[0], shares[999]),
            "0.840250 0.868861"
        );
        assert!(walk("0.9").iter().all(|&share| share == 0.9));
        // A step beyond everything stays inside too.
        assert!(
            walk("walk:0.5..0.6,step=1")
                .iter()
                .all(|share| (0.5..=0.6).contains(share))
        );
    }

    #[test]
    fn profiles_are_read_as_users_write_them() {
        assert_eq!("walk".parse(), Ok(Profile::default()));
        assert_eq!("1".parse(), Ok(Profile::constant(1.0)));
        let all = Profile {
            bounds: 0.2..=0.4,
            step: 0.1,
            every: Duration::from_millis(500),
            seed: 7,
        };
        assert_eq!("walk:0.2..0.4,every=0.5s,step=0.1,seed=7".parse(), Ok(all));
        for bad in [
            "",
            "0",
            "1.1",
            "NaN",
            "-1",
            "busy",
            "walk:",
            "walk0.8",
            "walk:0.8",
            "walk:0.9..0.8",
            "walk:0..1",
            "walk:seed=-1",
            "walk:seed=5,0.1..0.2",
            "walk:pace=3",
            "walk:step=0",
            "walk:every=1ms",
            "walk:every=inf",
        ] {
            let error = bad.parse::<Profile>().unwrap_err().to_string();
            assert!(error.contains("walk:0.8..1.0,seed=5"), "{bad}: {error}");
        }
    }

    #[test]
    fn threads_end_when_it_is_dropped() {
        let stress = Stress::start(&Profile::constant(0.5)).unwrap();
        let began = Instant::now();
        drop(stress);
        assert!(began.elapsed() < Duration::from_secs(2));
    }
}
