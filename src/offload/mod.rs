//! Offloading: how a task reaches a server, what comes back, and the network in between.

pub mod client;
mod connection;
pub mod load_poller;
pub mod throughput;
pub mod url;
pub mod wire;
