//! What a done task tells: its result, and where the time went.

use super::connection::Times;
use super::wire::TaskResult;
use std::time::Instant;

/// A task that a server has done.
///
/// As the client sees it, `elapsed_s` is `connect_s` + `send_s` + `wait_s` + `answer_s`, but for preparing the request.
/// What the server says of itself, `queue_s` and `execute_s`, lies within `wait_s`; so `transmit_s`, which is `elapsed_s`
/// less these two, is what the network cost, and the column of that name in `decisions.csv`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Submitted {
    /// What was computed.
    pub checksum: u64,
    /// Seconds for connecting, sending and receiving: the whole exchange less waiting for a worker and running.
    pub transmit_s: f64,
    /// Seconds until the connection was open, TLS included; `None` where it was kept from the task before.
    pub connect_s: Option<f64>,
    /// Seconds until the kernel had taken the last byte of the request. Payloads smaller than its buffers (some
    /// 100 kB at least) are on their way only then, and the rest of their way is part of `wait_s`.
    pub send_s: f64,
    /// Seconds from then to the head of the answer.
    pub wait_s: f64,
    /// Seconds from the head to the end of the answer.
    pub answer_s: f64,
    /// Seconds the task waited for a worker of the server.
    pub queue_s: f64,
    /// Seconds it ran.
    pub execute_s: f64,
    /// Seconds from the first to the last read of the payload, as the server saw it.
    pub receive_s: f64,
    /// Bytes of the payload that came after the first read: what `receive_s` was needed for.
    pub receive_bytes: u64,
    /// Seconds from the call to the result.
    pub elapsed_s: f64,
}

/// Two clocks run at slightly different rates; beyond this share a server's claim is wrong.
const CLOCK_TOLERANCE: f64 = 1e-3;

impl Submitted {
    /// Joins what the server says with what the client has seen; the error says why both cannot be true.
    pub(super) fn new(
        result: &TaskResult,
        called: Instant,
        connect_s: Option<f64>,
        times: &Times,
    ) -> Result<Self, String> {
        let elapsed_s = (times.complete - called).as_secs_f64();
        Ok(Self {
            checksum: result.checksum,
            transmit_s: transmit_s(result, elapsed_s)?,
            connect_s,
            send_s: (times.sent - times.began).as_secs_f64(),
            wait_s: (times.answered - times.sent).as_secs_f64(),
            answer_s: (times.complete - times.answered).as_secs_f64(),
            queue_s: result.queue_s,
            execute_s: result.execute_s,
            receive_s: result.receive_s,
            receive_bytes: result.receive_bytes,
            elapsed_s,
        })
    }
}

/// The exchange less what the server spent on the task, unless its claims are impossible.
fn transmit_s(result: &TaskResult, elapsed_s: f64) -> Result<f64, String> {
    let TaskResult {
        receive_s,
        queue_s,
        execute_s,
        ..
    } = *result;
    if [receive_s, queue_s, execute_s]
        .iter()
        .any(|s| !s.is_finite() || *s < 0.0)
    {
        return Err(format!(
            "times that cannot be: {receive_s}, {queue_s}, {execute_s} s"
        ));
    }
    let claimed_s = queue_s + execute_s;
    if claimed_s > elapsed_s * (1.0 + CLOCK_TOLERANCE) {
        return Err(format!("it claims {claimed_s} s of an exchange of {elapsed_s} s"));
    }
    Ok((elapsed_s - claimed_s).max(0.0))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn impossible_times_are_found_out() {
        let result = |queue_s, execute_s, receive_s| TaskResult {
            checksum: 0,
            payload_hash: 0,
            receive_s,
            receive_bytes: 0,
            queue_s,
            execute_s,
        };
        assert!((transmit_s(&result(0.1, 0.2, 0.0), 0.5).unwrap() - 0.2).abs() < 1e-12);
        assert_eq!(transmit_s(&result(0.0, 1.0005, 0.0), 1.0), Ok(0.0));
        for bad in [
            result(0.0, 1.1, 0.0),
            result(-0.1, 0.2, 0.0),
            result(0.0, f64::NAN, 0.0),
            result(0.0, 0.0, -1.0),
        ] {
            assert!(transmit_s(&bad, 1.0).is_err(), "{bad:?}");
        }
    }
}
