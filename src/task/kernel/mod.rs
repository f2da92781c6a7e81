//! The built-in kernels: small, well-known computations that stand for the work of a device.
//!
//! A kernel does its work in *rounds* of roughly 20 to 200 µs on a 2.5 GHz core. Each round's input depends on
//! the result of the round before, so none can be skipped. All arithmetic is on integers or, in a few kernels, of the
//! kind that IEEE 754 fixes to the last bit (see `numbers.rs`), so the results are bit-identical on every machine.
//! Each is written from its public definition, which its line in the list names; the families are those of the
//! TACLeBench collection (Falk et al., WCET 2016).
//!
//! To add a kernel: write a file with a type that is [`Rounds`], and add its line to the list below.

mod adpcm;
mod aes128;
mod bits;
mod dct;
mod dijkstra;
mod fft;
mod fir2d;
mod huffman;
mod iir;
mod inverse3;
mod lift;
mod lms;
mod lu;
mod matmul;
mod numbers;
mod power_window;
pub(crate) mod sha256;
mod sort;

use clap::ValueEnum;
use clap::builder::PossibleValue;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A kernel under way.
pub(crate) trait Rounds {
    /// The kernel's first input, made from `seed` alone.
    fn new(seed: u64) -> Self
    where
        Self: Sized;

    /// One round on the present input; its checksum becomes part of the next input.
    fn round(&mut self) -> u64;
}

/// Makes the enum [`Kernel`] and everything that has one entry per kernel from one list: what it is, its variant, its
/// name, its type, the reference cycles of a round, and where it is defined.
macro_rules! kernels {
    ($(#[doc = $about:literal] $variant:ident, $name:literal, $rounds:ty, $cycles:literal, $source:literal;)*) => {
        /// A built-in kernel.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum Kernel {
            $(#[doc = $about] #[serde(rename = $name)] $variant,)*
        }

        impl Kernel {
            /// Every kernel, in the order of their definition.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The name in files, messages and on the command line.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            /// What a round computes.
            pub const fn about(self) -> &'static str {
                match self {
                    $(Self::$variant => $about.trim_ascii(),)*
                }
            }

            /// Where the algorithm is defined.
            pub const fn source(self) -> &'static str {
                match self {
                    $(Self::$variant => $source,)*
                }
            }

            /// Cycles of one round on the reference processor, see [`CostModel::reference`](super::CostModel::reference).
            pub const fn reference_cycles(self) -> u32 {
                match self {
                    $(Self::$variant => $cycles,)*
                }
            }

            /// A new run of the kernel on the input made from `seed`.
            pub(crate) fn start(self, seed: u64) -> Box<dyn Rounds> {
                match self {
                    $(Self::$variant => Box::new(<$rounds>::new(seed)),)*
                }
            }
        }
    };
}

kernels! {
    /// Product of two 48x48 matrices of whole numbers
    Matmul, "matmul", matmul::Matmul, 38_000, "Golub, Van Loan: Matrix Computations, 1.1";
    /// SHA-256 of 8 kB
    Sha256, "sha256", sha256::Sha256, 63_000, "FIPS 180-4";
    /// Two Fourier transforms of 1024 complex points, fixed point
    Fft, "fft", fft::Fft, 81_000, "Cooley, Tukey 1965";
    /// Shortest paths on a dense graph of 128 nodes
    Dijkstra, "dijkstra", dijkstra::Dijkstra, 52_500, "Dijkstra 1959";
    /// Insertion sort of 512 numbers
    InsertionSort, "insertion-sort", sort::InsertionSort, 65_500, "Knuth: TAOCP 3, 5.2.1";
    /// Quicksort of 2048 numbers
    QuickSort, "quick-sort", sort::QuickSort, 197_000, "Hoare 1962";
    /// Bitonic sorting network for 1024 numbers
    BitonicSort, "bitonic-sort", sort::BitonicSort, 45_500, "Batcher 1968";
    /// Bits of 1024 words counted in three ways and reversed
    BitCount, "bit-count", bits::BitCount, 71_000, "Knuth: TAOCP 4A, 7.1.3";
    /// CRC-32 of 16 kB
    Crc32, "crc32", bits::Crc32, 80_500, "IEEE 802.3; Sarwate 1988";
    /// Two-dimensional FIR filter, 5x5 on 96x96 pixels, fixed point
    Fir2d, "fir2d", fir2d::Fir2d, 200_000, "Oppenheim, Schafer: Discrete-Time Signal Processing, 6";
    /// Four biquads (Butterworth, order 8) over 3072 samples, fixed point
    Iir, "iir", iir::Iir, 56_500, "Bristow-Johnson: Audio EQ Cookbook";
    /// Adaptive filter (least mean squares) of 32 taps over 1024 samples, fixed point
    Lms, "lms", lms::Lms, 82_000, "Widrow, Hoff 1960";
    /// 56 linear equations by LU decomposition with pivoting, floating point
    Lu, "lu", lu::Lu, 49_500, "Golub, Van Loan: Matrix Computations, 3.4";
    /// Inverses of 1024 3x3 matrices, floating point
    Inverse3, "inverse3", inverse3::Inverse3, 63_500, "Cramer's rule";
    /// Discrete cosine transform of 64 blocks of 8x8 pixels, fixed point
    Dct, "dct", dct::Dct, 48_500, "ITU-T T.81 (JPEG), A.3.3";
    /// AES-128 (CBC) of 2 kB and back, checked
    Aes128, "aes128", aes128::Aes128, 64_500, "FIPS 197";
    /// IMA ADPCM of 2048 samples and back, checked
    Adpcm, "adpcm", adpcm::Adpcm, 80_000, "IMA recommended practices 1992";
    /// Huffman code of 1536 symbols, encoded, decoded and checked
    Huffman, "huffman", huffman::Huffman, 68_000, "Huffman 1952; RFC 1951, 3.2.2";
    /// State machine: 6144 ticks of a lift with 12 floors
    Lift, "lift", lift::Lift, 59_000, "Knuth: TAOCP 1, 2.2.5";
    /// State machine: 1536 ticks of four power windows
    PowerWindow, "power-window", power_window::PowerWindow, 90_500, "FMVSS 118 (reversal)";
}

/// A name that belongs to no kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownKernel(String);

impl fmt::Display for UnknownKernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = Kernel::ALL.iter().map(|kernel| kernel.name()).collect();
        write!(
            f,
            "there is no kernel {:?}; choose one of {}",
            self.0,
            names.join(", ")
        )
    }
}

impl std::error::Error for UnknownKernel {}

impl FromStr for Kernel {
    type Err = UnknownKernel;

    fn from_str(name: &str) -> Result<Self, UnknownKernel> {
        let found = Self::ALL.iter().find(|kernel| kernel.name() == name);
        found.copied().ok_or_else(|| UnknownKernel(name.to_owned()))
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl ValueEnum for Kernel {
    fn value_variants<'a>() -> &'a [Self] {
        Self::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.name()))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_same_everywhere() {
        for &kernel in Kernel::ALL {
            assert_eq!(kernel.to_string(), kernel.name());
            assert_eq!(kernel.name().parse(), Ok(kernel));
            assert_eq!(<Kernel as ValueEnum>::from_str(kernel.name(), false), Ok(kernel));
            assert_eq!(
                serde_json::to_string(&kernel).unwrap(),
                format!("{:?}", kernel.name())
            );
        }
        let error = "fourier".parse::<Kernel>().unwrap_err().to_string();
        assert!(
            error.contains("\"fourier\"") && error.contains("matmul, sha256, fft, dijkstra"),
            "{error}"
        );
    }

    #[test]
    fn every_round_depends_on_the_seed_and_on_the_round_before() {
        for &kernel in Kernel::ALL {
            let (mut one, mut other) = (kernel.start(1), kernel.start(2));
            let mut seen = std::collections::HashSet::new();
            for round in 0..20 {
                assert!(
                    seen.insert(one.round()),
                    "{kernel} repeats itself in round {round}"
                );
                assert!(
                    seen.insert(other.round()),
                    "{kernel} ignores its seed in round {round}"
                );
            }
        }
    }
}
