//! BLIS, looked up at run time as OpenBLAS is.
//!
//! Interface: `cblas.h` for the products, and from `blis.h` the version, the kernels chosen for this CPU and the number of
//! threads. BLIS counts in words of the machine there (`dim_t`, `gint_t`).

use super::Provider;
use super::cblas::{Cblas, Dialect, candidates};
use super::library::{GetText, Wanted, text};
use crate::error::Result;
use libloading::Library;
use std::ffi::{c_char, c_int};

/// The Debian package.
pub const REMEDY: &str = "apt install libblis4-pthread";

const NAMES: [&str; 3] = ["libblis.so.4", "libblis.so.5", "libblis.so"];
const DIRECTORIES: [&str; 3] = ["blis-pthread", "blis-openmp", "blis-serial"];

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
        name: "BLIS",
        candidates,
        remedy: REMEDY,
    };
    Cblas::load(&wanted, dialect)
}

/// `dim_t` is as wide as a pointer unless BLIS was configured otherwise, which no distribution does.
type SetThreads = unsafe extern "C" fn(isize);
type GetFlag = unsafe extern "C" fn() -> isize;
/// `arch_t` is an enumeration.
type GetArch = unsafe extern "C" fn() -> c_int;
type ArchName = unsafe extern "C" fn(c_int) -> *const c_char;

fn dialect(library: &Library) -> std::result::Result<Dialect, libloading::Error> {
    // SAFETY: each type is that of the function in blis.h; the functions that are kept live as long as the library,
    // which the caller keeps with them.
    let (set_threads, version, arch, arch_name, threading) = unsafe {
        (
            *library.get::<SetThreads>(b"bli_thread_set_num_threads\0")?,
            *library.get::<GetText>(b"bli_info_get_version_str\0")?,
            *library.get::<GetArch>(b"bli_arch_query_id\0")?,
            *library.get::<ArchName>(b"bli_arch_string\0")?,
            library.get::<GetFlag>(b"bli_info_get_enable_threading\0").ok(),
        )
    };
    // SAFETY: these functions may be called at any time and return constants; the number of an architecture comes from
    // the library itself.
    let (version, kernel, is_serial) = unsafe {
        (
            text(version()),
            text(arch_name(arch())),
            threading.is_some_and(|get| get() == 0),
        )
    };
    Ok(Dialect {
        provider: Provider::Blis,
        name: format!("BLIS {version} ({kernel})"),
        // SAFETY: may be called between products; the caller keeps other threads from multiplying meanwhile. An int
        // fits into a word.
        set_threads: Box::new(move |threads| unsafe { set_threads(threads as isize) }),
        is_serial,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::blas::Gemm;
    use crate::blas::stub::{Stub, installed};

    #[test]
    fn the_installed_library_multiplies_and_has_a_name() {
        // Loading has checked the products already.
        let Some(engine) = installed(load(), "libblis4-pthread") else {
            return;
        };
        assert!(engine.name().starts_with("BLIS "), "{}", engine.name());
        assert!(!engine.name().contains("unknown"), "{}", engine.name());
    }

    #[test]
    fn a_stub_is_called_with_the_right_shapes() {
        let Some(stub) = Stub::build("blis", "") else {
            return;
        };
        let engine = load_from(&stub.candidates()).unwrap();
        assert_eq!(engine.name(), "BLIS 9.9 (stubwell)");
        assert_eq!(engine.provider(), Provider::Blis);
        let mut c = [0.0; 9];
        let unit = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0];
        let b = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0];
        engine.dgemm(3, &unit, &b, &mut c, 2).unwrap();
        assert_eq!(c, b);
        assert_eq!(stub.last_call(), "dgemm 101 111 111 3 3 3 3 3 3 threads 2");
    }

    #[test]
    fn a_missing_or_wrong_one_says_what_to_install() {
        let message = load_from(&["libblis-none.so.4".to_owned()])
            .unwrap_err()
            .to_string();
        assert!(message.contains(REMEDY), "{message}");
        let Some(stub) = Stub::build("blis", "WRONG") else {
            return;
        };
        let message = load_from(&stub.candidates()).unwrap_err().to_string();
        assert!(
            message.contains("BLIS 9.9") && message.contains("wrong"),
            "{message}"
        );
    }
}
