//! Energy and power of Linux boards.
#![doc = ""]
pub mod clock;
pub mod error;
pub mod root;
pub mod units;

pub use error::{Error, ErrorKind, Result};
pub use root::Root;
