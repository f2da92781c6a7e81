//! OpenBLAS, looked up at run time, so that one binary serves boards with and without it.

use super::{Gemm, check_lengths, verify};
use crate::error::{Error, Result};
use libloading::Library;
use std::error::Error as _;
use std::ffi::{CStr, c_char, c_int};
use std::sync::{Mutex, PoisonError};

/// Where OpenBLAS may be: the loader's own search path first, then Debian's and Fedora's places and names.
const NAMES: [&str; 8] = [
    "libopenblas.so.0",
    "libopenblas.so",
    "/usr/lib/aarch64-linux-gnu/openblas-pthread/libopenblas.so.0",
    "/usr/lib/x86_64-linux-gnu/openblas-pthread/libopenblas.so.0",
    "/usr/lib/arm-linux-gnueabihf/openblas-pthread/libopenblas.so.0",
    "/usr/lib/aarch64-linux-gnu/openblas-openmp/libopenblas.so.0",
    "/usr/lib/x86_64-linux-gnu/openblas-openmp/libopenblas.so.0",
    "libopenblasp.so.0",
];

const REMEDY: &str = "apt install libopenblas0";

/// `CblasRowMajor` and `CblasNoTrans` of the CBLAS interface.
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
type SetThreads = unsafe extern "C" fn(c_int);
type GetInt = unsafe extern "C" fn() -> c_int;
type GetText = unsafe extern "C" fn() -> *const c_char;

/// A loaded OpenBLAS whose products have been checked.
#[derive(Debug)]
pub struct OpenBlas {
    sgemm: CblasGemm<f32>,
    dgemm: CblasGemm<f64>,
    set_threads: SetThreads,
    name: String,
    path: &'static str,
    /// Built without threads: more than one can be asked for, and is ignored.
    serial: bool,
    /// The number of threads is one setting of the whole library, so products take turns.
    turn: Mutex<()>,
    /// Keeps the functions above in memory.
    _library: Library,
}

impl OpenBlas {
    /// Loads the library and checks its products.
    ///
    /// [`Error::Unsupported`] if there is none, if it lacks a function, or if it multiplies wrongly.
    pub fn load() -> Result<Self> {
        Self::load_from(&NAMES)
    }

    /// The first of `names` that can be loaded decides.
    fn load_from(names: &[&'static str]) -> Result<Self> {
        let mut first_problem = None;
        for &name in names {
            // SAFETY: the initialisers of OpenBLAS only inspect the CPU and the environment and start threads.
            match unsafe { Library::new(name) } {
                Ok(library) => return Self::check(library, name),
                Err(problem) => first_problem.get_or_insert(problem),
            };
        }
        let problem = first_problem.as_ref().map(reason).unwrap_or_default();
        Err(Error::unsupported("OpenBLAS", format!("{problem}; {REMEDY}")))
    }

    fn check(library: Library, path: &'static str) -> Result<Self> {
        let engine = Self::resolve(library, path).map_err(|missing| {
            Error::unsupported(
                format!("OpenBLAS ({path})"),
                format!("{}; {REMEDY}", reason(&missing)),
            )
        })?;
        verify(&engine)?;
        Ok(engine)
    }

    fn resolve(library: Library, path: &'static str) -> std::result::Result<Self, libloading::Error> {
        // SAFETY: each type is that of the function in cblas.h of OpenBLAS with 32-bit integers; the functions
        // live as long as `_library`, which moves into the result with them.
        let (sgemm, dgemm, set_threads, config, core, parallel) = unsafe {
            (
                *library.get::<CblasGemm<f32>>("cblas_sgemm")?,
                *library.get::<CblasGemm<f64>>("cblas_dgemm")?,
                *library.get::<SetThreads>("openblas_set_num_threads")?,
                *library.get::<GetText>("openblas_get_config")?,
                *library.get::<GetText>("openblas_get_corename")?,
                library
                    .get::<GetInt>("openblas_get_parallel")
                    .ok()
                    .map(|parallel| *parallel),
            )
        };
        // SAFETY: these functions take nothing and may be called at any time.
        let (config, core, serial) =
            unsafe { (text(config), text(core), parallel.is_some_and(|get| get() == 0)) };
        let name = format!("{} ({core})", version(&config));
        Ok(Self {
            sgemm,
            dgemm,
            set_threads,
            name,
            path,
            serial,
            turn: Mutex::new(()),
            _library: library,
        })
    }

    /// The name or path under which the library was found.
    pub fn path(&self) -> &str {
        self.path
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
        let (side, threads) = (self.int(n, "rows")?, self.int(threads.max(1), "threads")?);
        if self.serial && threads > 1 {
            let why = "this build of OpenBLAS has no threads; apt install libopenblas0-pthread";
            return Err(Error::unsupported(format!("{threads} threads"), why));
        }
        if n == 0 {
            return Ok(());
        }
        let [alpha, beta] = factors;
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: the slices have side * side elements, which leading dimensions of `side` stay within; `c` is
        // borrowed exclusively; OpenBLAS keeps no pointer after it returns.
        unsafe {
            (self.set_threads)(threads);
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

    fn int(&self, value: usize, of_what: &str) -> Result<c_int> {
        c_int::try_from(value)
            .map_err(|_| Error::unsupported(format!("{value} {of_what}"), "OpenBLAS counts in 32 bits"))
    }
}

/// A, B and C of a product.
type Matrices<'a, T> = (&'a [T], &'a [T], &'a mut [T]);

impl Gemm for OpenBlas {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn sgemm(&self, n: usize, a: &[f32], b: &[f32], c: &mut [f32], threads: usize) -> Result<()> {
        self.multiply(self.sgemm, [1.0, 0.0], n, (a, b, c), threads)
    }

    fn dgemm(&self, n: usize, a: &[f64], b: &[f64], c: &mut [f64], threads: usize) -> Result<()> {
        self.multiply(self.dgemm, [1.0, 0.0], n, (a, b, c), threads)
    }
}

/// What the loader said; the error's own text only names the call.
fn reason(error: &libloading::Error) -> String {
    error
        .source()
        .map_or_else(|| error.to_string(), ToString::to_string)
}

/// The text a function of the library returns.
///
/// # Safety
/// `get` must return null or a string that ends in NUL and stays unchanged while it is read.
unsafe fn text(get: GetText) -> String {
    // SAFETY: promised by the caller.
    let text = unsafe { get() };
    if text.is_null() {
        return "unknown".to_owned();
    }
    // SAFETY: promised by the caller.
    unsafe { CStr::from_ptr(text) }
        .to_string_lossy()
        .trim()
        .to_owned()
}

/// `OpenBLAS 0.3.21` of a configuration such as `OpenBLAS 0.3.21 NO_LAPACKE DYNAMIC_ARCH Zen MAX_THREADS=64`.
fn version(config: &str) -> String {
    let mut words = config.split_whitespace();
    match (words.next(), words.next()) {
        (Some(name), Some(number)) if number.starts_with(|c: char| c.is_ascii_digit()) => {
            format!("{name} {number}")
        }
        _ => "OpenBLAS".to_owned(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    /// The installed library, or none with a note why the test ends here.
    fn installed() -> Option<OpenBlas> {
        match OpenBlas::load() {
            Ok(engine) => Some(engine),
            Err(e) if std::env::var("HWMETER_TEST_REQUIRE").is_ok_and(|what| what == "all") => panic!("{e}"),
            Err(_) => {
                eprintln!("skipped: needs libopenblas0 (apt install libopenblas0)");
                None
            }
        }
    }

    #[test]
    fn the_installed_library_multiplies_and_has_a_name() {
        // Loading has checked the products already.
        let Some(engine) = installed() else { return };
        assert!(engine.name().starts_with("OpenBLAS 0."), "{}", engine.name());
        let error = engine
            .sgemm(2, &[0.0; 4], &[0.0; 4], &mut [0.0; 3], 1)
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        engine.dgemm(0, &[], &[], &mut [], 1).unwrap();
    }

    #[test]
    fn a_missing_library_says_what_to_install() {
        let error = OpenBlas::load_from(&["libnosuchblas.so.0", "libopenblas-none.so"]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        let message = error.to_string();
        assert!(
            message.contains("libnosuchblas.so.0") && message.contains("apt install libopenblas0"),
            "{message}"
        );
    }

    #[test]
    fn a_library_without_the_functions_is_refused_by_name() {
        let error = OpenBlas::load_from(&["libc.so.6"]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        let message = error.to_string();
        assert!(
            message.contains("libc.so.6") && message.contains("cblas_sgemm"),
            "{message}"
        );
    }

    #[test]
    fn versions_are_found_in_configurations() {
        assert_eq!(
            version("OpenBLAS 0.3.21 NO_LAPACKE DYNAMIC_ARCH Zen MAX_THREADS=64"),
            "OpenBLAS 0.3.21"
        );
        assert_eq!(version(" NO_AFFINITY USE64BITINT"), "OpenBLAS");
        assert_eq!(version(""), "OpenBLAS");
    }
}
