//! The last transitions a learner has seen, to learn from again.
//!
//! They are kept as they came, in raw features and joules, and normalised when drawn: the running normalisers have
//! moved on since.

use super::features::FEATURES;
use super::random::{Rng, for_learning};
use super::{Checkpoint, LearnError, Placement};
use rand::RngExt;

/// A transition as it came.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Experience {
    /// Raw features of the state.
    pub before: [f64; FEATURES],
    pub placement: Placement,
    /// In joules.
    pub reward: f64,
    /// Raw features of the next state.
    pub after: [f64; FEATURES],
}

/// A ring of experiences: the oldest makes way for the newest.
#[derive(Clone, Debug)]
pub(super) struct Replay {
    capacity: usize,
    kept: Vec<Experience>,
    /// Where the next one goes once the ring is full.
    next: usize,
    /// Says which one is drawn.
    rng: Rng,
}

impl Replay {
    /// An empty ring; all it will ever need is allocated here.
    pub fn new(capacity: usize, seed: u64) -> Self {
        Self {
            capacity,
            kept: Vec::with_capacity(capacity),
            next: 0,
            rng: for_learning(seed),
        }
    }

    pub fn push(&mut self, experience: Experience) {
        if self.kept.len() < self.capacity {
            self.kept.push(experience);
        } else if let Some(oldest) = self.kept.get_mut(self.next) {
            *oldest = experience;
            self.next = (self.next + 1) % self.capacity;
        }
    }

    /// One of those kept, each as likely as another.
    pub fn draw(&mut self) -> Option<Experience> {
        match self.kept.len() {
            0 => None,
            n => Some(self.kept[self.rng.random_range(0..n)]),
        }
    }

    pub fn save(&self, checkpoint: &mut Checkpoint) {
        let n = self.kept.len();
        let flat = |of: fn(&Experience) -> [f64; FEATURES]| self.kept.iter().flat_map(of).collect();
        checkpoint.put_f64("replay.before", &[n, FEATURES], flat(|e| e.before));
        checkpoint.put_f64("replay.after", &[n, FEATURES], flat(|e| e.after));
        let placements = self.kept.iter().map(|e| f64::from(e.placement as u8));
        checkpoint.put_f64("replay.placement", &[n], placements.collect());
        checkpoint.put_f64(
            "replay.reward",
            &[n],
            self.kept.iter().map(|e| e.reward).collect(),
        );
        checkpoint.put_count("replay.count", n as u64);
        checkpoint.put_count("replay.next", self.next as u64);
        checkpoint.put_learning_rng(&self.rng);
    }

    /// What `checkpoint` holds, in a ring of `capacity`.
    pub fn load(capacity: usize, checkpoint: &Checkpoint) -> Result<Self, LearnError> {
        let (n, next) = (
            checkpoint.count("replay.count")?,
            checkpoint.count("replay.next")?,
        );
        let (n, next) = (n as usize, next as usize);
        if n > capacity || next >= capacity || (next > 0 && n < capacity) {
            return Err(checkpoint.error(format!(
                "it keeps {n} transitions, which does not fit a replay of {capacity}"
            )));
        }
        let befores = checkpoint.f64s("replay.before", &[n, FEATURES])?;
        let afters = checkpoint.f64s("replay.after", &[n, FEATURES])?;
        let placements = checkpoint.f64s("replay.placement", &[n])?;
        let rewards = checkpoint.f64s("replay.reward", &[n])?;
        let mut loaded = Self::new(capacity, checkpoint.header().seed);
        loaded.rng = checkpoint.learning_rng();
        let states = befores.as_chunks().0.iter().zip(afters.as_chunks().0);
        for ((before, after), (placement, reward)) in states.zip(placements.iter().zip(rewards)) {
            let placement = Placement::ALL
                .into_iter()
                .find(|p| f64::from(*p as u8) == *placement);
            loaded.kept.push(Experience {
                before: *before,
                placement: placement
                    .ok_or_else(|| checkpoint.error("replay.placement is not a placement".to_owned()))?,
                reward: *reward,
                after: *after,
            });
        }
        loaded.next = next;
        Ok(loaded)
    }
}
