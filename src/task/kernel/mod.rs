//! The built-in kernels: small, well-known computations that stand for the work of a device.
//!
//! A kernel does its work in *rounds* of roughly 20 to 200 µs on a 2.5 GHz core. Each round's input depends on
//! the result of the round before, so none can be skipped, and all arithmetic is on integers, so the results are
//! bit-identical on every machine.
//!
//! To add a kernel: write a file with a type that is [`Rounds`], and add its line to the list below.

mod dijkstra;
mod fft;
mod matmul;
mod sha256;

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

/// Makes the enum [`Kernel`] and everything that has one entry per kernel from one list.
macro_rules! kernels {
    ($($(#[$doc:meta])* $variant:ident, $name:literal, $rounds:ty;)*) => {
        /// A built-in kernel.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum Kernel {
            $($(#[$doc])* #[serde(rename = $name)] $variant,)*
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
    /// Dense matrix multiplication.
    Matmul, "matmul", matmul::Matmul;
    /// SHA-256 (FIPS 180-4).
    Sha256, "sha256", sha256::Sha256;
    /// Integer fast Fourier transform.
    Fft, "fft", fft::Fft;
    /// Dijkstra's shortest paths on a dense graph.
    Dijkstra, "dijkstra", dijkstra::Dijkstra;
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
