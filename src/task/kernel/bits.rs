//! Bit operations: counting and reversing bits in several ways, and CRC-32.

use super::Rounds;
use crate::task::mix::{SplitMix, digest, mix};

/// Words whose bits are counted in one round.
const WORDS: usize = 1024;

/// One round counts the bits of every word in three ways and reverses them; the checksum makes the next words.
pub(crate) struct BitCount([u64; WORDS]);

impl Rounds for BitCount {
    fn new(seed: u64) -> Self {
        let mut words = Self([0; WORDS]);
        words.refill(seed);
        words
    }

    fn round(&mut self) -> u64 {
        let mut differ = 0;
        let counted = self.0.iter().map(|&word| {
            let counts = [
                count_by_clearing(word),
                count_by_table(word),
                count_by_adding(word),
            ];
            differ |= (counts[0] ^ counts[1]) | (counts[0] ^ counts[2]);
            reverse(word) ^ u64::from(counts[0])
        });
        let checksum = digest(counted);
        // A processor that counts wrongly must not go unnoticed.
        let checksum = if differ == 0 { checksum } else { !checksum };
        self.refill(checksum);
        checksum
    }
}

impl BitCount {
    fn refill(&mut self, seed: u64) {
        let mut fresh = SplitMix::new(seed);
        self.0.iter_mut().for_each(|word| *word = fresh.next());
    }
}

/// Clears the lowest one until none is left (P. Wegner, 1960).
fn count_by_clearing(mut word: u64) -> u32 {
    let mut count = 0;
    while word != 0 {
        word &= word - 1;
        count += 1;
    }
    count
}

/// Four bits at a time.
fn count_by_table(word: u64) -> u32 {
    const ONES: [u8; 16] = [0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4];
    (0..16)
        .map(|nibble| u32::from(ONES[(word >> (4 * nibble) & 15) as usize]))
        .sum()
}

/// Adds neighbours in parallel: pairs, fours, bytes, and all bytes by one multiplication.
fn count_by_adding(word: u64) -> u32 {
    let pairs = word - (word >> 1 & 0x5555_5555_5555_5555);
    let fours = (pairs & 0x3333_3333_3333_3333) + (pairs >> 2 & 0x3333_3333_3333_3333);
    let bytes = (fours + (fours >> 4)) & 0x0f0f_0f0f_0f0f_0f0f;
    (bytes.wrapping_mul(0x0101_0101_0101_0101) >> 56) as u32
}

/// Swaps neighbouring bits, pairs, fours, and so on.
fn reverse(mut word: u64) -> u64 {
    const LOW: [u64; 6] = [
        0x5555_5555_5555_5555,
        0x3333_3333_3333_3333,
        0x0f0f_0f0f_0f0f_0f0f,
        0x00ff_00ff_00ff_00ff,
        0x0000_ffff_0000_ffff,
        0x0000_0000_ffff_ffff,
    ];
    for (at, mask) in LOW.iter().enumerate() {
        word = (word >> (1 << at) & mask) | (word & mask) << (1 << at);
    }
    word
}

/// Bytes checked in one round.
const MESSAGE_BYTES: usize = 16 * 1024;

/// One round is the CRC-32 of a message, which then becomes its first four bytes.
pub(crate) struct Crc32 {
    message: Vec<u8>,
}

impl Rounds for Crc32 {
    fn new(seed: u64) -> Self {
        let mut message = vec![0; MESSAGE_BYTES];
        SplitMix::new(seed).fill(&mut message);
        Self { message }
    }

    fn round(&mut self) -> u64 {
        let crc = crc32(&self.message);
        self.message[..4].copy_from_slice(&crc.to_le_bytes());
        mix(u64::from(crc))
    }
}

/// The generator polynomial of IEEE 802.3, bits reversed.
const POLYNOMIAL: u32 = 0xedb8_8320;

/// What each byte does to the remainder.
const TABLE: [u32; 256] = table();

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut rest = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            rest = rest >> 1 ^ if rest & 1 == 1 { POLYNOMIAL } else { 0 };
            bit += 1;
        }
        table[byte] = rest;
        byte += 1;
    }
    table
}

/// CRC-32 of IEEE 802.3 (ISO/HDLC), a byte at a time (D. V. Sarwate, 1988).
fn crc32(message: &[u8]) -> u32 {
    let step = |rest: u32, &byte: &u8| TABLE[usize::from(rest as u8 ^ byte)] ^ rest >> 8;
    !message.iter().fold(u32::MAX, step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_of_counting_agrees_with_the_processor() {
        let mut words = SplitMix::new(1);
        let some = std::iter::repeat_with(|| words.next()).take(1000);
        for word in some.chain([0, 1, u64::MAX, 1 << 63, 0x8000_0001]) {
            let ones = word.count_ones();
            assert_eq!(
                [
                    count_by_clearing(word),
                    count_by_table(word),
                    count_by_adding(word)
                ],
                [ones; 3]
            );
            assert_eq!(reverse(word), word.reverse_bits());
        }
    }

    #[test]
    fn the_crc_has_its_published_check_value() {
        // The check value of CRC-32/ISO-HDLC in the catalogue of parametrised CRC algorithms.
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        assert_eq!(crc32(b""), 0);
    }

    #[test]
    fn the_crc_is_the_remainder_of_the_long_division() {
        let bit_by_bit = |message: &[u8]| {
            let mut rest = u32::MAX;
            for bit in message
                .iter()
                .flat_map(|byte| (0..8).map(move |at| byte >> at & 1))
            {
                let carry = rest & 1 ^ u32::from(bit);
                rest = (rest >> 1) ^ (POLYNOMIAL * carry);
            }
            !rest
        };
        let mut kernel = Crc32::new(3);
        for _ in 0..2 {
            assert_eq!(crc32(&kernel.message), bit_by_bit(&kernel.message));
            kernel.round();
        }
    }
}
