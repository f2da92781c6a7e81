//! OpenBLAS, looked up at run time, so that one binary serves boards with and without it.

use super::Provider;
use super::cblas::{Cblas, Dialect, candidates};
use super::library::{GetText, Wanted, text};
use crate::error::Result;
use libloading::Library;
use std::ffi::c_int;

/// The Debian package.
pub const REMEDY: &str = "apt install libopenblas0";

/// Debian's name and the one of development packages, then Fedora's of the build with threads.
const NAMES: [&str; 3] = ["libopenblas.so.0", "libopenblas.so", "libopenblasp.so.0"];
const DIRECTORIES: [&str; 2] = ["openblas-pthread", "openblas-openmp"];

/// Loads the library and checks its products, in a child process first.
///
/// [`Error::Unsupported`](crate::Error::Unsupported) if there is none, if it is broken or for another architecture, lacks
/// a function, crashes, or multiplies wrongly.
pub fn load() -> Result<Cblas> {
    load_from(&candidates(&NAMES, &DIRECTORIES))
}

/// The first of `candidates` that can be loaded decides.
pub(super) fn load_from(candidates: &[String]) -> Result<Cblas> {
    let wanted = Wanted {
        name: "OpenBLAS",
        candidates,
        remedy: REMEDY,
    };
    Cblas::load(&wanted, dialect)
}

type SetThreads = unsafe extern "C" fn(c_int);
type GetInt = unsafe extern "C" fn() -> c_int;

fn dialect(library: &Library) -> std::result::Result<Dialect, libloading::Error> {
    // SAFETY: each type is that of the function in cblas.h of OpenBLAS; the functions that are kept live as long as
    // the library, which the caller keeps with them.
    let (set_threads, config, core, parallel) = unsafe {
        (
            *library.get::<SetThreads>(b"openblas_set_num_threads\0")?,
            *library.get::<GetText>(b"openblas_get_config\0")?,
            *library.get::<GetText>(b"openblas_get_corename\0")?,
            library.get::<GetInt>(b"openblas_get_parallel\0").ok(),
        )
    };
    // SAFETY: these functions take nothing, may be called at any time, and return constants.
    let (config, core, is_serial) = unsafe {
        (
            text(config()),
            text(core()),
            parallel.is_some_and(|get| get() == 0),
        )
    };
    Ok(Dialect {
        provider: Provider::OpenBlas,
        name: format!("{} ({core})", version(&config)),
        // SAFETY: may be called between products; the caller keeps other threads from multiplying meanwhile.
        set_threads: Box::new(move |threads| unsafe { set_threads(threads) }),
        is_serial,
    })
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
    use crate::blas::Gemm;
    use crate::blas::stub::{Stub, installed};
    use crate::error::ErrorKind;

    #[test]
    fn the_installed_library_multiplies_and_has_a_name() {
        // Loading has checked the products already.
        let Some(engine) = installed(load(), "libopenblas0") else {
            return;
        };
        assert!(engine.name().starts_with("OpenBLAS 0."), "{}", engine.name());
        let error = engine
            .sgemm(2, &[0.0; 4], &[0.0; 4], &mut [0.0; 3], 1)
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        engine.dgemm(0, &[], &[], &mut [], 1).unwrap();
    }

    #[test]
    fn a_library_without_the_functions_is_refused_by_name() {
        let error = load_from(&["libc.so.6".to_owned()]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        let message = error.to_string();
        assert!(
            message.contains("libc.so.6") && message.contains("openblas_set_num_threads"),
            "{message}"
        );
    }

    #[test]
    fn a_stub_is_called_with_the_right_shapes() {
        let Some(stub) = Stub::build("openblas", "") else {
            return;
        };
        let engine = load_from(&stub.candidates()).unwrap();
        assert_eq!(engine.name(), "OpenBLAS 9.9.9 (Stub)");
        assert_eq!(
            (engine.provider(), engine.max_threads()),
            (Provider::OpenBlas, usize::MAX)
        );
        let mut c = [0.0; 4];
        engine
            .sgemm(2, &[1.0, 2.0, 3.0, 4.0], &[5.0, 6.0, 7.0, 8.0], &mut c, 3)
            .unwrap();
        assert_eq!(c, [19.0, 22.0, 43.0, 50.0]);
        assert_eq!(stub.last_call(), "sgemm 101 111 111 2 2 2 2 2 2 threads 3");
    }

    #[test]
    fn libraries_that_crash_answer_wrongly_or_exit_are_told_not_timed() {
        for (how, told) in [
            ("CRASH_AT_LOAD", "crashed"),
            ("CRASH", "crashed"),
            ("WRONG", "is wrong"),
            ("EXIT", "exit code 3"),
        ] {
            let Some(stub) = Stub::build("openblas", how) else {
                return;
            };
            let message = load_from(&stub.candidates()).unwrap_err().to_string();
            assert!(
                message.contains("OpenBLAS") && message.contains(told),
                "{how}: {message}"
            );
        }
    }

    #[test]
    fn a_build_without_threads_is_used_on_one() {
        let Some(stub) = Stub::build("openblas", "SERIAL") else {
            return;
        };
        let engine = load_from(&stub.candidates()).unwrap();
        assert_eq!(engine.max_threads(), 1);
        let error = engine
            .sgemm(1, &[1.0], &[1.0], &mut [0.0], 2)
            .unwrap_err()
            .to_string();
        assert!(error.contains("no threads"), "{error}");
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
