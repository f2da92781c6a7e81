//! The virtual testbed: devices, base station, MEC and cloud on a virtual clock, with the real learners.
//!
//! ```text
//! profile   a board or a server as a data file, each figure with its source      file: TOML, errors with line and key
//! scenario  who runs what, and what the world does meanwhile
//! event     calendar, stations with queues, shared links
//! sensor    what a board's sensor makes of its power      board: true power, sensor, integrator, marks
//! world     the cell, the MEC and the cloud, which all devices share
//! device    observe -> decide -> execute -> reward -> learn, as the agent does it
//! run       one seed      sweep: many seeds, on threads, into folders
//! ```
//!
//! Real are the learners and their arithmetic, the state, the reward, the records, and all that lies between a sensor's
//! readings and a span's joules. Simulated is what takes time and power: its durations are those of the profiles. Every
//! number of a run is of the kind `simulated`.
//!
//! Not modelled: caches and frequencies (a core does so many cycles a second, always), a CPU that sends and receives (the
//! radio does), congestion control (see [`crate::offload::link::model`]).

pub mod board;
mod device;
pub mod event;
mod file;
pub mod profile;
pub mod run;
pub mod scenario;
mod sensor;
pub mod sweep;
mod world;

pub use board::Truth;
pub use file::{Amount, FileError, Share};
pub use profile::Profile;
pub use run::{Finished, Output, SimulateError, run};
pub use scenario::{Preset, Scenario};

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
