//! Well-mixed 64-bit numbers from a seed: the raw material of kernel inputs and payloads.
//!
//! The generator is SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", OOPSLA
//! 2014): a Weyl sequence with a finalizer of multiplications and shifts. Integers only, so the same on every host.

/// The step of the Weyl sequence: 2^64 divided by the golden ratio, made odd.
pub(crate) const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// Spreads every bit of `x` over the whole word (a bijection).
pub(crate) fn mix(x: u64) -> u64 {
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// One number that depends on every number of a sequence and on their order.
pub(crate) fn digest(words: impl Iterator<Item = u64>) -> u64 {
    mix(words.fold(0, |sum, word| (sum ^ word).wrapping_mul(GOLDEN).rotate_left(29)))
}

/// An endless sequence of well-mixed numbers.
#[derive(Clone, Debug)]
pub(crate) struct SplitMix(u64);

impl SplitMix {
    /// The sequence of `seed`.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN);
        mix(self.0)
    }

    /// Overwrites `bytes` with the sequence, little-endian.
    pub(crate) fn fill(&mut self, bytes: &mut [u8]) {
        let mut words = bytes.chunks_exact_mut(8);
        for word in &mut words {
            word.copy_from_slice(&self.next().to_le_bytes());
        }
        let rest = words.into_remainder();
        let last = self.next().to_le_bytes();
        rest.copy_from_slice(&last[..rest.len()]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sequence_is_the_published_one() {
        // The first outputs of the reference implementation for seed 0, as printed in many test suites.
        let mut sequence = SplitMix::new(0);
        assert_eq!(sequence.next(), 0xe220_a839_7b1d_cdaf);
        assert_eq!(sequence.next(), 0x6e78_9e6a_a1b9_65f4);
        assert_eq!(sequence.next(), 0x06c4_5d18_8009_454f);
    }

    #[test]
    fn bytes_of_any_length_begin_alike() {
        let mut long = [0; 29];
        SplitMix::new(7).fill(&mut long);
        for length in 0..long.len() {
            let mut short = vec![0; length];
            SplitMix::new(7).fill(&mut short);
            assert_eq!(short, long[..length]);
        }
    }

    #[test]
    fn a_digest_sees_order_and_value() {
        let of = |words: &[u64]| digest(words.iter().copied());
        assert_ne!(of(&[1, 2, 3]), of(&[1, 3, 2]));
        assert_ne!(of(&[1, 2, 3]), of(&[1, 2, 4]));
        assert_ne!(of(&[0, 0]), of(&[0, 1]));
    }
}
