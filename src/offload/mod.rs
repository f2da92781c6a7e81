//! Offloading: how a task reaches a server, what comes back, and the network in between.
//!
//! ```text
//! Client --TCP--> Link (delay, loss, rate) --TCP--> the server in `crate::serve`
//!    |                                                   |
//!    +----- wire: the query and the JSON both speak -----+
//! ```
//!
//! [`Throughput`] learns from every transfer how fast the link is, [`LoadPoller`] keeps the MEC's load at hand,
//! [`ues`] is the traffic of others on the same link, and [`LocalServers`] provides servers and links for a demonstration on one machine.

pub mod client;
mod connection;
mod error;
mod helper;
pub mod link;
pub mod load_poller;
pub mod local_servers;
pub mod parent_death;
mod precise_timer;
pub mod throughput;
pub mod ues;
pub mod url;
pub mod wire;

pub use client::{Client, Submitted};
pub use error::OffloadError;
pub use link::{Link, LinkConfig};
pub use load_poller::LoadPoller;
pub use local_servers::LocalServers;
pub use throughput::Throughput;
pub use url::Url;
