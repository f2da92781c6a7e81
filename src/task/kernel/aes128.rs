//! AES with a key of 128 bits, from FIPS 197 ("Advanced Encryption Standard").

use super::Rounds;
use crate::task::mix::{SplitMix, digest};

/// Blocks encrypted, chained (CBC) and decrypted again in one round.
const BLOCKS: usize = 128;

/// Rounds of the cipher for a key of 128 bits (table 3 of the standard).
const CIPHER_ROUNDS: usize = 10;

/// The state of 4.1: byte `4 c + r` is row `r` of column `c`, the order in which bytes come in.
type Block = [u8; 16];

/// One round encrypts a message and checks that decrypting gives it back; the cipher text is the next message, and its
/// checksum changes the key.
pub(crate) struct Aes128 {
    message: [Block; BLOCKS],
    key: Block,
}

impl Rounds for Aes128 {
    fn new(seed: u64) -> Self {
        let mut numbers = SplitMix::new(seed);
        let mut kernel = Self {
            message: [[0; 16]; BLOCKS],
            key: [0; 16],
        };
        numbers.fill(kernel.message.as_flattened_mut());
        numbers.fill(&mut kernel.key);
        kernel
    }

    fn round(&mut self) -> u64 {
        let keys = expand_key(&self.key);
        let (mut chained, mut is_same) = ([0; 16], true);
        for block in &mut self.message {
            let plain = xor(block, &chained);
            chained = encrypt(&keys, plain);
            is_same &= decrypt(&keys, chained) == plain;
            *block = chained;
        }
        let words = self.message.as_flattened().chunks_exact(8);
        let checksum = digest(words.map(|word| word.iter().fold(0, |sum, &byte| sum << 8 | u64::from(byte))));
        // A machine that cannot decrypt what it encrypted must not go unnoticed.
        let checksum = if is_same { checksum } else { !checksum };
        for (key, change) in self.key.iter_mut().zip(checksum.to_le_bytes()) {
            *key ^= change;
        }
        checksum
    }
}

/// The substitution of 5.1.1: the inverse in GF(2^8), then an affine map of its bits.
const S_BOX: [u8; 256] = s_box();

/// Its inverse (5.3.2).
const INVERSE_S_BOX: [u8; 256] = inverse_s_box();

/// Twice, three times, 9, 11, 13 and 14 times every byte in GF(2^8): what MixColumns and its inverse multiply by.
const TIMES: [[u8; 256]; 6] = [times(2), times(3), times(9), times(11), times(13), times(14)];

/// A product in GF(2^8) modulo x^8 + x^4 + x^3 + x + 1 (4.2).
const fn multiply(mut a: u8, mut b: u8) -> u8 {
    let mut product = 0;
    while b > 0 {
        if b & 1 == 1 {
            product ^= a;
        }
        a = a << 1 ^ if a & 0x80 > 0 { 0x1b } else { 0 };
        b >>= 1;
    }
    product
}

const fn times(factor: u8) -> [u8; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = multiply(byte as u8, factor);
        byte += 1;
    }
    table
}

const fn s_box() -> [u8; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        // b^254 is the inverse of b, and 0 for 0.
        let (mut inverse, mut power) = (1, 0);
        while power < 254 {
            inverse = multiply(inverse, byte as u8);
            power += 1;
        }
        let rotations = inverse.rotate_left(1) ^ inverse.rotate_left(2) ^ inverse.rotate_left(3);
        table[byte] = inverse ^ rotations ^ inverse.rotate_left(4) ^ 0x63;
        byte += 1;
    }
    table
}

const fn inverse_s_box() -> [u8; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        table[S_BOX[byte] as usize] = byte as u8;
        byte += 1;
    }
    table
}

/// KeyExpansion (5.2).
fn expand_key(key: &Block) -> [Block; CIPHER_ROUNDS + 1] {
    let mut keys = [*key; CIPHER_ROUNDS + 1];
    let mut round_constant = 1;
    for at in 1..keys.len() {
        let before = keys[at - 1];
        let last = [13, 14, 15, 12].map(|byte: usize| S_BOX[usize::from(before[byte])]);
        let mut word = [last[0] ^ round_constant, last[1], last[2], last[3]];
        for (next, old) in keys[at].chunks_exact_mut(4).zip(before.chunks_exact(4)) {
            for ((next, old), carry) in next.iter_mut().zip(old).zip(&mut word) {
                *carry ^= old;
                *next = *carry;
            }
        }
        round_constant = multiply(round_constant, 2);
    }
    keys
}

/// Cipher (5.1).
fn encrypt(keys: &[Block; CIPHER_ROUNDS + 1], block: Block) -> Block {
    let mut state = xor(&block, &keys[0]);
    for key in &keys[1..CIPHER_ROUNDS] {
        state = xor(&mix_columns(&substitute_and_shift(&state)), key);
    }
    xor(&substitute_and_shift(&state), &keys[CIPHER_ROUNDS])
}

/// InvCipher (5.3).
fn decrypt(keys: &[Block; CIPHER_ROUNDS + 1], block: Block) -> Block {
    let mut state = inverse_substitute_and_shift(&xor(&block, &keys[CIPHER_ROUNDS]));
    for key in keys[1..CIPHER_ROUNDS].iter().rev() {
        state = inverse_substitute_and_shift(&inverse_mix_columns(&xor(&state, key)));
    }
    xor(&state, &keys[0])
}

fn xor(a: &Block, b: &Block) -> Block {
    std::array::from_fn(|at| a[at] ^ b[at])
}

/// SubBytes and ShiftRows (5.1.1, 5.1.2): row `r` moves `r` columns to the left.
fn substitute_and_shift(state: &Block) -> Block {
    std::array::from_fn(|at| S_BOX[usize::from(state[(at + 4 * (at % 4)) % 16])])
}

/// InvShiftRows and InvSubBytes (5.3.1, 5.3.2).
fn inverse_substitute_and_shift(state: &Block) -> Block {
    std::array::from_fn(|at| INVERSE_S_BOX[usize::from(state[(at + 12 * (at % 4)) % 16])])
}

/// MixColumns (5.1.3): every column times 2, 3, 1, 1 in turn.
fn mix_columns(state: &Block) -> Block {
    let [two, three, ..] = &TIMES;
    std::array::from_fn(|at| {
        let [a, b, c, d] = column_from(state, at);
        two[a] ^ three[b] ^ c as u8 ^ d as u8
    })
}

/// InvMixColumns (5.3.3): every column times 14, 11, 13, 9 in turn.
fn inverse_mix_columns(state: &Block) -> Block {
    let [_, _, nine, eleven, thirteen, fourteen] = &TIMES;
    std::array::from_fn(|at| {
        let [a, b, c, d] = column_from(state, at);
        fourteen[a] ^ eleven[b] ^ thirteen[c] ^ nine[d]
    })
}

/// The column of the byte at `at`, downwards from it and round.
fn column_from(state: &Block, at: usize) -> [usize; 4] {
    [0, 1, 2, 3].map(|down| usize::from(state[at / 4 * 4 + (at + down) % 4]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(hex: u128) -> Block {
        hex.to_be_bytes()
    }

    #[test]
    fn the_examples_of_the_standard_come_out() {
        // Key, plain text and cipher text of appendix B and of appendix C.1.
        let cases = [
            (
                0x2b7e_1516_28ae_d2a6_abf7_1588_09cf_4f3c,
                0x3243_f6a8_885a_308d_3131_98a2_e037_0734,
                0x3925_841d_02dc_09fb_dc11_8597_196a_0b32,
            ),
            (
                0x0001_0203_0405_0607_0809_0a0b_0c0d_0e0f,
                0x0011_2233_4455_6677_8899_aabb_ccdd_eeff,
                0x69c4_e0d8_6a7b_0430_d8cd_b780_70b4_c55a,
            ),
        ];
        for (key, plain, cipher) in cases {
            let keys = expand_key(&block(key));
            assert_eq!(encrypt(&keys, block(plain)), block(cipher));
            assert_eq!(decrypt(&keys, block(cipher)), block(plain));
        }
    }

    #[test]
    fn the_key_expands_as_in_appendix_a() {
        let keys = expand_key(&block(0x2b7e_1516_28ae_d2a6_abf7_1588_09cf_4f3c));
        assert_eq!(keys[1], block(0xa0fa_fe17_8854_2cb1_23a3_3939_2a6c_7605));
        assert_eq!(keys[10], block(0xd014_f9a8_c9ee_2589_e13f_0cc8_b663_0ca6));
    }

    #[test]
    fn the_substitution_is_the_printed_one() {
        assert_eq!([0, 0x53, 0xff].map(|byte: usize| S_BOX[byte]), [0x63, 0xed, 0x16]);
        assert!((0..256).all(|byte| usize::from(INVERSE_S_BOX[usize::from(S_BOX[byte])]) == byte));
        // The example of 4.2.
        assert_eq!(multiply(0x57, 0x13), 0xfe);
    }

    #[test]
    fn a_round_chains_its_blocks() {
        let mut kernel = Aes128::new(1);
        let keys = expand_key(&kernel.key);
        let plain = kernel.message;
        kernel.round();
        let second = xor(&decrypt(&keys, kernel.message[1]), &kernel.message[0]);
        assert_eq!(second, plain[1]);
    }
}
