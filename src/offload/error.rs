//! What can go wrong between a device and its servers: what failed, at which server, and what to do.

use super::url::Url;
use hyper::StatusCode;
use std::io;
use std::time::Duration;

/// Why a server gave no usable answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OffloadError {
    /// There was no answer within the time left, or the server found the deadline passed.
    #[error("{url} did not answer within {} s", .allowed.as_secs_f64())]
    Deadline {
        /// The server.
        url: Url,
        /// The time there was.
        allowed: Duration,
    },
    /// No connection came about.
    #[error("cannot reach {url}: {cause}; is `hwmeter serve` running there?")]
    Unreachable {
        /// The server.
        url: Url,
        /// What the kernel or the resolver answered.
        cause: io::Error,
    },
    /// The connection ended before the answer was complete.
    #[error("{url} closed the connection before its answer was complete ({cause}); look at the server's log")]
    Closed {
        /// The server.
        url: Url,
        /// What the HTTP layer saw.
        cause: hyper::Error,
    },
    /// The server answered with an error.
    #[error("{url} refused ({status}): {message}")]
    Refused {
        /// The server.
        url: Url,
        /// HTTP status.
        status: StatusCode,
        /// The code of the error, such as `queue_full`; empty if the answer was none of ours.
        code: String,
        /// The server's own sentence, or the beginning of what it sent instead.
        message: String,
        /// When to try again, if the server said so.
        retry_after: Option<Duration>,
    },
    /// The answer is not what a server of this project answers.
    #[error("{url} answered something unexpected: {what}; is it a hwmeter server of this version?")]
    BadAnswer {
        /// The server.
        url: Url,
        /// What is wrong with it.
        what: String,
    },
    /// The payload that the server worked on is not the one that was sent.
    #[error(
        "{url} received another payload than was sent (hash {received:016x} instead of {sent:016x}); \
             something on the way changes data, its result is not used"
    )]
    WrongPayload {
        /// The server.
        url: Url,
        /// XXH3-64 of what was sent.
        sent: u64,
        /// XXH3-64 of what the server says it got.
        received: u64,
    },
    /// The client itself could not be set up.
    #[error("cannot set up a client: {0}")]
    Setup(io::Error),
}
