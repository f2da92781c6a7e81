//! The engine that is always there: the crate `gemm`, in Rust, with kernels for NEON, AVX2 and AVX-512.

use super::{Gemm, Provider, check_lengths};
use crate::error::{Error, Result};
use gemm::Parallelism;
use rayon::{ThreadPool, ThreadPoolBuilder};
use std::sync::{Mutex, PoisonError};

/// The crate `gemm`. Products on several threads take turns.
#[derive(Default)]
pub struct Builtin {
    /// Kept between products: starting threads takes longer than a small product.
    pool: Mutex<Option<ThreadPool>>,
}

impl Builtin {
    /// The engine; threads start when first asked for.
    pub fn new() -> Self {
        Self::default()
    }

    /// Calls `product` where it can use `threads` threads.
    fn on_threads(&self, threads: usize, product: impl FnOnce(Parallelism) + Send) -> Result<()> {
        if threads <= 1 {
            product(Parallelism::None);
            return Ok(());
        }
        let mut pool = self.pool.lock().unwrap_or_else(PoisonError::into_inner);
        let pool = match pool.take().filter(|pool| pool.current_num_threads() == threads) {
            Some(fitting) => pool.insert(fitting),
            None => pool.insert(new_pool(threads)?),
        };
        pool.install(|| product(Parallelism::Rayon(threads)));
        Ok(())
    }
}

fn new_pool(threads: usize) -> Result<ThreadPool> {
    let pool = ThreadPoolBuilder::new().num_threads(threads).build();
    pool.map_err(|e| Error::os(format!("starting {threads} threads"), std::io::Error::other(e)))
}

impl Gemm for Builtin {
    fn provider(&self) -> Provider {
        Provider::Builtin
    }

    fn name(&self) -> String {
        "builtin (crate gemm)".to_owned()
    }

    fn sgemm(&self, n: usize, a: &[f32], b: &[f32], c: &mut [f32], threads: usize) -> Result<()> {
        check_lengths(n, [a.len(), b.len(), c.len()])?;
        self.on_threads(threads, |parallelism| multiply(n, a, b, c, 1.0, parallelism))
    }

    fn dgemm(&self, n: usize, a: &[f64], b: &[f64], c: &mut [f64], threads: usize) -> Result<()> {
        check_lengths(n, [a.len(), b.len(), c.len()])?;
        self.on_threads(threads, |parallelism| multiply(n, a, b, c, 1.0, parallelism))
    }
}

/// `c = one a b`; the lengths must have been checked.
fn multiply<T: Copy + 'static>(n: usize, a: &[T], b: &[T], c: &mut [T], one: T, parallelism: Parallelism) {
    // A slice is at most isize::MAX bytes long, so its side fits.
    let row = n as isize;
    // SAFETY: the three slices have n * n elements, which strides of 1 (columns) and n (rows) stay within; `c` is
    // borrowed exclusively. `read_dst` is false, so the first factor is not used.
    unsafe {
        gemm::gemm(
            n,
            n,
            n,
            c.as_mut_ptr(),
            1,
            row,
            false,
            a.as_ptr(),
            1,
            row,
            b.as_ptr(),
            1,
            row,
            one,
            one,
            false,
            false,
            false,
            parallelism,
        );
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::blas::verify;

    #[test]
    fn products_are_right() {
        verify(&Builtin::new()).unwrap();
    }

    #[test]
    fn any_number_of_threads_gives_the_same_product() {
        let (n, engine) = (200, Builtin::new());
        let (a, b) = (crate::blas::test_matrix(n, 3), crate::blas::test_matrix(n, 4));
        let products = [1, 3, 2, 2].map(|threads| {
            let mut c = vec![0.0; n * n];
            engine.dgemm(n, &a, &b, &mut c, threads).unwrap();
            c
        });
        // The elements are multiples of 1/256, so every order of summation is exact.
        assert!(products.iter().all(|product| *product == products[0]));
    }

    #[test]
    fn short_matrices_are_refused() {
        assert!(
            Builtin::new()
                .sgemm(2, &[0.0; 4], &[0.0; 3], &mut [0.0; 4], 1)
                .is_err()
        );
        Builtin::new().dgemm(0, &[], &[], &mut [], 2).unwrap();
    }
}
