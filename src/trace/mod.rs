//! Recording every sample of a sensor: rows in `energy.csv`, and what is known about the sensors in a file beside it.

mod feed;
mod metadata;
mod writer;

pub use metadata::{TracedSensor, WallClock, read_metadata};
pub use writer::{TraceReport, TraceWriter};
