//! Tasks: kernels, their cost, and task sets.

use serde::{Deserialize, Serialize};

/// A built-in kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kernel {
    /// Dense matrix multiplication.
    Matmul,
    /// SHA-256 (FIPS 180-4).
    Sha256,
    /// Integer fast Fourier transform.
    Fft,
    /// Dijkstra's shortest paths on a dense graph.
    Dijkstra,
}

/// A piece of computation: the same bytes in give the same checksum out on every machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Work {
    /// Which kernel.
    pub kernel: Kernel,
    /// How many rounds of it.
    pub size: u64,
    /// What its input is made from, together with the payload.
    pub seed: u64,
}

pub mod pacer;

/// Stand-in until the tasks are merged.
pub fn run(work: &Work, payload: &[u8], _speed: pacer::Speed, stop: &dyn Fn() -> bool) -> Option<u64> {
    let mut sum = work.seed;
    for round in 0..work.size {
        if stop() {
            return None;
        }
        sum = payload
            .iter()
            .fold(sum ^ round, |sum, &b| sum.rotate_left(5) ^ u64::from(b));
        std::hint::black_box(sum);
    }
    Some(sum)
}
