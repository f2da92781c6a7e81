//! SHA-256, from FIPS 180-4 ("Secure Hash Standard", sections 4.1.2, 4.2.2, 5.1.1, 5.3.3 and 6.2).

use super::Rounds;
use crate::task::mix::SplitMix;

/// Bytes hashed in one round.
const MESSAGE_BYTES: usize = 8192;

/// One round hashes the message; the digest then becomes the message's first bytes, which all later blocks feel.
pub(crate) struct Sha256 {
    message: Vec<u8>,
}

impl Rounds for Sha256 {
    fn new(seed: u64) -> Self {
        let mut message = vec![0; MESSAGE_BYTES];
        SplitMix::new(seed).fill(&mut message);
        Self { message }
    }

    fn round(&mut self) -> u64 {
        let words = hash(&self.message);
        for (bytes, word) in self.message.chunks_exact_mut(4).zip(words) {
            bytes.copy_from_slice(&word.to_be_bytes());
        }
        u64::from(words[0]) << 32 | u64::from(words[1])
    }
}

/// The digest of some bytes in hexadecimal.
pub(crate) fn hex(message: &[u8]) -> String {
    hash(message).iter().map(|word| format!("{word:08x}")).collect()
}

/// The first 64 primes, from which the constants of the standard are derived.
const PRIMES: [u64; 64] = primes();

/// K (4.2.2): the first 32 fractional bits of the cube roots of the first 64 primes.
const ROUND_KEYS: [u32; 64] = round_keys();

/// H(0) (5.3.3): the first 32 fractional bits of the square roots of the first eight primes.
const INITIAL: [u32; 8] = initial_state();

/// The digest of `message` as eight big-endian words.
fn hash(message: &[u8]) -> [u32; 8] {
    let mut state = INITIAL;
    let mut blocks = message.chunks_exact(64);
    for block in &mut blocks {
        compress(&mut state, block);
    }
    // Padding (5.1.1): a one bit, zeros, and the length in bits in the last eight bytes.
    let rest = blocks.remainder();
    let mut tail = [0; 128];
    tail[..rest.len()].copy_from_slice(rest);
    tail[rest.len()] = 0x80;
    let end = if rest.len() < 56 { 64 } else { 128 };
    tail[end - 8..end].copy_from_slice(&(message.len() as u64 * 8).to_be_bytes());
    for block in tail[..end].chunks_exact(64) {
        compress(&mut state, block);
    }
    state
}

/// Works one block of 64 bytes into the state (6.2.2).
fn compress(state: &mut [u32; 8], block: &[u8]) {
    let schedule = schedule(block);
    let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = *state;
    for (key, word) in ROUND_KEYS.iter().zip(schedule) {
        let choice = (e & f) ^ (!e & g);
        let majority = (a & b) ^ (a & c) ^ (b & c);
        let sum1 = e.rotate_right(6) ^ e.rotate_right(11) ^ e.rotate_right(25);
        let sum0 = a.rotate_right(2) ^ a.rotate_right(13) ^ a.rotate_right(22);
        let t1 = h
            .wrapping_add(sum1)
            .wrapping_add(choice)
            .wrapping_add(*key)
            .wrapping_add(word);
        let t2 = sum0.wrapping_add(majority);
        (h, g, f, e) = (g, f, e, d.wrapping_add(t1));
        (d, c, b, a) = (c, b, a, t1.wrapping_add(t2));
    }
    for (word, change) in state.iter_mut().zip([a, b, c, d, e, f, g, h]) {
        *word = word.wrapping_add(change);
    }
}

/// The message schedule W of a block.
fn schedule(block: &[u8]) -> [u32; 64] {
    let mut w = [0; 64];
    for (word, bytes) in w.iter_mut().zip(block.chunks_exact(4)) {
        *word = bytes.iter().fold(0, |word, &byte| word << 8 | u32::from(byte));
    }
    for t in 16..64 {
        let small0 = w[t - 15].rotate_right(7) ^ w[t - 15].rotate_right(18) ^ (w[t - 15] >> 3);
        let small1 = w[t - 2].rotate_right(17) ^ w[t - 2].rotate_right(19) ^ (w[t - 2] >> 10);
        w[t] = w[t - 16]
            .wrapping_add(small0)
            .wrapping_add(w[t - 7])
            .wrapping_add(small1);
    }
    w
}

const fn primes() -> [u64; 64] {
    let mut primes = [0; 64];
    let (mut found, mut candidate) = (0, 2);
    while found < 64 {
        let mut divisor = 2;
        while candidate % divisor != 0 {
            divisor += 1;
        }
        if divisor == candidate {
            primes[found] = candidate;
            found += 1;
        }
        candidate += 1;
    }
    primes
}

const fn round_keys() -> [u32; 64] {
    let mut keys = [0; 64];
    let mut i = 0;
    while i < 64 {
        keys[i] = integer_root((PRIMES[i] as u128) << 96, 3) as u32;
        i += 1;
    }
    keys
}

const fn initial_state() -> [u32; 8] {
    let mut state = [0; 8];
    let mut i = 0;
    while i < 8 {
        state[i] = integer_root((PRIMES[i] as u128) << 64, 2) as u32;
        i += 1;
    }
    state
}

/// The largest integer below 2^38 whose `power`-th power (2 or 3) does not exceed `x`.
const fn integer_root(x: u128, power: u32) -> u128 {
    let mut root = 0;
    let mut bit = 1 << 37;
    while bit > 0 {
        let tried: u128 = root | bit;
        if tried.pow(power) <= x {
            root = tried;
        }
        bit >>= 1;
    }
    root
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_are_those_printed_in_the_standard() {
        assert_eq!(INITIAL[0], 0x6a09_e667);
        assert_eq!(INITIAL[7], 0x5be0_cd19);
        assert_eq!(ROUND_KEYS[0], 0x428a_2f98);
        assert_eq!(ROUND_KEYS[63], 0xc671_78f2);
    }

    #[test]
    fn digests_are_those_of_the_standard() {
        // Examples of FIPS 180-4: no block, one block, two blocks, and the million times "a".
        let cases: [(&[u8], &str); 4] = [
            (
                b"",
                "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            ),
            (
                b"abc",
                "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            ),
            (
                b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
                "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1",
            ),
            (
                &[b'a'; 1_000_000],
                "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0",
            ),
        ];
        for (message, digest) in cases {
            assert_eq!(hex(message), digest, "{} bytes", message.len());
        }
    }

    #[test]
    fn the_last_byte_before_the_padding_grows_a_block_counts() {
        let digests: Vec<_> = (54..67).map(|length| hex(&vec![b'x'; length])).collect();
        assert!(digests.windows(2).all(|pair| pair[0] != pair[1]));
    }
}
