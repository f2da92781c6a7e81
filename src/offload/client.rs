//! The client of one server: one connection, kept alive, every wait bounded by the time that is left.

use super::access::Access;
use super::connection::{Answer, Connection, Failure};
use super::error::OffloadError;
use super::submitted::Submitted;
use super::tls;
use super::url::Url;
use super::watched::Sent;
use super::wire::{
    Asked, CODE_DEADLINE, CODE_MODULE_UNKNOWN, ErrorBody, HEALTH_PATH, Health, LOAD_PATH, Load, PAYLOAD_TYPE,
    SentModule, TASKS_PATH, TRAINING_PATH, TaskQuery, TaskResult, Training, harmless, payload_hash,
};
use crate::task::{Program, Work};
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue, RETRY_AFTER};
use hyper::{Method, Request, StatusCode};
use rustls::ClientConfig;
use serde::de::DeserializeOwned;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

/// Opening a connection may take this share of the time left: a task that spends more on it would be late anyway, and
/// what remains may still do for running it on the device.
const CONNECT_SHARE: f64 = 0.5;

/// What is wrong with an answer is told in at most so many characters: it may quote the answer.
const LONGEST_EXCUSE: usize = 300;

/// A client of the server at one URL. Its methods block, so they must not be called from async code.
pub struct Client {
    url: Url,
    /// `None` only while being dropped.
    runtime: Option<Runtime>,
    connection: Option<Connection>,
    tls: Option<Arc<ClientConfig>>,
    token: Option<HeaderValue>,
    sent: Arc<Sent>,
}

impl Client {
    /// A client without a token that trusts what this system trusts. It connects at its first request.
    pub fn new(url: Url) -> Result<Self, OffloadError> {
        Self::with_access(url, &Access::default())
    }

    /// A client that shows the token, and trusts whom it is told to trust.
    pub fn with_access(url: Url, access: &Access) -> Result<Self, OffloadError> {
        let tls = match (url.is_https(), access.tls()) {
            (false, _) => None,
            (true, Some(tls)) => Some(tls),
            (true, None) => Some(tls::http(None)?),
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(OffloadError::Setup)?;
        Ok(Self {
            url,
            runtime: Some(runtime),
            connection: None,
            tls,
            token: access.token().cloned(),
            sent: Sent::new(),
        })
    }

    /// Bytes sent so far, all headers and those of TLS included.
    pub fn sent_bytes(&self) -> u64 {
        self.sent.bytes()
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
        let called = Instant::now();
        let (answer, connect_s) = self.send_task(work, payload, time_left)?;
        let result: TaskResult = self.read(&answer, time_left)?;
        let sent = payload_hash(payload);
        if result.payload_hash != sent {
            return Err(OffloadError::WrongPayload {
                url: self.url.clone(),
                sent,
                received: result.payload_hash,
            });
        }
        Submitted::new(&result, called, connect_s, &answer.times).map_err(|what| self.bad_answer(what))
    }

    /// Sends a task. A module is named first and sent only to a server that does not have it.
    fn send_task(
        &mut self,
        work: &Work,
        payload: &[u8],
        time_left: Duration,
    ) -> Result<(Answer, Option<f64>), OffloadError> {
        let began = Instant::now();
        let asked = Asked::of(work);
        let payload = Bytes::copy_from_slice(payload);
        let named = self.post_task(asked, payload.clone(), time_left)?;
        match &work.program {
            Program::Module(binary) if is_module_unknown(&named.0) => {
                let asked = Asked::Sent(SentModule {
                    id: Some(binary.id()),
                    bytes: Some(binary.bytes().len()),
                });
                let body = Bytes::from([binary.bytes(), &payload].concat());
                let left = time_left.saturating_sub(began.elapsed());
                let (answer, connect_s) = self.post_task(asked, body, left)?;
                Ok((answer, named.1.or(connect_s)))
            }
            _ => Ok(named),
        }
    }

    fn post_task(
        &mut self,
        asked: Asked,
        body: Bytes,
        time_left: Duration,
    ) -> Result<(Answer, Option<f64>), OffloadError> {
        let content_type = asked.content_type();
        let deadline = Some(time_left);
        let query = TaskQuery { asked, deadline }.to_query();
        let path = format!("{TASKS_PATH}?{query}");
        self.exchange(Method::POST, &path, content_type, body, time_left)
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

    /// The URL of the MQTT broker by which to reach the server's trainer; `None` if learners are not trained there.
    pub fn training(&mut self, timeout: Duration) -> Result<Option<String>, OffloadError> {
        let (answer, _) = self.exchange(Method::GET, TRAINING_PATH, PAYLOAD_TYPE, Bytes::new(), timeout)?;
        // Servers older than training do not know the path.
        if answer.status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        let Training { broker } = self.read(&answer, timeout)?;
        if !broker.starts_with("mqtt://") && !broker.starts_with("mqtts://") {
            return Err(self.bad_answer(format!("{broker:?} is not the address of an MQTT broker")));
        }
        Ok(Some(broker))
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
        let (answer, _) = self.exchange(method, path, PAYLOAD_TYPE, body, allowed)?;
        self.read(&answer, allowed)
    }

    fn read<T: DeserializeOwned>(&self, answer: &Answer, allowed: Duration) -> Result<T, OffloadError> {
        if answer.status != StatusCode::OK {
            return Err(self.refused(answer, allowed));
        }
        serde_json::from_slice(&answer.body)
            .map_err(|e| self.bad_answer(format!("{e} in {:?}", excerpt(&answer.body))))
    }

    /// One request, its answer, and the seconds that connecting took, if that was needed. A connection is kept only
    /// after a complete answer; dropping it tells the server to stop working for us.
    fn exchange(
        &mut self,
        method: Method,
        path: &str,
        content_type: &'static str,
        body: Bytes,
        allowed: Duration,
    ) -> Result<(Answer, Option<f64>), OffloadError> {
        let deadline = |url: &Url| OffloadError::Deadline {
            url: url.clone(),
            allowed,
            told: false,
        };
        let request = || self.request(&method, path, content_type, &body);
        let (first, again) = (request()?, request()?);
        let Self {
            url,
            runtime: Some(runtime),
            connection,
            tls,
            sent,
            ..
        } = self
        else {
            return Err(deadline(&self.url));
        };
        if allowed.is_zero() {
            return Err(deadline(url));
        }
        let exchanging = async {
            if let Some(mut kept) = connection.take() {
                match kept.exchange(first).await {
                    Ok(answer) => return Ok((answer, None, kept)),
                    // The server may close an idle connection at any time. Tasks can be sent twice.
                    Err(failure) if failure.is_close_before_answer() => {}
                    Err(failure) => return Err(failure.at(url)),
                }
            }
            let began = Instant::now();
            let opening = Connection::open(url, tls.clone(), Arc::clone(sent));
            let mut fresh = tokio::time::timeout(allowed.mul_f64(CONNECT_SHARE), opening)
                .await
                .unwrap_or_else(|_| Err(Failure::Connect(no_connection_in_time(allowed))))
                .map_err(|failure| failure.at(url))?;
            let connect_s = began.elapsed().as_secs_f64();
            let answer = fresh.exchange(again).await.map_err(|failure| failure.at(url))?;
            Ok((answer, Some(connect_s), fresh))
        };
        let within = async { tokio::time::timeout(allowed, exchanging).await };
        let (answer, connect_s, kept) = runtime.block_on(within).map_err(|_| deadline(url))??;
        *connection = Some(kept);
        Ok((answer, connect_s))
    }

    fn request(
        &self,
        method: &Method,
        path: &str,
        content_type: &'static str,
        body: &Bytes,
    ) -> Result<Request<Full<Bytes>>, OffloadError> {
        let mut request = Request::builder()
            .method(method)
            .uri(self.url.path(path))
            .header(HOST, self.url.authority())
            .header(CONTENT_TYPE, content_type);
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, token);
        }
        request
            .body(Full::new(body.clone()))
            .map_err(|e| self.bad_answer(e.to_string()))
    }

    fn refused(&self, answer: &Answer, allowed: Duration) -> OffloadError {
        let url = self.url.clone();
        let ErrorBody { code, message } = ErrorBody::read(&answer.body).unwrap_or_else(|| ErrorBody {
            code: String::new(),
            message: format!("no hwmeter error, but {:?}", excerpt(&answer.body)),
        });
        if code == CODE_DEADLINE {
            let told = true;
            return OffloadError::Deadline { url, allowed, told };
        }
        let status = answer.status;
        if [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN].contains(&status) {
            let had_token = self.token.is_some();
            return OffloadError::Unauthorized {
                url,
                status,
                message,
                had_token,
            };
        }
        let seconds = answer
            .headers
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.parse().ok());
        let retry_after = seconds.map(Duration::from_secs);
        OffloadError::Refused {
            url,
            status,
            code,
            message,
            retry_after,
        }
    }

    fn bad_answer(&self, what: String) -> OffloadError {
        OffloadError::BadAnswer {
            url: self.url.clone(),
            what: harmless(&what, LONGEST_EXCUSE),
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

fn is_module_unknown(answer: &Answer) -> bool {
    answer.status == StatusCode::NOT_FOUND
        && ErrorBody::read(&answer.body).is_some_and(|body| body.code == CODE_MODULE_UNKNOWN)
}

fn no_connection_in_time(allowed: Duration) -> io::Error {
    let limit = allowed.mul_f64(CONNECT_SHARE).as_secs_f64();
    io::Error::new(io::ErrorKind::TimedOut, format!("no connection within {limit} s"))
}

fn excerpt(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(80)]).into_owned()
}
