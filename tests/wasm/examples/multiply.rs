//! The work of `matmul.wasm`, which the benchmark runs natively too: nothing here knows of WebAssembly.

/// Rows and columns.
const N: usize = 128;

/// Fills a matrix A with the payload, again and again from its beginning, and digests A x A.
pub fn task(payload: &[u8]) -> u64 {
    let mut a = vec![0_u32; N * N];
    for (cell, byte) in a.iter_mut().zip(payload.iter().cycle()) {
        *cell = u32::from(*byte);
    }
    digest(&multiply(&a, &a))
}

/// The product of two matrices, modulo 2^32.
fn multiply(a: &[u32], b: &[u32]) -> Vec<u32> {
    let mut c = vec![0_u32; N * N];
    for (row_c, row_a) in c.chunks_exact_mut(N).zip(a.chunks_exact(N)) {
        for (factor, row_b) in row_a.iter().zip(b.chunks_exact(N)) {
            for (cell, value) in row_c.iter_mut().zip(row_b) {
                *cell = cell.wrapping_add(factor.wrapping_mul(*value));
            }
        }
    }
    c
}

/// FNV-1a over 64 bits, a word at a time.
fn digest(words: &[u32]) -> u64 {
    let step = |hash: u64, word: &u32| (hash ^ u64::from(*word)).wrapping_mul(0x0100_0000_01b3);
    words.iter().fold(0xcbf2_9ce4_8422_2325, step)
}
