//! The part of the CUDA runtime that a timed product needs, looked up at run time.
//!
//! Functions and numbers from NVIDIA's documentation of the runtime API; they are the same from CUDA 10 to 13. Only the
//! name of two functions got a suffix on the way, and the structure of a device's properties grew: its first field is the
//! name in all of them.

use super::library::{Wanted, text};
use crate::error::{Error, Result};
use libloading::Library;
use std::ffi::{c_char, c_int, c_void};
use std::ptr::null_mut;
use std::time::Duration;

/// `cudaMemcpyKind`.
const TO_DEVICE: c_int = 1;
const FROM_DEVICE: c_int = 2;

/// `cudaErrorInsufficientDriver` and `cudaErrorNoDevice`.
const DRIVER_TOO_OLD: c_int = 35;
const NO_DEVICE: c_int = 100;

/// Larger than `cudaDeviceProp` of any version (about 1 kB).
const PROPERTIES_BYTES: usize = 16384;

type Pointer = *mut c_void;

/// The functions used. All return 0 or an error number.
struct Functions {
    device_count: unsafe extern "C" fn(*mut c_int) -> c_int,
    properties: unsafe extern "C" fn(Pointer, c_int) -> c_int,
    driver_version: unsafe extern "C" fn(*mut c_int) -> c_int,
    error_string: unsafe extern "C" fn(c_int) -> *const c_char,
    malloc: unsafe extern "C" fn(*mut Pointer, usize) -> c_int,
    free: unsafe extern "C" fn(Pointer) -> c_int,
    copy: unsafe extern "C" fn(Pointer, *const c_void, usize, c_int) -> c_int,
    synchronize: unsafe extern "C" fn() -> c_int,
    event_create: unsafe extern "C" fn(*mut Pointer) -> c_int,
    event_record: unsafe extern "C" fn(Pointer, Pointer) -> c_int,
    event_synchronize: unsafe extern "C" fn(Pointer) -> c_int,
    event_elapsed: unsafe extern "C" fn(*mut f32, Pointer, Pointer) -> c_int,
    event_destroy: unsafe extern "C" fn(Pointer) -> c_int,
}

/// The loaded runtime, and a device to use.
pub(super) struct Cuda {
    functions: Functions,
    /// The device's name, such as `Orin`.
    pub device: String,
    _library: Library,
}

impl Cuda {
    /// Loads the runtime and makes sure that there is a device.
    pub fn load(wanted: &Wanted) -> Result<Self> {
        // SAFETY: the initialisers of the CUDA runtime only prepare its own state.
        let (library, path) = unsafe { wanted.open() }?;
        // SAFETY: the functions live as long as `_library`, which moves into the result with them.
        let functions = unsafe { resolve(&library) }.map_err(|missing| wanted.incomplete(&path, &missing))?;
        let mut cuda = Self {
            functions,
            device: String::new(),
            _library: library,
        };
        cuda.device = cuda.find_device()?;
        Ok(cuda)
    }

    fn find_device(&self) -> Result<String> {
        let mut count = 0;
        // SAFETY: writes one number.
        let code = unsafe { (self.functions.device_count)(&mut count) };
        if code == DRIVER_TOO_OLD {
            return Err(Error::unsupported("CUDA", self.old_driver()));
        }
        if code == NO_DEVICE || (code == 0 && count < 1) {
            let why = if crate::gpu::is_hidden() {
                "every GPU is hidden from this process (CUDA_VISIBLE_DEVICES)"
            } else {
                "no CUDA device; is the NVIDIA driver loaded, and may you open /dev/nvidia0 or /dev/nvhost-gpu \
                 (group video)?"
            };
            return Err(Error::unsupported("CUDA", why));
        }
        self.check("cudaGetDeviceCount", code)?;
        // Words, because the structure begins with text but holds pointers and sizes.
        let mut properties = vec![0u64; PROPERTIES_BYTES / 8];
        // SAFETY: the buffer is larger than the structure of any version, and aligned for it.
        let code = unsafe { (self.functions.properties)(properties.as_mut_ptr().cast(), 0) };
        self.check("cudaGetDeviceProperties", code)?;
        // SAFETY: the structure begins with `char name[256]`, which ends in NUL; the last word is 0 in any case.
        Ok(unsafe { text(properties.as_ptr().cast()) })
    }

    fn old_driver(&self) -> String {
        let mut version = 0;
        // SAFETY: writes one number.
        let is_known = unsafe { (self.functions.driver_version)(&mut version) } == 0 && version > 0;
        if is_known {
            let (major, minor) = (version / 1000, version % 1000 / 10);
            return format!(
                "the NVIDIA driver is for CUDA {major}.{minor}, older than this library; update the driver or install \
                 the CUDA libraries of {major}.{minor}"
            );
        }
        "there is no NVIDIA driver, or it is older than this library; install or update it".to_owned()
    }

    /// Turns an error number into an error with the runtime's words.
    fn check(&self, call: &str, code: c_int) -> Result<()> {
        if code == 0 {
            return Ok(());
        }
        // SAFETY: returns a constant text for every number.
        let words = unsafe { text((self.functions.error_string)(code)) };
        Err(Error::unsupported(
            call,
            format!("CUDA error {code}: {words}; see dmesg for what the driver says"),
        ))
    }

    /// Memory on the device for this many numbers.
    pub fn room<T>(&self, length: usize) -> Result<Room<'_, T>> {
        let mut pointer = null_mut();
        // SAFETY: writes one pointer.
        let code = unsafe { (self.functions.malloc)(&mut pointer, length * size_of::<T>()) };
        self.check("cudaMalloc", code)?;
        Ok(Room {
            cuda: self,
            pointer: pointer.cast(),
            length,
        })
    }

    /// Memory on the device with these numbers in it.
    pub fn copied<T>(&self, values: &[T]) -> Result<Room<'_, T>> {
        let room = self.room::<T>(values.len())?;
        // SAFETY: both places hold that many bytes.
        let code = unsafe {
            (self.functions.copy)(
                room.pointer.cast(),
                values.as_ptr().cast(),
                size_of_val(values),
                TO_DEVICE,
            )
        };
        self.check("cudaMemcpy to the device", code)?;
        Ok(room)
    }

    /// Waits until the device has done what it was asked.
    pub fn synchronize(&self) -> Result<()> {
        // SAFETY: takes nothing.
        self.check("cudaDeviceSynchronize", unsafe { (self.functions.synchronize)() })
    }

    /// A mark in the device's work.
    pub fn event(&self) -> Result<Event<'_>> {
        let mut pointer = null_mut();
        // SAFETY: writes one pointer.
        let code = unsafe { (self.functions.event_create)(&mut pointer) };
        self.check("cudaEventCreate", code)?;
        Ok(Event { cuda: self, pointer })
    }
}

/// # Safety
/// The functions must not be used after the library is gone.
unsafe fn resolve(library: &Library) -> std::result::Result<Functions, libloading::Error> {
    // SAFETY: each type is that of the function in the CUDA runtime API.
    unsafe {
        Ok(Functions {
            device_count: *library.get(b"cudaGetDeviceCount\0")?,
            properties: *library
                .get(b"cudaGetDeviceProperties\0")
                .or_else(|_| library.get(b"cudaGetDeviceProperties_v2\0"))?,
            driver_version: *library.get(b"cudaDriverGetVersion\0")?,
            error_string: *library.get(b"cudaGetErrorString\0")?,
            malloc: *library.get(b"cudaMalloc\0")?,
            free: *library.get(b"cudaFree\0")?,
            copy: *library.get(b"cudaMemcpy\0")?,
            synchronize: *library.get(b"cudaDeviceSynchronize\0")?,
            event_create: *library.get(b"cudaEventCreate\0")?,
            event_record: *library.get(b"cudaEventRecord\0")?,
            event_synchronize: *library.get(b"cudaEventSynchronize\0")?,
            event_elapsed: *library
                .get(b"cudaEventElapsedTime\0")
                .or_else(|_| library.get(b"cudaEventElapsedTime_v2\0"))?,
            event_destroy: *library.get(b"cudaEventDestroy\0")?,
        })
    }
}

/// Memory on the device, given back when dropped.
pub(super) struct Room<'a, T> {
    cuda: &'a Cuda,
    pointer: *mut T,
    length: usize,
}

impl<T> Room<'_, T> {
    pub fn pointer(&self) -> *mut T {
        self.pointer
    }

    /// Copies all numbers back; waits for the work that writes them.
    pub fn copy_to(&self, values: &mut [T]) -> Result<()> {
        if values.len() != self.length {
            let what = format!("copying {} numbers into {}", self.length, values.len());
            return Err(Error::unsupported(what, "the lengths differ"));
        }
        // SAFETY: both places hold that many bytes.
        let code = unsafe {
            (self.cuda.functions.copy)(
                values.as_mut_ptr().cast(),
                self.pointer.cast(),
                size_of_val(values),
                FROM_DEVICE,
            )
        };
        self.cuda.check("cudaMemcpy from the device", code)
    }
}

impl<T> Drop for Room<'_, T> {
    fn drop(&mut self) {
        // SAFETY: allocated by `room`, and freed once.
        let code = unsafe { (self.cuda.functions.free)(self.pointer.cast()) };
        if code != 0 {
            tracing::warn!("cudaFree failed with CUDA error {code}");
        }
    }
}

/// A mark in the device's work, removed when dropped.
pub(super) struct Event<'a> {
    cuda: &'a Cuda,
    pointer: Pointer,
}

impl Event<'_> {
    /// Marks the work given to the default stream so far.
    pub fn record(&self) -> Result<()> {
        // SAFETY: a living event; null is the default stream.
        self.cuda.check("cudaEventRecord", unsafe {
            (self.cuda.functions.event_record)(self.pointer, null_mut())
        })
    }

    /// The device's time from this mark to `later`, once it has got there.
    pub fn until(&self, later: &Self) -> Result<Duration> {
        // SAFETY: a living event.
        self.cuda.check("cudaEventSynchronize", unsafe {
            (self.cuda.functions.event_synchronize)(later.pointer)
        })?;
        let mut milliseconds = 0.0;
        // SAFETY: writes one number; both events live and are recorded.
        self.cuda.check("cudaEventElapsedTime", unsafe {
            (self.cuda.functions.event_elapsed)(&mut milliseconds, self.pointer, later.pointer)
        })?;
        Ok(Duration::try_from_secs_f32(milliseconds / 1e3).unwrap_or_default())
    }
}

impl Drop for Event<'_> {
    fn drop(&mut self) {
        // SAFETY: made by `event`, and destroyed once.
        unsafe { (self.cuda.functions.event_destroy)(self.pointer) };
    }
}
