//! IMA ADPCM: 16-bit sound in 4 bits a sample (Interactive Multimedia Association, "Recommended Practices for Enhancing
//! Digital Audio Compatibility in Multimedia Systems", 1992, section 6).

use super::Rounds;
use crate::task::mix::{SplitMix, digest};

/// Samples encoded and decoded in one round.
const SAMPLES: usize = 2048;

/// Step sizes (6.4.1, table 2).
const STEPS: [i32; 89] = [
    7, 8, 9, 10, 11, 12, 13, 14, 16, 17, 19, 21, 23, 25, 28, 31, 34, 37, 41, 45, 50, 55, 60, 66, 73, 80, 88,
    97, 107, 118, 130, 143, 157, 173, 190, 209, 230, 253, 279, 307, 337, 371, 408, 449, 494, 544, 598, 658,
    724, 796, 876, 963, 1060, 1166, 1282, 1411, 1552, 1707, 1878, 2066, 2272, 2499, 2749, 3024, 3327, 3660,
    4026, 4428, 4871, 5358, 5894, 6484, 7132, 7845, 8630, 9493, 10442, 11487, 12635, 13899, 15289, 16818,
    18500, 20350, 22385, 24623, 27086, 29794, 32767,
];

/// How a code changes the index of the step, by its magnitude (6.4.1, table 1).
const INDEX_CHANGES: [i32; 8] = [-1, -1, -1, -1, 2, 4, 6, 8];

/// One round encodes a sound, decodes it and checks that the decoder ends up where the encoder thought it would; the
/// decoded sound, with noise, is the next one.
pub(crate) struct Adpcm {
    sound: [i16; SAMPLES],
}

impl Rounds for Adpcm {
    fn new(seed: u64) -> Self {
        let mut kernel = Self { sound: [0; SAMPLES] };
        kernel.disturb(seed);
        kernel
    }

    fn round(&mut self) -> u64 {
        let (mut encoder, mut decoder) = (Coder::default(), Coder::default());
        let codes = self.sound.map(|sample| encoder.encode(sample));
        self.sound = codes.map(|code| decoder.decode(code));
        let words = codes
            .chunks_exact(16)
            .map(|codes| codes.iter().fold(0, |word, &code| word << 4 | u64::from(code)));
        let checksum = digest(words.chain(self.sound.iter().map(|&sample| sample as u64)));
        // A machine whose decoder cannot follow its encoder must not go unnoticed.
        let checksum = if decoder == encoder { checksum } else { !checksum };
        self.disturb(checksum);
        checksum
    }
}

impl Adpcm {
    /// Adds noise of 13 bits to half of the sound.
    fn disturb(&mut self, seed: u64) {
        let mut noise = SplitMix::new(seed);
        for sample in &mut self.sound {
            *sample = *sample / 2 + (noise.next() as i16 >> 3);
        }
    }
}

/// What encoder and decoder both know: the last sample predicted, and the index of the step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Coder {
    predicted: i32,
    index: i32,
}

impl Coder {
    /// The code of a sample: its sign, and how many halves, quarters and eighths of a step it is off.
    fn encode(&mut self, sample: i16) -> u8 {
        let difference = i32::from(sample) - self.predicted;
        let mut code = if difference < 0 { 8 } else { 0 };
        let (mut rest, mut step) = (difference.abs(), self.step());
        for bit in [4, 2, 1] {
            if rest >= step {
                code |= bit;
                rest -= step;
            }
            step >>= 1;
        }
        self.decode(code);
        code
    }

    /// The sample of a code, which is the next prediction.
    fn decode(&mut self, code: u8) -> i16 {
        let step = self.step();
        let mut difference = step >> 3;
        for (bit, part) in [(4, step), (2, step >> 1), (1, step >> 2)] {
            if code & bit != 0 {
                difference += part;
            }
        }
        let change = if code & 8 != 0 { -difference } else { difference };
        self.predicted = (self.predicted + change).clamp(i16::MIN.into(), i16::MAX.into());
        self.index = (self.index + INDEX_CHANGES[usize::from(code & 7)]).clamp(0, STEPS.len() as i32 - 1);
        self.predicted as i16
    }

    fn step(&self) -> i32 {
        STEPS[self.index as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A ramp with jumps, as a program of Python makes it too.
    fn sound() -> impl Iterator<Item = i16> {
        (0..32i32).map(|n| ((n * n * 977) % 65_521 - 32_760) as i16)
    }

    #[test]
    fn codes_are_those_of_an_independent_implementation() {
        // audioop.lin2adpcm of Python 3.11, which packs the first code of two into the high half.
        let packed: [u8; 16] = [
            0xff, 0xff, 0xff, 0x77, 0x7f, 0x06, 0xf3, 0x3d, 0x3c, 0x4b, 0x4a, 0xb6, 0xaa, 0xa7, 0x89, 0x89,
        ];
        let known: Vec<u8> = packed.iter().flat_map(|byte| [byte >> 4, byte & 15]).collect();
        let mut encoder = Coder::default();
        let codes: Vec<u8> = sound().map(|sample| encoder.encode(sample)).collect();
        assert_eq!(codes, known, "{codes:x?}");
        assert_eq!((encoder.predicted, encoder.index), (-11623, 84));
    }

    #[test]
    fn decoded_samples_are_those_of_an_independent_implementation() {
        let known: [i16; 32] = [
            -11, -41, -104, -240, -533, -1164, 193, 3103, 9339, -4033, -2122, 20463, -25703, 2966, 29035,
            -8207, 20462, -13056, 23806, -4863, 28655, 8177, -17892, 26122, 5644, -12977, -29905, 16261,
            12166, 994, -2391, -11623,
        ];
        let (mut encoder, mut decoder) = (Coder::default(), Coder::default());
        let decoded: Vec<i16> = sound()
            .map(|sample| decoder.decode(encoder.encode(sample)))
            .collect();
        assert_eq!(decoded, known);
        assert_eq!(encoder, decoder);
    }

    #[test]
    fn steps_grow_by_about_a_tenth() {
        for pair in STEPS[8..].windows(2) {
            let ratio = f64::from(pair[1]) / f64::from(pair[0]);
            assert!((1.05..1.13).contains(&ratio), "{pair:?}");
        }
    }

    #[test]
    fn a_slow_sound_is_followed_closely() {
        let slow = |n: u32| (8000.0 * (f64::from(n) / 40.0).sin()) as i16;
        let mut encoder = Coder::default();
        for n in 0..2000 {
            encoder.encode(slow(n));
            let error = encoder.predicted - i32::from(slow(n));
            assert!(n < 100 || error.abs() < 150, "sample {n}: {error}");
        }
    }
}
