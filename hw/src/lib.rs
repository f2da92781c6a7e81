//! Energy and power of Linux boards: sensors, a meter, spans with uncertainty, and control of the CPU.
//!
//! ```text
//! root -> discover -> sensor -> meter -> span -> SpanEnergy
//! ```
//!
//! - [`root`]: the only code that opens files below `/sys`, `/proc` and `/dev`
//! - [`board`]: which board this is; [`rails`]: what its rails feed
//! - [`sensor`]: the trait and what is known about a sensor; [`sensors`]: one file per kind
//! - [`discover`]: the sensors found, and for each unusable one why and what to do
//! - [`meter`]: samples in the background; [`integrator`]: from samples to cumulative energy, pure
//! - [`rate`]: the highest sampling rate that makes sense for a sensor
//! - [`span`]: begin and end; [`uncertainty`]: how sure the energy is
//! - [`calibration`]: what a user knows better about a sensor, from a file
//! - [`idle`]: idle power and joules without it; [`combine`], [`repeat`]: sums of phases, means of runs
//! - [`total`]: a sensor's total, chosen by the user and checked against its parts
//! - [`cpu`], [`cpu_time`], [`cpu_tree`], [`clock_rate`]: load, affinity, CPU time of processes, clock rate
//! - [`cpufreq`]: governor and frequency limits, restored; [`current_frequency`]: how fast the cores run
//! - [`gpu`]: presence, load, hiding; [`net`]: byte counters
//! - [`envelope`]: idle and full-load power; [`blas`]: matrix products for calibration, by engine, size and place
//! - [`caches`], [`clusters`], [`peak`], [`triad`]: what the CPU has and could do; [`conditions`]: clock, heat,
//!   throttling; [`cgroup`]: the CPU quota of a container
//! - [`load`], [`load_steps`]: a controlled load, and the power the board takes under it; [`power_model`]: a model of
//!   this very board fitted to that; [`characterise`]: what a sensor really does
//! - [`trace`]: rows of a recorded trace, with line numbers
//! - [`small_file`]: reads settings and descriptions, and nothing endless
//! - [`access`]: rules that let a group measure without root
//!
//! Measuring a function takes a few lines:
//!
//! ```
//! use hwmeter_hw::{Root, clock::MonotonicClock, discover, meter::{Meter, MeterOptions}, sensors::Context};
//! use std::sync::Arc;
//!
//! # fn main() -> hwmeter_hw::Result<()> {
//! let context = Context::new(Root::default(), Arc::new(MonotonicClock));
//! let sensor = discover::open(&context, "cpu-model")?;
//! let meter = Meter::start(sensor, MeterOptions::at(100.0))?;
//! let span = meter.span("sum");
//! let sum: u64 = (0..1_000_000u64).sum();
//! let energy = span.end().wait();
//! if let Some(total) = energy.total {
//!     println!("{sum}: {:.4} ± {:.4} ({})", total.joules, total.uncertainty, energy.kind);
//! }
//! # Ok(())
//! # }
//! ```

pub mod access;
pub mod blas;
pub mod board;
mod board_kind;
pub mod caches;
pub mod calibration;
pub mod cgroup;
pub mod characterise;
pub mod clock;
pub mod clock_rate;
pub mod clusters;
pub mod combine;
pub mod conditions;
pub mod cpu;
pub mod cpu_price;
pub mod cpu_time;
pub mod cpu_tree;
pub mod cpufreq;
pub mod current_frequency;
pub mod discover;
pub mod envelope;
pub mod error;
#[cfg(test)]
mod fake_tree;
pub mod gpu;
pub mod idle;
pub mod integrator;
pub mod load;
pub mod load_steps;
mod mark;
pub mod meter;
pub mod net;
pub mod peak;
pub mod power_model;
pub mod rails;
pub mod rate;
mod realtime;
pub mod repeat;
pub mod ring;
pub mod root;
mod sampler;
pub mod schedule;
pub mod sensor;
pub mod sensors;
pub mod small_file;
pub mod span;
pub mod synthetic;
pub mod total;
pub mod trace;
mod track;
pub mod triad;
pub mod uncertainty;
pub mod units;
pub mod variability;

pub use error::{Error, ErrorKind, Result};
pub use root::Root;
