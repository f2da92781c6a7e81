//! The client of one server: one connection, kept alive, every wait bounded by the time that is left.

use super::connection::{Answer, Connection, Failure};
use super::error::OffloadError;
use super::url::Url;
use super::wire::{
    CODE_DEADLINE, ErrorBody, HEALTH_PATH, Health, LOAD_PATH, Load, PAYLOAD_TYPE, TASKS_PATH, TaskQuery,
    TaskResult, payload_hash,
};
use crate::task::Work;
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HOST, RETRY_AFTER};
use hyper::{Method, Request, StatusCode};
use serde::de::DeserializeOwned;
use std::io;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

/// A client of the server at one URL. Its methods block, so they must not be called from async code.
pub struct Client {
    url: Url,
    /// `None` only while being dropped.
    runtime: Option<Runtime>,
    connection: Option<Connection>,
}

/// A task that a server has done.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Submitted {
    /// What the kernel computed.
    pub checksum: u64,
    /// Seconds for sending and receiving: the whole exchange less waiting and running.
    pub transmit_s: f64,
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

impl Client {
    /// A client that connects at its first request.
    pub fn new(url: Url) -> Result<Self, OffloadError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(OffloadError::Setup)?;
        Ok(Self {
            url,
            runtime: Some(runtime),
            connection: None,
        })
    }

    /// The server.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Has the server run `work` on `payload`, which must take no longer than `time_left`.
    pub fn submit(
        &mut self,
        work: &Work,
        payload: &[u8],
        time_left: Duration,
    ) -> Result<Submitted, OffloadError> {
        let began = Instant::now();
        let query = TaskQuery {
            work: *work,
            deadline: Some(time_left),
        }
        .to_query();
        let path = format!("{TASKS_PATH}?{query}");
        let result: TaskResult = self.ask(Method::POST, &path, Bytes::copy_from_slice(payload), time_left)?;
        let elapsed_s = began.elapsed().as_secs_f64();

        let sent = payload_hash(payload);
        if result.payload_hash != sent {
            return Err(OffloadError::WrongPayload {
                url: self.url.clone(),
                sent,
                received: result.payload_hash,
            });
        }
        let transmit_s = transmit_s(&result, elapsed_s).map_err(|what| self.bad_answer(what))?;
        let TaskResult {
            checksum,
            receive_s,
            receive_bytes,
            queue_s,
            execute_s,
            ..
        } = result;
        Ok(Submitted {
            checksum,
            transmit_s,
            queue_s,
            execute_s,
            receive_s,
            receive_bytes,
            elapsed_s,
        })
    }

    /// How busy the server is.
    pub fn load(&mut self, timeout: Duration) -> Result<Load, OffloadError> {
        let load: Load = self.ask(Method::GET, LOAD_PATH, Bytes::new(), timeout)?;
        if !(0.0..=1.0).contains(&load.cpu_use) || !(0.0..=1.0).contains(&load.free) {
            return Err(self.bad_answer(format!(
                "a load beyond 0 to 1 ({} used, {} free)",
                load.cpu_use, load.free
            )));
        }
        Ok(load)
    }

    /// Is the server there and well?
    pub fn health(&mut self, timeout: Duration) -> Result<Health, OffloadError> {
        self.ask(Method::GET, HEALTH_PATH, Bytes::new(), timeout)
    }

    fn ask<T: DeserializeOwned>(
        &mut self,
        method: Method,
        path: &str,
        body: Bytes,
        allowed: Duration,
    ) -> Result<T, OffloadError> {
        let answer = self.exchange(method, path, body, allowed)?;
        if answer.status != StatusCode::OK {
            return Err(self.refused(&answer, allowed));
        }
        serde_json::from_slice(&answer.body)
            .map_err(|e| self.bad_answer(format!("{e} in {:?}", excerpt(&answer.body))))
    }

    /// One request and its answer. A connection is kept only after a complete answer; dropping it tells the
    /// server to stop working for us.
    fn exchange(
        &mut self,
        method: Method,
        path: &str,
        body: Bytes,
        allowed: Duration,
    ) -> Result<Answer, OffloadError> {
        let Self {
            url,
            runtime,
            connection,
        } = self;
        let deadline = |url: &Url| OffloadError::Deadline {
            url: url.clone(),
            allowed,
        };
        let Some(runtime) = runtime else {
            return Err(deadline(url));
        };
        if allowed.is_zero() {
            return Err(deadline(url));
        }
        let request = || {
            Request::builder()
                .method(method.clone())
                .uri(url.path(path))
                .header(HOST, url.authority())
                .header(CONTENT_TYPE, PAYLOAD_TYPE)
                .body(http_body_util::Full::new(body.clone()))
                .map_err(|e| OffloadError::BadAnswer {
                    url: url.clone(),
                    what: e.to_string(),
                })
        };
        let exchanging = async {
            if let Some(mut kept) = connection.take() {
                match kept.exchange(request()?).await {
                    Ok(answer) => return Ok((answer, kept)),
                    // The server may close an idle connection at any time. Tasks can be sent twice.
                    Err(Failure::Http(e)) if closed_before_answer(&e) => {}
                    Err(failure) => return Err(failed(url, failure)),
                }
            }
            let mut fresh = Connection::open(url)
                .await
                .map_err(|failure| failed(url, failure))?;
            let answer = fresh
                .exchange(request()?)
                .await
                .map_err(|failure| failed(url, failure))?;
            Ok((answer, fresh))
        };
        let within = async { tokio::time::timeout(allowed, exchanging).await };
        let (answer, kept) = runtime.block_on(within).map_err(|_| deadline(url))??;
        *connection = Some(kept);
        Ok(answer)
    }

    fn refused(&self, answer: &Answer, allowed: Duration) -> OffloadError {
        let url = self.url.clone();
        let ErrorBody { code, message } =
            serde_json::from_slice(&answer.body).unwrap_or_else(|_| ErrorBody {
                code: String::new(),
                message: format!("no hwmeter error, but {:?}", excerpt(&answer.body)),
            });
        if code == CODE_DEADLINE {
            return OffloadError::Deadline { url, allowed };
        }
        let seconds = answer
            .headers
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.parse().ok());
        let retry_after = seconds.map(Duration::from_secs);
        OffloadError::Refused {
            url,
            status: answer.status,
            code,
            message,
            retry_after,
        }
    }

    fn bad_answer(&self, what: String) -> OffloadError {
        OffloadError::BadAnswer {
            url: self.url.clone(),
            what,
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // A name look-up still under way must not hold up the caller.
            runtime.shutdown_background();
        }
    }
}

/// Two clocks run at slightly different rates; beyond this share a server's claim is wrong.
const CLOCK_TOLERANCE: f64 = 1e-3;

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

fn closed_before_answer(error: &hyper::Error) -> bool {
    let reset = std::error::Error::source(error)
        .and_then(|source| source.downcast_ref::<io::Error>())
        .is_some_and(|e| {
            matches!(
                e.kind(),
                io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
            )
        });
    error.is_closed() || error.is_canceled() || error.is_incomplete_message() || reset
}

pub(super) fn failed(url: &Url, failure: Failure) -> OffloadError {
    let url = url.clone();
    match failure {
        Failure::Connect(cause) => OffloadError::Unreachable { url, cause },
        Failure::AnswerTooLarge(limit) => OffloadError::BadAnswer {
            url,
            what: format!("an answer of more than {limit} bytes"),
        },
        Failure::Http(e) if e.is_parse() => OffloadError::BadAnswer {
            url,
            what: format!("no HTTP ({e})"),
        },
        Failure::Http(cause) => OffloadError::Closed { url, cause },
    }
}

fn excerpt(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(80)]).into_owned()
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
