//! What can go wrong between a device and its servers: what failed, at which server, and what to do.

use super::access::AccessError;
use super::url::Url;
use hyper::StatusCode;
use std::io;
use std::time::Duration;

/// Why a server gave no usable answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OffloadError {
    /// There was no answer within the time left.
    #[error("{url} did not answer within {} s", .allowed.as_secs_f64())]
    Deadline {
        /// The server.
        url: Url,
        /// The time there was.
        allowed: Duration,
        /// Whether the server itself said that the deadline had passed, rather than nothing at all.
        told: bool,
    },
    /// No connection came about.
    #[error("cannot reach {url}: {cause}; {}", connect_advice(.cause))]
    Unreachable {
        /// The server.
        url: Url,
        /// What the kernel or the resolver answered.
        cause: io::Error,
    },
    /// Somebody is there, but not in a way that can be trusted.
    #[error("no secure connection to {url}: {why}")]
    Tls {
        /// The server.
        url: Url,
        /// What is wrong, and what to do.
        why: String,
    },
    /// The server does not take the token, or wants one.
    #[error("{url} does not let us in ({status}): {message}; {}", token_advice(*.had_token))]
    Unauthorized {
        /// The server.
        url: Url,
        /// HTTP status, 401 or 403.
        status: StatusCode,
        /// The server's own sentence.
        message: String,
        /// Whether a token was sent.
        had_token: bool,
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
    /// The server was asked something whose answer is known, and answered something else.
    #[error(
        "{url} computed {computed:016x} where {expected:016x} is right; its results are not used; is it a hwmeter \
         server of this version, and its memory sound?"
    )]
    WrongResult {
        /// The server.
        url: Url,
        /// The checksum that is right.
        expected: u64,
        /// The checksum that came.
        computed: u64,
    },
    /// Nothing was sent: the server has failed several times, and is being probed until it is well.
    #[error(
        "{url} is not used until a probe succeeds (the next in {:.1} s); its last failure: {last}",
        .retry_in.as_secs_f64()
    )]
    CircuitOpen {
        /// The server.
        url: Url,
        /// What happened the last time.
        last: String,
        /// When it will be tried again.
        retry_in: Duration,
    },
    /// The device has nothing to show to its servers.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// The client itself could not be set up.
    #[error("cannot set up a client: {0}")]
    Setup(io::Error),
}

/// The device itself may be what has run out.
fn is_out_of_files(cause: &io::Error) -> bool {
    matches!(cause.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
}

fn connect_advice(cause: &io::Error) -> &'static str {
    if is_out_of_files(cause) {
        "the fault is on this side: open fewer connections, or allow this process more files (ulimit -n)"
    } else {
        "is `hwmeter serve` running there?"
    }
}

fn token_advice(had_token: bool) -> &'static str {
    if had_token {
        "check that --token-file holds the token of that server"
    } else {
        "give its token with --token-file FILE"
    }
}

/// What an error says about the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// It is well; only this task did not fit.
    Task,
    /// It, or the way to it, is broken.
    Server,
    /// It computes or transports wrongly, which is worse than nothing.
    Proven,
    /// No answer came in time: the task may have been too much, or the server is gone.
    Unclear,
}

/// Errors of a server that works, but not for long.
const CODES_OF_TROUBLE: [&str; 2] = ["stopping", "task_crashed"];

impl OffloadError {
    /// Whose fault it is.
    pub fn blame(&self) -> Blame {
        match self {
            Self::Deadline { told: true, .. }
            | Self::CircuitOpen { .. }
            | Self::Access(_)
            | Self::Setup(_) => Blame::Task,
            Self::Unreachable { cause, .. } if is_out_of_files(cause) => Blame::Task,
            Self::Deadline { .. } => Blame::Unclear,
            // An error in our own words comes from a server that is alive, whatever its status.
            Self::Refused { code, .. } if !code.is_empty() && !CODES_OF_TROUBLE.contains(&code.as_str()) => {
                Blame::Task
            }
            Self::WrongPayload { .. } | Self::WrongResult { .. } => Blame::Proven,
            Self::Unreachable { .. }
            | Self::Tls { .. }
            | Self::Unauthorized { .. }
            | Self::Closed { .. }
            | Self::Refused { .. }
            | Self::BadAnswer { .. } => Blame::Server,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_device_without_files_does_not_blame_the_server() {
        let unreachable = |number| OffloadError::Unreachable {
            url: "http://mec:1".parse().unwrap(),
            cause: io::Error::from_raw_os_error(number),
        };
        let here = unreachable(libc::EMFILE);
        assert_eq!(here.blame(), Blame::Task);
        let text = here.to_string();
        assert!(
            text.contains("ulimit -n") && !text.contains("hwmeter serve"),
            "{text}"
        );
        let there = unreachable(libc::ECONNREFUSED);
        assert_eq!(there.blame(), Blame::Server);
        assert!(there.to_string().contains("hwmeter serve"));
    }

    #[test]
    fn a_server_that_talks_sense_is_not_to_blame() {
        let refused = |status: u16, code: &str| OffloadError::Refused {
            url: "http://mec:1".parse().unwrap(),
            status: StatusCode::from_u16(status).unwrap(),
            code: code.to_owned(),
            message: String::new(),
            retry_after: None,
        };
        for (status, code, expected) in [
            (429, "queue_full", Blame::Task),
            (413, "payload_too_large", Blame::Task),
            (503, "wall_limit", Blame::Task),
            (503, "stopping", Blame::Server),
            (500, "task_crashed", Blame::Server),
            (502, "", Blame::Server),
            (404, "", Blame::Server),
        ] {
            assert_eq!(refused(status, code).blame(), expected, "{status} {code}");
        }
        let deadline = |told| OffloadError::Deadline {
            url: "http://mec:1".parse().unwrap(),
            allowed: Duration::from_secs(1),
            told,
        };
        assert_eq!(
            (deadline(true).blame(), deadline(false).blame()),
            (Blame::Task, Blame::Unclear)
        );
    }
}
