//! Energy and power of Linux boards.
#![doc = ""]
pub mod blas;
pub mod clock;
pub mod clock_rate;
pub mod error;
pub mod root;
pub mod units;

pub use error::{Error, ErrorKind, Result};
pub use root::Root;
