//! The CBLAS interface, as OpenBLAS and BLIS offer it: one engine for both.

use super::library::Wanted;
use super::{Gemm, Provider, check_lengths, isolated, turn, verify};
use crate::error::{Error, Result};
use libloading::Library;
use std::ffi::c_int;
use std::fmt;

/// `CblasRowMajor` and `CblasNoTrans`.
const ROW_MAJOR: c_int = 101;
const NOT_TRANSPOSED: c_int = 111;

/// `cblas_sgemm` or `cblas_dgemm`: order, transposition of A and B, M, N, K, alpha, A, lda, B, ldb, beta, C, ldc.
type CblasGemm<T> = unsafe extern "C" fn(
    c_int,
    c_int,
    c_int,
    c_int,
    c_int,
    c_int,
    T,
    *const T,
    c_int,
    *const T,
    c_int,
    T,
    *mut T,
    c_int,
);

/// What the libraries do not have in common.
pub(super) struct Dialect {
    /// Which of the two it is.
    pub provider: Provider,
    /// Version and kernel.
    pub name: String,
    /// Sets the number of threads of the whole library.
    pub set_threads: Box<dyn Fn(c_int) + Send + Sync>,
    /// Built without threads.
    pub is_serial: bool,
}

/// A loaded library whose products have been checked.
pub struct Cblas {
    dialect: Dialect,
    path: String,
    sgemm: CblasGemm<f32>,
    dgemm: CblasGemm<f64>,
    /// Keeps the functions above, and those in `dialect`, in memory. Declared last, so dropped last.
    _library: Library,
}

impl fmt::Debug for Cblas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cblas")
            .field("name", &self.dialect.name)
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// Finds what is particular to a library in it.
pub(super) type Resolve = fn(&Library) -> std::result::Result<Dialect, libloading::Error>;

impl Cblas {
    /// Loads the library and checks its products, in a child process first.
    pub(super) fn load(wanted: &Wanted, resolve: Resolve) -> Result<Self> {
        isolated::try_out(wanted.name, || {
            Self::load_here(wanted, resolve).map(std::mem::forget)
        })?;
        Self::load_here(wanted, resolve)
    }

    fn load_here(wanted: &Wanted, resolve: Resolve) -> Result<Self> {
        // SAFETY: the initialisers of BLAS libraries only inspect the CPU and the environment and start threads.
        let (library, path) = unsafe { wanted.open() }?;
        let found = resolve(&library).and_then(|dialect| {
            // SAFETY: each type is that of the function in cblas.h with 32-bit integers; the functions live as long
            // as `_library`, which moves into the result with them.
            let gemm = unsafe { (*library.get(b"cblas_sgemm\0")?, *library.get(b"cblas_dgemm\0")?) };
            Ok((dialect, gemm))
        });
        let (dialect, (sgemm, dgemm)) = found.map_err(|missing| wanted.incomplete(&path, &missing))?;
        let engine = Self {
            dialect,
            path,
            sgemm,
            dgemm,
            _library: library,
        };
        verify(&engine)?;
        Ok(engine)
    }

    /// The name or path under which the library was found.
    pub fn path(&self) -> &str {
        &self.path
    }

    fn multiply<T>(
        &self,
        gemm: CblasGemm<T>,
        factors: [T; 2],
        n: usize,
        matrices: Matrices<T>,
        threads: usize,
    ) -> Result<()> {
        let (a, b, c) = matrices;
        check_lengths(n, [a.len(), b.len(), c.len()])?;
        let (side, threads) = (int(n, "rows")?, int(threads.max(1), "threads")?);
        if self.dialect.is_serial && threads > 1 {
            let why = format!("this build of {} has no threads", self.dialect.name);
            return Err(Error::unsupported(format!("{threads} threads"), why));
        }
        if n == 0 {
            return Ok(());
        }
        let [alpha, beta] = factors;
        let _turn = turn();
        (self.dialect.set_threads)(threads);
        // SAFETY: the slices have side * side elements, which leading dimensions of `side` stay within; `c` is
        // borrowed exclusively; the library keeps no pointer after it returns.
        unsafe {
            gemm(
                ROW_MAJOR,
                NOT_TRANSPOSED,
                NOT_TRANSPOSED,
                side,
                side,
                side,
                alpha,
                a.as_ptr(),
                side,
                b.as_ptr(),
                side,
                beta,
                c.as_mut_ptr(),
                side,
            );
        }
        Ok(())
    }
}

/// The interface counts in 32 bits.
pub(super) fn int(value: usize, of_what: &str) -> Result<c_int> {
    c_int::try_from(value)
        .map_err(|_| Error::unsupported(format!("{value} {of_what}"), "BLAS counts in 32 bits"))
}

/// A, B and C of a product.
type Matrices<'a, T> = (&'a [T], &'a [T], &'a mut [T]);

impl Gemm for Cblas {
    fn provider(&self) -> Provider {
        self.dialect.provider
    }

    fn name(&self) -> String {
        self.dialect.name.clone()
    }

    fn max_threads(&self) -> usize {
        if self.dialect.is_serial { 1 } else { usize::MAX }
    }

    fn sgemm(&self, n: usize, a: &[f32], b: &[f32], c: &mut [f32], threads: usize) -> Result<()> {
        self.multiply(self.sgemm, [1.0, 0.0], n, (a, b, c), threads)
    }

    fn dgemm(&self, n: usize, a: &[f64], b: &[f64], c: &mut [f64], threads: usize) -> Result<()> {
        self.multiply(self.dgemm, [1.0, 0.0], n, (a, b, c), threads)
    }
}

/// Names for the loader's search path, then the same files where Debian keeps them for each flavour.
///
/// Debian's alternatives link the plain name to one flavour; the directories are tried for installations without.
pub(super) fn candidates(names: &[&str], directories: &[&str]) -> Vec<String> {
    let triplet = match std::env::consts::ARCH {
        "arm" => "arm-linux-gnueabihf".to_owned(),
        arch => format!("{arch}-linux-gnu"),
    };
    let in_directories = directories.iter().flat_map(|directory| {
        names
            .iter()
            .map(move |name| (directory, name))
            .collect::<Vec<_>>()
    });
    let paths = in_directories.map(|(directory, name)| format!("/usr/lib/{triplet}/{directory}/{name}"));
    names.iter().map(ToString::to_string).chain(paths).collect()
}
