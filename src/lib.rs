//! The agent, the servers and the command line of hwmeter.
//!
//! Data flows one way:
//!
//! ```text
//! sensor -> meter -> span -> record -> CSV -> report
//! task -> state -> decision -> execution -> reward -> learner
//! ```

pub mod agent;
pub mod bundle;
mod file_limit;
pub mod integrate;
pub mod learn;
pub mod marks;
pub mod offload;
mod quantile;
pub mod record;
pub mod report;
pub mod run_dir;
pub mod serve;
pub mod task;
pub mod testbed;
pub mod trace;
pub mod train;
