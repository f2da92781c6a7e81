//! cuBLAS, looked up at run time: versions 10 (JetPack 4, so the Jetson Nano too) to 13.
//!
//! cuBLAS keeps matrices column by column. A row-major matrix read so is its transpose, and the transpose of `a b` is that
//! of `b` times that of `a`: the operands are swapped, and nothing is copied. Products are timed by events on the device,
//! between matrices that lie there already.

use super::cblas::int;
use super::cuda::Cuda;
use super::library::Wanted;
use super::{Gemm, Provider, Repeat, check_lengths, isolated, turn, verify};
use crate::error::{Error, Result};
use libloading::Library;
use std::ffi::{c_int, c_void};
use std::ptr::null_mut;
use std::sync::Mutex;
use std::time::Duration;

/// What brings it.
pub const REMEDY: &str = "on a Jetson apt install nvidia-jetpack (its CUDA part), elsewhere apt install nvidia-cuda-toolkit \
                          (Debian non-free)";

/// Pairs of cuBLAS and the CUDA runtime it belongs to, newest first.
const NAMES: [(&str, &[&str]); 4] = [
    ("libcublas.so.13", &["libcudart.so.13"]),
    ("libcublas.so.12", &["libcudart.so.12"]),
    ("libcublas.so.11", &["libcudart.so.11.0"]),
    (
        "libcublas.so.10",
        &["libcudart.so.10.2", "libcudart.so.10.1", "libcudart.so.10.0"],
    ),
];

/// Where NVIDIA's packages put them without telling the loader.
const DIRECTORIES: [&str; 3] = [
    "/usr/local/cuda/lib64",
    "/usr/local/cuda/targets/aarch64-linux/lib",
    "/usr/local/cuda/targets/x86_64-linux/lib",
];

/// `CUBLAS_OP_N`.
const NOT_TRANSPOSED: c_int = 0;

type Handle = *mut c_void;
type Create = unsafe extern "C" fn(*mut Handle) -> c_int;
type Destroy = unsafe extern "C" fn(Handle) -> c_int;
/// `libraryPropertyType` and where to write it: 0, 1 and 2 are the three parts of the version. (`cublasGetVersion` packs
/// them into one number, differently from version to version.)
type GetProperty = unsafe extern "C" fn(c_int, *mut c_int) -> c_int;
/// `cublasSgemm_v2` or `cublasDgemm_v2`: handle, transposition of A and B, m, n, k, alpha, A, lda, B, ldb, beta, C, ldc.
type CublasGemm<T> = unsafe extern "C" fn(
    Handle,
    c_int,
    c_int,
    c_int,
    c_int,
    c_int,
    *const T,
    *const T,
    c_int,
    *const T,
    c_int,
    *const T,
    *mut T,
    c_int,
) -> c_int;

/// A loaded cuBLAS with a handle, whose products have been checked.
pub struct Cublas {
    handle: Handle,
    sgemm: CublasGemm<f32>,
    dgemm: CublasGemm<f64>,
    destroy: Destroy,
    version: String,
    // Dropped in this order: cuBLAS before the runtime it stands on.
    _library: Library,
    cuda: Cuda,
}

// SAFETY: the handle may be used from any thread, one at a time: every use holds `turn`.
unsafe impl Send for Cublas {}
// SAFETY: as above.
unsafe impl Sync for Cublas {}

/// One cuBLAS and the CUDA runtimes that go with it.
pub(super) struct Pair {
    pub cublas: Vec<String>,
    pub cudart: Vec<String>,
}

/// Loads the newest cuBLAS that is there with its CUDA runtime, and checks its products, in a child process first.
///
/// [`Error::Unsupported`] if there is none, no runtime for it, no device, or the driver is too old; if it is broken,
/// crashes, or multiplies wrongly.
pub fn load() -> Result<Cublas> {
    let everywhere = |name: &str| -> Vec<String> {
        let paths = DIRECTORIES.iter().map(|directory| format!("{directory}/{name}"));
        std::iter::once(name.to_owned()).chain(paths).collect()
    };
    let pairs: Vec<Pair> = NAMES
        .iter()
        .map(|(cublas, cudart)| Pair {
            cublas: everywhere(cublas),
            cudart: cudart.iter().flat_map(|name| everywhere(name)).collect(),
        })
        .collect();
    load_from(&pairs)
}

/// Paths that a child process has found right. CUDA cannot be used in a child once its parent has used it, so what passed
/// once is not tried again.
static TRIED: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// The first pair whose cuBLAS is there decides.
pub(super) fn load_from(pairs: &[Pair]) -> Result<Cublas> {
    let key = pairs
        .iter()
        .map(|pair| pair.cublas.join(":"))
        .collect::<Vec<_>>()
        .join(":");
    let mut tried = TRIED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if !tried.contains(&key) {
        isolated::try_out("cuBLAS", || load_here(pairs).map(std::mem::forget))?;
    }
    let engine = load_here(pairs)?;
    tried.push(key);
    Ok(engine)
}

fn load_here(pairs: &[Pair]) -> Result<Cublas> {
    let all: Vec<String> = pairs.iter().flat_map(|pair| pair.cublas.clone()).collect();
    let cublas = wanted("cuBLAS", &all);
    // SAFETY: the initialisers of cuBLAS only prepare its own state.
    let (library, path) = unsafe { cublas.open() }?;
    let of_this = pairs.iter().find(|pair| pair.cublas.contains(&path));
    let cudart = of_this.map_or(&[][..], |pair| &pair.cudart);
    let cuda = Cuda::load(&wanted("the CUDA runtime", cudart))?;
    let engine = Cublas::new(library, cuda, &cublas, &path)?;
    verify(&engine)?;
    Ok(engine)
}

fn wanted<'a>(name: &'static str, candidates: &'a [String]) -> Wanted<'a> {
    Wanted {
        name,
        candidates,
        remedy: REMEDY,
    }
}

impl Cublas {
    fn new(library: Library, cuda: Cuda, wanted: &Wanted, path: &str) -> Result<Self> {
        // SAFETY: each type is that of the function in cublas_v2.h; the functions live as long as `_library`, which
        // moves into the result with them.
        let found = unsafe { resolve(&library) };
        let (create, destroy, get_property, sgemm, dgemm) =
            found.map_err(|missing| wanted.incomplete(path, &missing))?;
        let mut handle = null_mut();
        // SAFETY: writes one pointer.
        check("cublasCreate", unsafe { create(&mut handle) })?;
        let mut engine = Self {
            handle,
            sgemm,
            dgemm,
            destroy,
            version: String::new(),
            _library: library,
            cuda,
        };
        let mut parts = [0; 3];
        for (property, part) in (0..).zip(&mut parts) {
            // SAFETY: writes one number.
            check("cublasGetProperty", unsafe { get_property(property, part) })?;
        }
        engine.version = parts.map(|part| part.to_string()).join(".");
        Ok(engine)
    }

    /// Where the engine multiplies, such as `Orin`.
    pub fn device(&self) -> &str {
        &self.cuda.device
    }

    fn multiply<T: Copy>(
        &self,
        gemm: CublasGemm<T>,
        factors: [T; 2],
        n: usize,
        a: &[T],
        b: &[T],
        c: &mut [T],
    ) -> Result<()> {
        check_lengths(n, [a.len(), b.len(), c.len()])?;
        let side = int(n, "rows")?;
        if n == 0 {
            return Ok(());
        }
        let _turn = turn();
        let (a, b, product) = (
            self.cuda.copied(a)?,
            self.cuda.copied(b)?,
            self.cuda.room(c.len())?,
        );
        self.call(gemm, factors, side, [a.pointer(), b.pointer(), product.pointer()])?;
        self.cuda.synchronize()?;
        product.copy_to(c)
    }

    /// Asks for one product; does not wait for it.
    fn call<T: Copy>(
        &self,
        gemm: CublasGemm<T>,
        [alpha, beta]: [T; 2],
        side: c_int,
        [a, b, c]: [*mut T; 3],
    ) -> Result<()> {
        // SAFETY: the pointers are matrices of side * side numbers on the device; the factors are read before the call
        // returns, as is the default (CUBLAS_POINTER_MODE_HOST).
        let code = unsafe {
            gemm(
                self.handle,
                NOT_TRANSPOSED,
                NOT_TRANSPOSED,
                side,
                side,
                side,
                &alpha,
                b,
                side,
                a,
                side,
                &beta,
                c,
                side,
            )
        };
        check("the product", code)
    }

    fn repeat<'a, T: Copy + 'a>(
        &'a self,
        gemm: CublasGemm<T>,
        factors: [T; 2],
        n: usize,
        a: &[T],
        b: &[T],
    ) -> Result<Repeat<'a>> {
        check_lengths(n, [a.len(), b.len(), a.len()])?;
        let side = int(n, "rows")?;
        let (a, b, c) = (
            self.cuda.copied(a)?,
            self.cuda.copied(b)?,
            self.cuda.room::<T>(a.len())?,
        );
        let (begin, end) = (self.cuda.event()?, self.cuda.event()?);
        Ok(Box::new(move |times| -> Result<Duration> {
            let _turn = turn();
            begin.record()?;
            for _ in 0..times {
                self.call(gemm, factors, side, [a.pointer(), b.pointer(), c.pointer()])?;
            }
            end.record()?;
            begin.until(&end)
        }))
    }
}

impl Drop for Cublas {
    fn drop(&mut self) {
        // SAFETY: made by cublasCreate, and destroyed once.
        let code = unsafe { (self.destroy)(self.handle) };
        if code != 0 {
            tracing::warn!("cublasDestroy failed with status {code}");
        }
    }
}

type Functions = (Create, Destroy, GetProperty, CublasGemm<f32>, CublasGemm<f64>);

/// # Safety
/// The functions must not be used after the library is gone.
unsafe fn resolve(library: &Library) -> std::result::Result<Functions, libloading::Error> {
    // SAFETY: each type is that of the function in cublas_v2.h.
    unsafe {
        Ok((
            *library.get(b"cublasCreate_v2\0")?,
            *library.get(b"cublasDestroy_v2\0")?,
            *library.get(b"cublasGetProperty\0")?,
            *library.get(b"cublasSgemm_v2\0")?,
            *library.get(b"cublasDgemm_v2\0")?,
        ))
    }
}

/// `cublasStatus_t`.
fn check(call: &str, status: c_int) -> Result<()> {
    let words = match status {
        0 => return Ok(()),
        1 => "not initialised: the driver does not answer, or another program holds the GPU",
        3 => "out of memory on the device",
        7 => "invalid value",
        8 => "this version of cuBLAS does not support this GPU; install the one of your driver or JetPack",
        11 => "cannot reach the device's memory",
        13 => "the GPU program failed; see dmesg for what the driver says",
        14 => "internal error",
        15 => "not supported",
        16 => "licence error",
        _ => "unknown error",
    };
    Err(Error::unsupported(
        format!("cuBLAS, {call}"),
        format!("status {status}: {words}"),
    ))
}

impl Gemm for Cublas {
    fn provider(&self) -> Provider {
        Provider::Cublas
    }

    fn name(&self) -> String {
        format!("cuBLAS {} ({})", self.version, self.device())
    }

    fn max_threads(&self) -> usize {
        1
    }

    fn sgemm(&self, n: usize, a: &[f32], b: &[f32], c: &mut [f32], _threads: usize) -> Result<()> {
        self.multiply(self.sgemm, [1.0, 0.0], n, a, b, c)
    }

    fn dgemm(&self, n: usize, a: &[f64], b: &[f64], c: &mut [f64], _threads: usize) -> Result<()> {
        self.multiply(self.dgemm, [1.0, 0.0], n, a, b, c)
    }

    fn repeat_sgemm<'a>(&'a self, n: usize, a: &'a [f32], b: &'a [f32], _: usize) -> Result<Repeat<'a>> {
        self.repeat(self.sgemm, [1.0, 0.0], n, a, b)
    }

    fn repeat_dgemm<'a>(&'a self, n: usize, a: &'a [f64], b: &'a [f64], _: usize) -> Result<Repeat<'a>> {
        self.repeat(self.dgemm, [1.0, 0.0], n, a, b)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
