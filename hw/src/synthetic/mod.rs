//! Power of known energy, seen through simulated sensors: the proof that uncertainties are true. Test support, public.
//!
//! A [`Waveform`] knows its energy exactly. A [`SimulatedSensor`](sensors::SimulatedSensor) sees it as the chip would: with conversions, filter, steps,
//! wraps and delays, its gain, offset, clock and phase drawn anew within what its [`Accuracy`](crate::sensor::Accuracy)
//! says. The shipped meter samples it on a manual clock, and [`coverage::run`] counts how often the truth lies within the
//! stated 95 % interval.

pub mod coverage;
mod random;
pub mod sensors;
pub mod waveform;

pub use coverage::{Combination, Outcome};
pub use random::Random;
pub use sensors::{SensorModel, Severity};
pub use waveform::{Shape, Waveform};
