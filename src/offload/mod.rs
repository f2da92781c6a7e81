//! Offloading: how a task reaches a server, what comes back, and the network in between.

pub mod wire;
