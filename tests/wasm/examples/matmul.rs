//! A WebAssembly task in Rust: what `multiply.rs` computes, with the exports a task has. See build.sh.

#![deny(unsafe_op_in_unsafe_fn)]

mod multiply;

/// Room for the payload.
#[no_mangle]
pub extern "C" fn alloc(len: usize) -> *mut u8 {
    // One byte more: no room at all would have no address.
    Box::leak(vec![0; len + 1].into_boxed_slice()).as_mut_ptr()
}

/// The task.
///
/// # Safety
/// `payload` points to `len` readable bytes, which is what tasks are called with.
#[no_mangle]
pub unsafe extern "C" fn run(payload: *const u8, len: usize) -> i64 {
    // SAFETY: the caller's promise.
    multiply::task(unsafe { std::slice::from_raw_parts(payload, len) }) as i64
}
