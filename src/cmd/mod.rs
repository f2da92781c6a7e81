//! One file per subcommand: wiring only.

pub mod link;
pub mod serve;
mod stop_signal;
mod values;
