//! Why an interface cannot be slowed down, and what to do about it.

use super::HANDLE;
use std::path::PathBuf;

/// Why an interface was not slowed down, or not put back.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NetemError {
    /// The program is not there.
    #[error("the program `tc` is not installed; install iproute2 (Debian: sudo apt install iproute2)")]
    NoTc,
    /// It could not be started, or answered what nobody understands.
    #[error("{program} cannot be used", program = .program.display())]
    Unusable {
        /// What was run.
        program: PathBuf,
        /// Why.
        #[source]
        cause: std::io::Error,
    },
    /// There is no such interface.
    #[error("there is no network interface {0}; `ip link` lists those there are")]
    NoInterface(String),
    /// The kernel says no.
    #[error("no permission to change the queue of {0}: this needs CAP_NET_ADMIN; run it with sudo")]
    Denied(String),
    /// The kernel cannot.
    #[error(
        "this kernel has no netem (module sch_netem): try `sudo modprobe sch_netem`, install the package with your kernel's \
         further modules, or use the proxy: hwmeter link --to HOST:PORT"
    )]
    NoModule,
    /// `tc` lacks its tables.
    #[error("`tc` has no table for {0} jitter; the file {0}.dist belongs to iproute2, install it whole")]
    NoTable(&'static str),
    /// Somebody uses the queue.
    #[error(
        "{interface} has a queue of its own already ({kind} {handle}), which could not be put back exactly; \
         if it is not needed, delete it first: tc qdisc del dev {interface} root{}",
        left_behind(.handle)
    )]
    Occupied {
        /// Where.
        interface: String,
        /// Which.
        kind: String,
        /// Its handle.
        handle: String,
    },
    /// It might cut off whoever asks.
    #[error("{0}; add --force to do it all the same")]
    Lifeline(String),
    /// A wish that cannot be fulfilled.
    #[error("{0}")]
    Wish(&'static str),
    /// The queue is not what it was.
    #[error("{interface} was not put back: {why}; undo by hand: tc qdisc del dev {interface} root")]
    NotRestored {
        /// Where.
        interface: String,
        /// What there is.
        why: String,
    },
    /// Anything else that `tc` complains about.
    #[error("`tc {arguments}` failed: {complaint}")]
    Tc {
        /// What was asked.
        arguments: String,
        /// What it said.
        complaint: String,
    },
}

fn left_behind(handle: &str) -> &'static str {
    match handle {
        HANDLE => " (an hwmeter that was killed with -9 has left it, or one that still runs)",
        _ => "",
    }
}
