//! Huffman coding (D. A. Huffman, "A method for the construction of minimum-redundancy codes", 1952) with canonical
//! codes, as in DEFLATE (RFC 1951, 3.2.2).

use super::Rounds;
use crate::task::mix::{SplitMix, digest};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Different symbols.
const SYMBOLS: usize = 64;

/// Symbols encoded and decoded in one round.
const MESSAGE: usize = 1536;

/// No code is longer: an optimal code of a message needs Fibonacci frequencies to be long, and 1536 is less than the
/// 20th Fibonacci number.
const LONGEST: usize = 20;

/// One round builds a code for a message, encodes it, decodes it and checks that it is the same; the checksum of the
/// bits makes the next message.
pub(crate) struct Huffman {
    message: [u8; MESSAGE],
    /// The encoded message, kept for its memory.
    bits: Vec<u8>,
}

impl Rounds for Huffman {
    fn new(seed: u64) -> Self {
        let mut kernel = Self {
            message: [0; MESSAGE],
            bits: Vec::new(),
        };
        kernel.renew(seed);
        kernel
    }

    fn round(&mut self) -> u64 {
        let lengths = code_lengths(&frequencies(&self.message));
        encode(&self.message, &lengths, &mut self.bits);
        let is_same = decode(&self.bits, &lengths).take(MESSAGE).eq(self.message);
        let words = self
            .bits
            .chunks(8)
            .map(|word| word.iter().fold(0, |sum, &byte| sum << 8 | u64::from(byte)));
        let checksum = digest(words);
        // A machine that cannot decode what it encoded must not go unnoticed.
        let checksum = if is_same { checksum } else { !checksum };
        self.renew(checksum);
        checksum
    }
}

impl Huffman {
    /// Symbols as skewed as text: the least of two draws from a range that differs from message to message.
    fn renew(&mut self, seed: u64) {
        let mut numbers = SplitMix::new(seed);
        let range = 32 + seed % 33;
        for symbol in &mut self.message {
            let number = numbers.next();
            let draw = |bits: u64| ((bits & 0xffff) * range) >> 16;
            *symbol = draw(number).min(draw(number >> 16)).min(draw(number >> 32)) as u8;
        }
    }
}

fn frequencies(message: &[u8]) -> [u32; SYMBOLS] {
    let mut frequencies = [0; SYMBOLS];
    for &symbol in message {
        frequencies[usize::from(symbol)] += 1;
    }
    frequencies
}

/// Bits of each symbol's code; 0 for symbols that do not occur.
fn code_lengths(frequencies: &[u32; SYMBOLS]) -> [u8; SYMBOLS] {
    // Leaves first, then the inner nodes, each made from the two lightest trees there are.
    let mut parents = [usize::MAX; 2 * SYMBOLS];
    let leaves = (0..SYMBOLS).filter(|&symbol| frequencies[symbol] > 0);
    let mut trees: BinaryHeap<_> = leaves
        .map(|symbol| Reverse((frequencies[symbol], symbol)))
        .collect();
    let only = trees.len() == 1;
    let mut inner = SYMBOLS;
    while let (Some(Reverse(lightest)), Some(Reverse(second))) = (trees.pop(), trees.pop()) {
        (parents[lightest.1], parents[second.1]) = (inner, inner);
        trees.push(Reverse((lightest.0 + second.0, inner)));
        inner += 1;
    }
    std::array::from_fn(|symbol| {
        let depth = std::iter::successors(Some(symbol), |&node| {
            Some(parents[node]).filter(|&up| up != usize::MAX)
        });
        // A symbol that stands alone still needs a bit.
        let alone = u8::from(only && frequencies[symbol] > 0);
        depth.count() as u8 - 1 + alone
    })
}

/// The canonical code of every symbol: shorter codes first, equally long ones in the order of their symbols.
fn canonical_codes(lengths: &[u8; SYMBOLS]) -> [u32; SYMBOLS] {
    let (mut codes, mut code) = ([0; SYMBOLS], 0);
    for length in 1..=LONGEST as u8 {
        for symbol in (0..SYMBOLS).filter(|&symbol| lengths[symbol] == length) {
            codes[symbol] = code;
            code += 1;
        }
        code <<= 1;
    }
    codes
}

/// Appends the codes of all symbols, most significant bit first; the last byte is filled up with zeros.
fn encode(message: &[u8], lengths: &[u8; SYMBOLS], bits: &mut Vec<u8>) {
    let codes = canonical_codes(lengths);
    bits.clear();
    let (mut waiting, mut count) = (0u32, 0);
    for &symbol in message {
        let length = lengths[usize::from(symbol)];
        waiting = waiting << length | codes[usize::from(symbol)];
        count += length;
        while count >= 8 {
            count -= 8;
            bits.push((waiting >> count) as u8);
        }
    }
    if count > 0 {
        bits.push((waiting << (8 - count)) as u8);
    }
}

/// The symbols of encoded bits, a bit at a time: codes of one length are consecutive numbers.
fn decode(bits: &[u8], lengths: &[u8; SYMBOLS]) -> impl Iterator<Item = u8> {
    let mut counts = [0; LONGEST + 1];
    lengths
        .iter()
        .for_each(|&length| counts[usize::from(length)] += 1);
    let mut sorted: Vec<u8> = (0..SYMBOLS as u8)
        .filter(|&symbol| lengths[usize::from(symbol)] > 0)
        .collect();
    sorted.sort_by_key(|&symbol| lengths[usize::from(symbol)]);
    let mut stream = bits
        .iter()
        .flat_map(|byte| (0..8).rev().map(move |at| i32::from(byte >> at & 1)));
    std::iter::from_fn(move || {
        let (mut code, mut first, mut place) = (0, 0, 0);
        for count in &counts[1..] {
            code |= stream.next()?;
            if code < first + count {
                return sorted.get((place + code - first) as usize).copied();
            }
            place += count;
            first = (first + count) << 1;
            code <<= 1;
        }
        None
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn textbook() -> [u32; SYMBOLS] {
        let mut frequencies = [0; SYMBOLS];
        frequencies[..6].copy_from_slice(&[45, 13, 12, 16, 9, 5]);
        frequencies
    }

    #[test]
    fn the_textbook_example_has_its_textbook_code() {
        // Cormen, Leiserson, Rivest, Stein: "Introduction to Algorithms", 16.3: a to f.
        let lengths = code_lengths(&textbook());
        assert_eq!(lengths[..7], [1, 3, 3, 3, 4, 4, 0]);
        assert_eq!(
            canonical_codes(&lengths)[..6],
            [0b0, 0b100, 0b101, 0b110, 0b1110, 0b1111]
        );
    }

    #[test]
    fn codes_are_those_of_the_example_in_rfc_1951() {
        // 3.2.2: A to H with lengths 3, 3, 3, 3, 3, 2, 4, 4.
        let mut lengths = [0; SYMBOLS];
        lengths[..8].copy_from_slice(&[3, 3, 3, 3, 3, 2, 4, 4]);
        assert_eq!(
            canonical_codes(&lengths)[..8],
            [0b010, 0b011, 0b100, 0b101, 0b110, 0b00, 0b1110, 0b1111]
        );
    }

    /// The least possible number of bits: the sum of all inner nodes, found by sorting again and again.
    fn least_bits(frequencies: &[u32]) -> u32 {
        let mut trees: Vec<u32> = frequencies
            .iter()
            .copied()
            .filter(|&frequency| frequency > 0)
            .collect();
        let mut bits = 0;
        while trees.len() > 1 {
            trees.sort_unstable_by_key(|&tree| Reverse(tree));
            let sum = trees.pop().unwrap_or(0) + trees.pop().unwrap_or(0);
            bits += sum;
            trees.push(sum);
        }
        bits
    }

    #[test]
    fn codes_are_complete_and_as_short_as_can_be() {
        let mut kernel = Huffman::new(1);
        for _ in 0..10 {
            let frequencies = frequencies(&kernel.message);
            let lengths = code_lengths(&frequencies);
            let kraft: f64 = lengths
                .iter()
                .filter(|&&length| length > 0)
                .map(|&n| 0.5f64.powi(n.into()))
                .sum();
            assert_eq!(kraft, 1.0);
            let bits: u32 = frequencies
                .iter()
                .zip(lengths)
                .map(|(f, length)| f * u32::from(length))
                .sum();
            assert_eq!(bits, least_bits(&frequencies));
            kernel.round();
            assert_eq!(kernel.bits.len() as u32, bits.div_ceil(8));
        }
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        let mut skewed = vec![3; 1000];
        skewed.extend(0..64);
        for message in [vec![7], vec![7; 100], vec![0, 63], skewed] {
            let lengths = code_lengths(&frequencies(&message));
            let mut bits = Vec::new();
            encode(&message, &lengths, &mut bits);
            assert!(decode(&bits, &lengths).take(message.len()).eq(message));
        }
    }

    #[test]
    fn the_longest_code_is_as_long_as_fibonacci_numbers_make_it() {
        let mut frequencies = [0; SYMBOLS];
        let (mut one, mut next) = (1, 1);
        let mut left = MESSAGE as u32;
        for frequency in &mut frequencies {
            if one > left {
                break;
            }
            *frequency = one;
            left -= one;
            (one, next) = (next, one + next);
        }
        assert!(
            code_lengths(&frequencies)
                .iter()
                .all(|&length| usize::from(length) < LONGEST)
        );
    }
}
