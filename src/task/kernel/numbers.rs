//! Floating-point inputs and checksums.
//!
//! IEEE 754 fixes the result of + - x / to the last bit and Rust never fuses or reorders them, so kernels that use
//! nothing else compute the same on every machine.

use crate::task::mix::digest;

/// A number uniform on [-1, 1), in steps of 2^-52.
pub(crate) fn signed_unit(random: u64) -> f64 {
    (random >> 11) as f64 / (1u64 << 52) as f64 - 1.0
}

/// The digest of every bit of some numbers.
pub(crate) fn digest_of(numbers: &[f64]) -> u64 {
    digest(numbers.iter().map(|number| number.to_bits()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_reach_from_minus_one_to_just_below_one() {
        assert_eq!(signed_unit(0), -1.0);
        assert_eq!(signed_unit(1 << 63), 0.0);
        assert_eq!(signed_unit(u64::MAX), 1.0 - 2f64.powi(-52));
    }

    #[test]
    fn the_last_bit_counts() {
        assert_ne!(digest_of(&[1.0]), digest_of(&[1.0 + f64::EPSILON]));
        assert_ne!(digest_of(&[0.0]), digest_of(&[-0.0]));
    }
}
