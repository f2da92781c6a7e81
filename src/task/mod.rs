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
use std::hint::black_box;
use xxhash_rust::xxh3::Xxh3;

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
            let pacer = Pacer::new(speed, stop);
            run_kernels(kernels, work.seed, payload, pacer).ok_or(TaskError::Stopped)
        }
        Program::Module(binary) => {
            let memory_bytes = Limits::default().memory_bytes.saturating_sub(payload.len());
            let done = binary.compile(stop)?.run(payload, memory_bytes, speed, stop)?;
            Ok(done.result.cast_unsigned())
        }
    }
}

/// One step after the other; each starts from the checksum of the one before. `None` when it is time to stop.
fn run_kernels(kernels: &Kernels, seed: u64, payload: &[u8], mut pacer: Pacer) -> Option<u64> {
    let mut checksum = input_seed(seed, payload, &mut pacer)?;
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

/// The XXH3 hash of the whole payload under the seed of the work.
fn input_seed(seed: u64, payload: &[u8], pacer: &mut Pacer) -> Option<u64> {
    let mut hash = Xxh3::with_seed(seed);
    for chunk in payload.chunks(HASH_CHUNK) {
        pacer.step()?;
        hash.update(chunk);
    }
    Some(hash.digest())
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
            (Kernel::Matmul, 0x4530_c756_a0e9_65b4),
            (Kernel::Sha256, 0x1067_7530_cd5d_2aac),
            (Kernel::Fft, 0xd7c5_e548_a3cb_60e4),
            (Kernel::Dijkstra, 0x8b49_c4a6_e53a_798f),
            (Kernel::InsertionSort, 0xe3f7_347e_134a_718e),
            (Kernel::QuickSort, 0x3579_3065_7fc9_d881),
            (Kernel::BitonicSort, 0xdd4f_1237_75e7_08df),
            (Kernel::BitCount, 0x2f51_ad61_a2a7_15d9),
            (Kernel::Crc32, 0x4a8d_22a6_7628_15ea),
            (Kernel::Fir2d, 0x8068_03f6_e9d9_0a01),
            (Kernel::Iir, 0xddae_738e_de10_a3da),
            (Kernel::Lms, 0x808f_1e22_96a0_67df),
            (Kernel::Lu, 0x961c_2905_4e7b_f572),
            (Kernel::Inverse3, 0x8805_cbad_442a_e3a6),
            (Kernel::Dct, 0xbfb6_fe69_8eca_0f68),
            (Kernel::Aes128, 0x2620_885b_278f_bdde),
            (Kernel::Adpcm, 0xd541_6d6e_3720_733c),
            (Kernel::Huffman, 0x6169_17af_4546_064a),
            (Kernel::Lift, 0xf659_56b0_e50d_c620),
            (Kernel::PowerWindow, 0x54db_e206_b60e_cbe3),
        ];
        assert_eq!(found, known, "{found:#x?}");
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
