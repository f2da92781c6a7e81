//! The traffic of other UEs (user equipment: phones, boards, cameras) that share a link or a server with the device.
//!
//! Each UE has one kept-alive connection and sends payloads on a schedule that gives its rate, as tasks of size 0: the
//! server takes them in, hashes them and computes nothing. A UE whose payload is not answered in time for the next one
//! sends that as soon as it is, and does not make up for what it could not send. On one thread; memory does not grow.

use super::access::Access;
use super::client::Client;
use super::connection::{Answer, Connection, Failure};
use super::error::OffloadError;
use super::task_query::{Asked, TaskQuery};
use super::url::Url;
use super::watched::Sent;
use super::wire::{ErrorBody, PAYLOAD_TYPE, TASKS_PATH};
use crate::file_limit::raise_file_limit;
use crate::learn::random::seeded;
use crate::task::{Kernel, Kernels};
use hdrhistogram::Histogram;
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Method, Request, StatusCode};
use rand::{Rng as _, RngExt};
use serde::Serialize;
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tokio_rustls::rustls::ClientConfig;

/// A server that does not answer within this time is not there.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(5);
/// A payload that is not answered within this time has failed; longer than any outage worth emulating.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// After a failure a UE waits, twice as long each time.
const BACK_OFF: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(5)];
/// A payload is so many seconds of the rate, ...
const PAYLOAD_S: f64 = 0.05;
/// ... within these bytes.
const PAYLOAD_BYTES: [f64; 2] = [1e3, 1e6];
/// Files the process needs besides connections.
const OTHER_FILES: u64 = 16;
/// Codes of refusals counted one by one; a server that makes up more is not worth the memory.
const MOST_CODES: usize = 16;

/// What to send.
#[derive(Clone, Debug)]
pub struct UeConfig {
    /// The server, or the link before it.
    pub url: Url,
    /// The token it asks for, and whom to trust.
    pub access: Access,
    /// How many UEs.
    pub ues: u32,
    /// Bits per second of payload that each tries to send.
    pub rate_bps: f64,
    /// Bytes of one payload; `None` takes 50 ms of the rate, within 1 kB and 1 MB.
    pub payload_bytes: Option<usize>,
    /// Seed of the payload, and of when in its interval each UE sends.
    pub seed: u64,
}

/// What became of it.
#[derive(Clone, Debug, Serialize)]
pub struct UeReport {
    /// The server.
    pub to: String,
    /// How many UEs.
    pub ues: u32,
    /// Bits per second of payload that all together tried to send.
    pub asked_bps: f64,
    /// Bits per second of payload that were answered.
    pub achieved_bps: f64,
    /// The same of the slowest, the middle and the fastest UE.
    pub ue_bps: [f64; 3],
    /// Bytes of one payload.
    pub payload_bytes: usize,
    /// The seed.
    pub seed: u64,
    /// Seconds from the first UE's start to the end.
    pub duration_s: f64,
    /// Payloads that were answered.
    pub answered: u64,
    /// Refused ones, by the code of the refusal.
    pub refused: BTreeMap<String, u64>,
    /// Payloads that were not answered: no connection, one that broke, or none within a minute.
    pub failed: u64,
    /// Why the last of them was not.
    pub last_failure: Option<String>,
    /// Seconds from sending a payload to its answer; `None` where none was answered.
    pub latency_s: Option<Latency>,
}

/// Percentiles, in seconds, each within 0.1 %.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct Latency {
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub max: f64,
}

/// Sends until `stop` completes.
pub fn run(config: &UeConfig, stop: impl Future<Output = ()>) -> Result<UeReport, OffloadError> {
    let files = raise_file_limit().saturating_sub(OTHER_FILES);
    if u64::from(config.ues) > files {
        tracing::warn!(
            "this process may have {files} connections (ulimit -Hn), so not all of the {} UEs can send at once",
            config.ues
        );
    }
    Client::with_access(config.url.clone(), &config.access)?.health(HEALTH_TIMEOUT)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(OffloadError::Setup)?;
    let traffic = Arc::new(Traffic::new(config)?);
    let began = Instant::now();
    runtime.block_on(async {
        let mut rng = seeded(config.seed);
        let mut ues = JoinSet::new();
        for number in 0..config.ues as usize {
            let phase = traffic.interval.mul_f64(rng.random::<f64>());
            ues.spawn(ue(number, Arc::clone(&traffic), phase));
        }
        stop.await;
        // Dropped here, every UE closes its connection.
    });
    Ok(traffic.report(config, began.elapsed()))
}

/// What all UEs share.
struct Traffic {
    url: Url,
    tls: Option<Arc<ClientConfig>>,
    token: Option<HeaderValue>,
    path: String,
    payload: Bytes,
    interval: Duration,
    tally: Mutex<Tally>,
}

struct Tally {
    /// Payloads answered, of each UE.
    answered: Vec<u64>,
    refused: BTreeMap<String, u64>,
    failed: u64,
    last_failure: Option<String>,
    latency_us: Histogram<u64>,
}

impl Traffic {
    fn new(config: &UeConfig) -> Result<Self, OffloadError> {
        let usual = (config.rate_bps / 8.0 * PAYLOAD_S).clamp(PAYLOAD_BYTES[0], PAYLOAD_BYTES[1]) as usize;
        let mut payload = vec![0; config.payload_bytes.unwrap_or(usual)];
        seeded(config.seed).fill_bytes(&mut payload);
        let nothing = Kernels::one(Kernel::Sha256, 0);
        let query = TaskQuery {
            asked: Asked::Kernels(nothing, config.seed),
            deadline: None,
        }
        .to_query();
        let longest_us = 2 * ANSWER_TIMEOUT.as_micros() as u64;
        let latency_us = Histogram::new_with_bounds(1, longest_us, 3)
            .map_err(|e| OffloadError::Setup(std::io::Error::other(e.to_string())))?;
        Ok(Self {
            url: config.url.clone(),
            tls: config.access.tls().filter(|_| config.url.is_https()),
            token: config.access.token().cloned(),
            path: config.url.path(&format!("{TASKS_PATH}?{query}")),
            interval: Duration::from_secs_f64(8.0 * payload.len() as f64 / config.rate_bps),
            payload: payload.into(),
            tally: Mutex::new(Tally {
                answered: vec![0; config.ues as usize],
                refused: BTreeMap::new(),
                failed: 0,
                last_failure: None,
                latency_us,
            }),
        })
    }

    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends one payload; a connection is kept only after a complete answer.
    async fn send(&self, connection: &mut Option<Connection>) -> Result<Answer, Failure> {
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(&self.path)
            .header(HOST, self.url.authority())
            .header(CONTENT_TYPE, PAYLOAD_TYPE)
            .body(Full::new(self.payload.clone()))
            .map_err(|e| Failure::Connect(std::io::Error::other(e)))?;
        if let Some(token) = &self.token {
            request.headers_mut().insert(AUTHORIZATION, token.clone());
        }
        let mut open = match connection.take() {
            Some(kept) => kept,
            None => Connection::open(&self.url, self.tls.clone(), Sent::new()).await?,
        };
        let answer = open.exchange(request).await?;
        *connection = Some(open);
        Ok(answer)
    }

    fn report(&self, config: &UeConfig, duration: Duration) -> UeReport {
        let tally = self.tally();
        let duration_s = duration.as_secs_f64();
        let bps = |answered: u64| 8.0 * self.payload.len() as f64 * answered as f64 / duration_s;
        let mut each = tally.answered.clone();
        each.sort_unstable();
        let answered = each.iter().sum();
        let at = |index: usize| each.get(index).map_or(0.0, |&answered| bps(answered));
        let seconds = |micros: u64| 1e-6 * micros as f64;
        let latency = &tally.latency_us;
        let percentile = |q| seconds(latency.value_at_quantile(q));
        UeReport {
            to: self.url.to_string(),
            ues: config.ues,
            asked_bps: config.rate_bps * f64::from(config.ues),
            achieved_bps: bps(answered),
            ue_bps: [at(0), at(each.len() / 2), at(each.len().saturating_sub(1))],
            payload_bytes: self.payload.len(),
            seed: config.seed,
            duration_s,
            answered,
            refused: tally.refused.clone(),
            failed: tally.failed,
            last_failure: tally.last_failure.clone(),
            latency_s: (answered > 0).then(|| Latency {
                p50: percentile(0.5),
                p90: percentile(0.9),
                p99: percentile(0.99),
                max: seconds(latency.max()),
            }),
        }
    }
}

/// One UE, until it is dropped.
async fn ue(number: usize, traffic: Arc<Traffic>, phase: Duration) {
    let mut connection = None;
    let mut due = Instant::now() + phase;
    let mut back_off = BACK_OFF[0];
    loop {
        tokio::time::sleep_until(due.into()).await;
        let sent = Instant::now();
        let outcome = tokio::time::timeout(ANSWER_TIMEOUT, traffic.send(&mut connection)).await;
        let answered = Instant::now();
        due = (due + traffic.interval).max(answered);
        let failure = match outcome {
            Ok(Ok(answer)) => {
                traffic.tally().count(number, &answer, answered - sent);
                back_off = BACK_OFF[0];
                continue;
            }
            Ok(Err(failure)) => failure.at(&traffic.url).to_string(),
            Err(_) => format!(
                "{} did not answer within {} s",
                traffic.url,
                ANSWER_TIMEOUT.as_secs()
            ),
        };
        let mut tally = traffic.tally();
        tally.failed += 1;
        tally.last_failure = Some(failure);
        drop(tally);
        due = due.max(answered + back_off);
        back_off = (2 * back_off).min(BACK_OFF[1]);
    }
}

impl Tally {
    fn count(&mut self, number: usize, answer: &Answer, took: Duration) {
        if answer.status == StatusCode::OK {
            self.answered[number] += 1;
            self.latency_us.saturating_record(took.as_micros() as u64);
            return;
        }
        let code = ErrorBody::read(&answer.body).map_or_else(
            || format!("status {}", answer.status.as_u16()),
            |refusal| refusal.code,
        );
        let is_known = self.refused.contains_key(&code) || self.refused.len() < MOST_CODES;
        let code = if is_known { code } else { "other".to_owned() };
        *self.refused.entry(code).or_default() += 1;
    }
}
