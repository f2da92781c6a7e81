//! The work of `matmul.wasm`, which the benchmark runs natively too: nothing here knows of WebAssembly.

/// Rows and columns.
const N: usize = 128;
/// How often the matrix is squared.
const ROUNDS: usize = 16;

/// Fills a matrix with the payload, again and again from its beginning, squares it some times, and digests it.
pub fn task(payload: &[u8]) -> u64 {
    let mut a = vec![0_u32; N * N];
    for (cell, byte) in a.iter_mut().zip(payload.iter().cycle()) {
        *cell = u32::from(*byte);
    }
    let mut product = vec![0_u32; N * N];
    for _ in 0..ROUNDS {
        multiply(&a, &a, &mut product);
        a.copy_from_slice(&product);
    }
    digest(&a)
}

/// `c` becomes the product of two matrices, modulo 2^32. Four rows of `b` at a time, so that each turn of the innermost
/// loop has something to do.
fn multiply(a: &[u32], b: &[u32], c: &mut [u32]) {
    c.fill(0);
    for (row_c, row_a) in c.chunks_exact_mut(N).zip(a.chunks_exact(N)) {
        for (factors, rows) in row_a.chunks_exact(4).zip(b.chunks_exact(4 * N)) {
            let (b0, rows) = rows.split_at(N);
            let (b1, rows) = rows.split_at(N);
            let (b2, b3) = rows.split_at(N);
            for ((((cell, v0), v1), v2), v3) in row_c.iter_mut().zip(b0).zip(b1).zip(b2).zip(b3) {
                let one = factors[0]
                    .wrapping_mul(*v0)
                    .wrapping_add(factors[1].wrapping_mul(*v1));
                let other = factors[2]
                    .wrapping_mul(*v2)
                    .wrapping_add(factors[3].wrapping_mul(*v3));
                *cell = cell.wrapping_add(one.wrapping_add(other));
            }
        }
    }
}

/// FNV-1a over 64 bits, a word at a time.
fn digest(words: &[u32]) -> u64 {
    let step = |hash: u64, word: &u32| (hash ^ u64::from(*word)).wrapping_mul(0x0100_0000_01b3);
    words.iter().fold(0xcbf2_9ce4_8422_2325, step)
}
