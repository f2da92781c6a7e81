//! Offloading: how a task reaches a server, what comes back, and the network in between.
//!
//! ```text
//! Client --TCP or TLS--> Link (delay, loss, rate) --TCP--> the server in `crate::serve`
//!    |                                                          |
//!    +--------- wire: the query and the JSON both speak --------+
//! ```
//!
//! An agent sees each server as a [`Site`]: a [`Client`] for its tasks, a [`circuit`] that opens when the server fails,
//! and a thread that watches it: the load, the [`Throughput`], and whether it is well again. [`ues`] is the traffic of
//! others on the same link, and [`LocalServers`] provides servers and links for a demonstration on one machine.

pub mod access;
pub mod child;
pub mod circuit;
pub mod client;
mod connection;
mod error;
mod helper;
pub mod link;
pub mod local_servers;
mod monitor;
pub mod parent_death;
mod precise_timer;
pub mod site;
pub mod submitted;
pub(crate) mod task_query;
pub mod throughput;
pub(crate) mod tls;
pub mod ues;
pub mod url;
mod watched;
pub mod wire;

pub use access::Access;
pub use client::Client;
pub use error::{Blame, OffloadError};
pub use link::{Link, LinkConfig};
pub use local_servers::LocalServers;
pub use site::Site;
pub use submitted::Submitted;
pub use throughput::Throughput;
pub use url::Url;
