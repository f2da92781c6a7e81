//! Random numbers of the learners: ChaCha8, whose position in the stream can be saved and taken up again.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

/// The generator of every learner.
pub(crate) type Rng = ChaCha8Rng;

/// The generator for a seed: of a learner's initial weights and of its decisions.
pub(crate) fn seeded(seed: u64) -> Rng {
    Rng::seed_from_u64(seed)
}

/// The generator for what is drawn while learning: another stream of the same seed. What a learner learns then does
/// not depend on how often it has decided, and a learner that is trained elsewhere learns the same.
pub(crate) fn for_learning(seed: u64) -> Rng {
    let mut rng = seeded(seed);
    rng.set_stream(1);
    rng
}

/// A draw from the standard normal distribution (Box and Muller).
pub(crate) fn gaussian(rng: &mut Rng) -> f64 {
    // 1 - u is never 0, so the logarithm is finite.
    let radius = (-2.0 * (1.0 - rng.random::<f64>()).ln()).sqrt();
    radius * (std::f64::consts::TAU * rng.random::<f64>()).cos()
}

/// Where a generator stands, as a checkpoint keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RngState {
    seed: [u8; 32],
    stream: u64,
    /// 32-bit words drawn so far; 2^64 of them take centuries.
    word: u64,
}

impl RngState {
    /// The state of a generator.
    pub fn of(rng: &Rng) -> Self {
        Self {
            seed: rng.get_seed(),
            stream: rng.get_stream(),
            word: rng.get_word_pos() as u64,
        }
    }

    /// A generator that goes on from here.
    pub fn resume(&self) -> Rng {
        let mut rng = Rng::from_seed(self.seed);
        rng.set_stream(self.stream);
        rng.set_word_pos(u128::from(self.word));
        rng
    }
}
