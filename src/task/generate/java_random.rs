//! The random numbers of `java.util.Random`, by the recurrence that its documentation prescribes for every Java: a linear
//! congruential generator modulo 2^48 (Knuth, TAOCP 2, 3.2.1). The published task sets were drawn with it.

/// The generator's state.
pub struct JavaRandom(u64);

const MULTIPLIER: u64 = 0x5_deec_e66d;
const INCREMENT: u64 = 0xb;
const MASK: u64 = (1 << 48) - 1;

impl JavaRandom {
    /// As `new Random(seed)`.
    pub fn new(seed: u64) -> Self {
        Self((seed ^ MULTIPLIER) & MASK)
    }

    /// The generator's next step, and its upper bits: as `next(bits)`.
    fn next(&mut self, bits: u32) -> u64 {
        self.0 = self.0.wrapping_mul(MULTIPLIER).wrapping_add(INCREMENT) & MASK;
        self.0 >> (48 - bits)
    }

    /// Uniform on [0, 1), in steps of 2^-53: as `nextDouble()`.
    pub fn next_double(&mut self) -> f64 {
        let upper = self.next(26) << 27;
        (upper + self.next(27)) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sequence_is_that_of_java() {
        // Printed by OpenJDK 17: `new Random(seed).nextDouble()`, three times.
        for (seed, known) in [
            (
                50,
                [
                    0.729_713_642_565_787_4,
                    0.614_157_972_062_667_5,
                    0.621_581_338_191_598_3,
                ],
            ),
            (
                89,
                [
                    0.725_861_641_262_134_8,
                    0.904_567_007_254_605_7,
                    0.144_370_462_873_354_87,
                ],
            ),
        ] {
            let mut random = JavaRandom::new(seed);
            assert_eq!([(); 3].map(|()| random.next_double()), known);
        }
        // `new Random(42).nextInt()`, as printed in countless texts.
        assert_eq!(JavaRandom::new(42).next(32) as u32 as i32, -1_170_105_035);
    }
}
