//! What a task computes: steps of kernels, one after the other, and how that is written down.
//!
//! One text form stands everywhere, in files, in `decisions.csv` and in messages: `sha256:12` is twelve rounds of one
//! kernel, `sha256:12 fft:3` is two steps, `wasm:PATH` is a WebAssembly module. In the query of a URL a space is written
//! `+`, and a module is named by its SHA-256.

use super::cost::CostModel;
use super::kernel::{Kernel, UnknownKernel};
use super::wasm::{Binary, Unreadable};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Steps that one piece of work may have: more than any task set needs, and few enough to stand in a URL.
pub const MAX_STEPS: usize = 64;

/// A piece of computation: the same bytes in give the same checksum out on every machine. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Work {
    /// What is computed.
    pub program: Program,
    /// What the input is made from, together with the payload.
    pub seed: u64,
}

impl Work {
    /// `rounds` rounds of one kernel.
    pub fn one(kernel: Kernel, rounds: u64, seed: u64) -> Self {
        Self {
            program: Program::Kernels(Kernels::one(kernel, rounds)),
            seed,
        }
    }
}

/// What is computed, without its input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Program {
    /// Built-in kernels.
    Kernels(Kernels),
    /// A WebAssembly module. It gets the payload and no seed.
    Module(Binary),
}

/// So many rounds of a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// The kernel.
    pub kernel: Kernel,
    /// How many rounds of it.
    pub rounds: u64,
}

/// 1 to [`MAX_STEPS`] steps, run in their order; the checksum of one seeds the next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Kernels(Arc<[Step]>);

impl Kernels {
    /// The steps, unless there are none or too many.
    pub fn new(steps: Vec<Step>) -> Result<Self, InvalidKernels> {
        match steps.len() {
            1..=MAX_STEPS => Ok(Self(steps.into())),
            count => Err(InvalidKernels::Count(count)),
        }
    }

    /// One step.
    pub fn one(kernel: Kernel, rounds: u64) -> Self {
        Self(Arc::new([Step { kernel, rounds }]))
    }

    /// The steps in their order.
    pub fn steps(&self) -> &[Step] {
        &self.0
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kernel, self.rounds)
    }
}

impl FromStr for Step {
    type Err = InvalidKernels;

    fn from_str(text: &str) -> Result<Self, InvalidKernels> {
        let bad = || InvalidKernels::Step(text.to_owned());
        let (kernel, rounds) = text.split_once(':').ok_or_else(bad)?;
        // `parse` alone would also take a plus sign.
        let is_number = rounds.bytes().all(|byte| byte.is_ascii_digit());
        Ok(Self {
            kernel: kernel.parse()?,
            rounds: rounds.parse().ok().filter(|_| is_number).ok_or_else(bad)?,
        })
    }
}

impl fmt::Display for Kernels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, step) in self.0.iter().enumerate() {
            let space = if at == 0 { "" } else { " " };
            write!(f, "{space}{step}")?;
        }
        Ok(())
    }
}

impl FromStr for Kernels {
    type Err = InvalidKernels;

    fn from_str(text: &str) -> Result<Self, InvalidKernels> {
        // One more than allowed is enough to be refused: nobody makes us read on.
        let steps = text.split_ascii_whitespace().take(MAX_STEPS + 1);
        Self::new(steps.map(str::parse).collect::<Result<_, _>>()?)
    }
}

impl TryFrom<String> for Kernels {
    type Error = InvalidKernels;

    fn try_from(text: String) -> Result<Self, InvalidKernels> {
        text.parse()
    }
}

impl From<Kernels> for String {
    fn from(kernels: Kernels) -> Self {
        kernels.to_string()
    }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kernels(kernels) => kernels.fmt(f),
            Self::Module(binary) => binary.fmt(f),
        }
    }
}

/// What a task of a set asks for. Written as `fft`, as `sha256:12 fft:3`, or as `wasm:PATH` of a module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Content {
    /// As many rounds of this kernel as take the task's cycles on the device that runs it.
    Fill(Kernel),
    /// Exactly this, on every device.
    Exact(Program),
}

impl Content {
    /// What is to be computed where a task takes `cycles` cycles of a device with these costs.
    pub fn program(&self, cycles: u64, cost: &CostModel) -> Program {
        match self {
            Self::Fill(kernel) => Program::Kernels(Kernels::one(*kernel, cost.size_for(*kernel, cycles))),
            Self::Exact(program) => program.clone(),
        }
    }
}

impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fill(kernel) => kernel.fmt(f),
            Self::Exact(program) => program.fmt(f),
        }
    }
}

impl FromStr for Content {
    type Err = InvalidContent;

    /// Reads the file of a module.
    fn from_str(text: &str) -> Result<Self, InvalidContent> {
        let text = text.trim_ascii();
        if let Some(path) = text.strip_prefix("wasm:") {
            Ok(Self::Exact(Program::Module(Binary::read(path)?)))
        } else if text.is_empty() || text.contains([':', ' ']) {
            Ok(Self::Exact(Program::Kernels(text.parse()?)))
        } else {
            Ok(Self::Fill(text.parse().map_err(InvalidKernels::Kernel)?))
        }
    }
}

impl TryFrom<String> for Content {
    type Error = InvalidContent;

    fn try_from(text: String) -> Result<Self, InvalidContent> {
        text.parse()
    }
}

impl From<Content> for String {
    fn from(content: Content) -> Self {
        content.to_string()
    }
}

/// Something that no task can ask for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidContent {
    /// Neither a kernel nor a list of steps.
    #[error(transparent)]
    Kernels(#[from] InvalidKernels),
    /// A module that cannot be read.
    #[error(transparent)]
    Module(#[from] Unreadable),
}

/// Something that is no list of kernels.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKernels {
    /// A step is not a kernel and a number.
    #[error("{0:?} is no step: write KERNEL:ROUNDS, such as sha256:12")]
    Step(String),
    /// A kernel does not exist.
    #[error(transparent)]
    Kernel(#[from] UnknownKernel),
    /// There are no steps, or too many.
    #[error("{0} steps: a task has 1 to {MAX_STEPS}, such as \"sha256:12 fft:3\"")]
    Count(usize),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_are_written_as_they_are_read() {
        for text in ["sha256:12", "sha256:12 fft:3", "fft:0 fft:18446744073709551615"] {
            assert_eq!(
                text.parse().map(|kernels: Kernels| kernels.to_string()),
                Ok(text.to_owned())
            );
            assert_eq!(
                text.parse().map(|content: Content| content.to_string()),
                Ok(text.to_owned())
            );
        }
        assert_eq!("fft".parse(), Ok(Content::Fill(Kernel::Fft)));
        assert_eq!(Content::Fill(Kernel::Fft).to_string(), "fft");
        let long = vec!["fft:1"; MAX_STEPS].join(" ");
        assert_eq!(
            long.parse().map(|kernels: Kernels| kernels.steps().len()),
            Ok(MAX_STEPS)
        );
    }

    #[test]
    fn what_is_no_list_is_said() {
        let too_long = "fft:1 ".repeat(MAX_STEPS + 1);
        let cases = [
            ("", "0 steps"),
            ("sha256", "\"sha256\" is no step"),
            ("sha256:", "\"sha256:\" is no step"),
            ("sha256:+1", "\"sha256:+1\" is no step"),
            ("sha256:1.5", "\"sha256:1.5\" is no step"),
            ("sha256:18446744073709551616", "is no step"),
            ("sha256:1,fft:1", "\"sha256:1,fft:1\" is no step"),
            ("fft:1 sha999:1", "there is no kernel \"sha999\""),
            (&too_long, "65 steps"),
        ];
        for (text, expected) in cases {
            let error = text.parse::<Kernels>().map_err(|error| error.to_string());
            assert!(
                error.as_ref().is_err_and(|error| error.contains(expected)),
                "{text}: {error:?}"
            );
        }
        assert!("fft sha256:1".parse::<Content>().is_err() && "".parse::<Content>().is_err());
    }

    #[test]
    fn only_what_is_to_be_filled_depends_on_the_device() {
        let cost = CostModel::from_cycles(|_| 1000.0);
        let program = |text: &str| {
            text.parse()
                .map(|content: Content| content.program(5000, &cost).to_string())
        };
        assert_eq!(program("fft"), Ok("fft:5".to_owned()));
        assert_eq!(program("fft:7 sha256:1"), Ok("fft:7 sha256:1".to_owned()));
    }
}
