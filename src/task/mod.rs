//! Tasks: kernels, their cost, and task sets.
//!
//! ```text
//! set, generate or file: which tasks there are -> cost: how many rounds that is here -> run: rounds, paced -> checksum
//! ```
//!
//! What a task computes depends only on its [`Work`] and its payload, never on the machine, so that a device can
//! compare its own checksum with that of a server.

pub mod cost;
mod draw;
mod error;
pub mod file;
pub mod generate;
mod kernel;
mod limits;
mod mix;
pub mod pacer;
pub mod set;
pub mod wasm;
mod work;

pub use cost::CostModel;
pub use error::TaskError;
pub use kernel::{Kernel, UnknownKernel};
pub use limits::{KERNEL_MEMORY_BYTES, Limits};
pub use pacer::{InvalidSpeed, Speed};
pub use set::{SetRule, Task, TaskSet};
pub use work::{Content, InvalidContent, InvalidKernels, Kernels, MAX_STEPS, Program, Step, Work};

use pacer::Pacer;
use std::hash::Hasher as _;
use std::hint::black_box;
use twox_hash::XxHash3_64;

/// Payload bytes hashed between two questions whether to stop: well below 1 ms on any board.
const HASH_CHUNK: usize = 256 * 1024;

/// Does the work on the calling thread and returns its checksum.
///
/// Kernels make their input from `work.seed` and from every byte of `payload`; a module gets the payload as it is, and
/// the memory of [`Limits::default`] less the payload. At a `speed` below one the thread sleeps in between, so that
/// the whole takes its CPU time divided by `speed`. `stop` is asked at least about every millisecond of work and every
/// 4 ms of sleep; once it says yes, the work ends with [`TaskError::Stopped`].
pub fn run(work: &Work, payload: &[u8], speed: Speed, stop: &dyn Fn() -> bool) -> Result<u64, TaskError> {
    match &work.program {
        Program::Kernels(kernels) => {
            let mut pacer = Pacer::new(speed, stop);
            let hash = payload_hash(payload, &mut pacer).ok_or(TaskError::Stopped)?;
            run_kernels(kernels, input_seed(work.seed, hash), pacer).ok_or(TaskError::Stopped)
        }
        Program::Module(binary) => {
            let memory_bytes = Limits::default().memory_bytes.saturating_sub(payload.len());
            let done = binary.compile(stop)?.run(payload, memory_bytes, speed, stop)?;
            Ok(done.result.cast_unsigned())
        }
    }
}

/// The same for kernels on a payload whose hash is known already, such as one that was hashed while it arrived: they
/// need nothing else of it.
pub fn run_on_hash(
    kernels: &Kernels,
    seed: u64,
    payload_hash: u64,
    speed: Speed,
    stop: &dyn Fn() -> bool,
) -> Result<u64, TaskError> {
    let pacer = Pacer::new(speed, stop);
    run_kernels(kernels, input_seed(seed, payload_hash), pacer).ok_or(TaskError::Stopped)
}

/// One step after the other; each starts from the checksum of the one before. `None` when it is time to stop.
fn run_kernels(kernels: &Kernels, input_seed: u64, mut pacer: Pacer) -> Option<u64> {
    let mut checksum = input_seed;
    for step in kernels.steps() {
        let mut rounds = step.kernel.start(black_box(checksum));
        for _ in 0..step.rounds {
            pacer.step()?;
            checksum = black_box(rounds.round());
        }
    }
    pacer.finish()?;
    Some(checksum)
}

/// The XXH3-64 hash of the whole payload; `None` when it is time to stop.
fn payload_hash(payload: &[u8], pacer: &mut Pacer) -> Option<u64> {
    let mut hash = XxHash3_64::new();
    for chunk in payload.chunks(HASH_CHUNK) {
        pacer.step()?;
        hash.write(chunk);
    }
    Some(hash.finish())
}

/// What the first kernel starts from: the hash of the payload's hash under the seed of the work.
fn input_seed(seed: u64, payload_hash: u64) -> u64 {
    XxHash3_64::oneshot_with_seed(seed, &payload_hash.to_le_bytes())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::pacer::thread_cpu_time;
    use super::*;
    use std::cell::Cell;
    use std::time::Duration;

    fn checksum(kernel: Kernel, size: u64, seed: u64, payload: &[u8]) -> u64 {
        run(&Work::one(kernel, size, seed), payload, Speed::FULL, &|| false).unwrap()
    }

    #[test]
    fn checksums_are_the_same_on_every_machine() {
        let payload: Vec<u8> = (0..1000).map(|i| (i * 7) as u8).collect();
        let found: Vec<_> = Kernel::ALL
            .iter()
            .map(|&kernel| (kernel, checksum(kernel, 3, 42, &payload)))
            .collect();
        let known = [
            (Kernel::Matmul, 0x03e9_7993_27eb_ffe3),
            (Kernel::Sha256, 0x7d42_4b1f_be8b_6aa9),
            (Kernel::Fft, 0xbf60_d1db_fda3_7d61),
            (Kernel::Dijkstra, 0xd48e_26a5_6fac_285c),
            (Kernel::InsertionSort, 0x9d69_92b1_dba7_e37c),
            (Kernel::QuickSort, 0xdef3_d875_8c5b_e3ec),
            (Kernel::BitonicSort, 0xe945_398d_b677_8e0a),
            (Kernel::BitCount, 0x6d86_8e4a_ca0e_f0ed),
            (Kernel::Crc32, 0x292b_99e1_0233_bae1),
            (Kernel::Fir2d, 0xc10f_cb0f_a4b9_49fb),
            (Kernel::Iir, 0xa7b1_cd5e_5cc8_79f9),
            (Kernel::Lms, 0x7db2_efc5_5e24_1562),
            (Kernel::Lu, 0x6cbf_2364_6516_7c98),
            (Kernel::Inverse3, 0x600d_f17b_bf42_e84b),
            (Kernel::Dct, 0x6a39_ffb8_7453_d7d7),
            (Kernel::Aes128, 0x2a93_f377_4206_7358),
            (Kernel::Adpcm, 0xd63f_5d65_28da_4e69),
            (Kernel::Huffman, 0x59c8_d22d_9a36_7688),
            (Kernel::Lift, 0x19f2_5728_d4c2_7e3a),
            (Kernel::PowerWindow, 0x6157_6d95_18b1_1410),
        ];
        assert_eq!(found, known, "{found:#x?}");
    }

    #[test]
    fn the_hash_of_the_payload_is_all_that_kernels_need_of_it() {
        let payload = vec![5; 3 * HASH_CHUNK / 2];
        let hash = crate::offload::wire::payload_hash(&payload);
        let kernels = Kernels::one(Kernel::Fft, 2);
        let done = run_on_hash(&kernels, 1, hash, Speed::FULL, &|| false);
        assert_eq!(done.unwrap(), checksum(Kernel::Fft, 2, 1, &payload));
    }

    #[test]
    fn kernel_size_seed_and_every_payload_byte_matter() {
        let payload = vec![5; 3 * HASH_CHUNK / 2];
        let base = checksum(Kernel::Fft, 2, 1, &payload);
        assert_eq!(checksum(Kernel::Fft, 2, 1, &payload), base);
        assert_ne!(checksum(Kernel::Matmul, 2, 1, &payload), base);
        assert_ne!(checksum(Kernel::Fft, 3, 1, &payload), base);
        assert_ne!(checksum(Kernel::Fft, 2, 2, &payload), base);
        assert_ne!(checksum(Kernel::Fft, 2, 1, &payload[1..]), base);
        for at in [0, 1, HASH_CHUNK - 1, HASH_CHUNK, payload.len() - 1] {
            let mut changed = payload.clone();
            changed[at] ^= 1;
            assert_ne!(checksum(Kernel::Fft, 2, 1, &changed), base, "byte {at}");
        }
    }

    #[test]
    fn each_step_starts_from_the_checksum_of_the_one_before() {
        let all = |text: &str, seed| {
            let program = Program::Kernels(text.parse().unwrap());
            run(&Work { program, seed }, b"x", Speed::FULL, &|| false).unwrap()
        };
        let known = checksum(Kernel::Sha256, 2, 9, b"x");
        assert_eq!(all("sha256:2", 9), known);
        let mut fft = Kernel::Fft.start(known);
        fft.round();
        assert_eq!(all("sha256:2 fft:2", 9), fft.round());
        assert_ne!(all("sha256:2 fft:2", 9), all("fft:2 sha256:2", 9));
        assert_eq!(all("sha256:2 fft:0", 9), known);
    }

    #[test]
    fn nothing_at_all_still_has_a_checksum() {
        assert_ne!(
            checksum(Kernel::Sha256, 0, 1, b""),
            checksum(Kernel::Sha256, 0, 2, b"")
        );
    }

    #[test]
    fn speed_changes_the_time_and_not_the_result() {
        let work = Work::one(Kernel::Dijkstra, 20, 8);
        let slow = run(&work, b"x", Speed::new(0.2).unwrap(), &|| false);
        assert_eq!(slow, run(&work, b"x", Speed::FULL, &|| false));
        assert!(slow.is_ok());
    }

    #[test]
    fn stop_is_asked_about_every_millisecond() {
        for &kernel in Kernel::ALL {
            let asked = Cell::new(0u32);
            // CPU time: others may be using the processor.
            let began = thread_cpu_time();
            let stop = || {
                asked.set(asked.get() + 1);
                thread_cpu_time() - began > Duration::from_millis(40)
            };
            assert_eq!(
                run(&Work::one(kernel, u64::MAX, 1), b"", Speed::FULL, &stop),
                Err(TaskError::Stopped)
            );
            assert!(asked.get() >= 30, "{kernel}: asked {} times", asked.get());
        }
    }

    #[test]
    fn work_already_stopped_does_not_begin() {
        let work = Work::one(Kernel::Fft, 1, 1);
        assert_eq!(run(&work, b"", Speed::FULL, &|| true), Err(TaskError::Stopped));
    }
}
