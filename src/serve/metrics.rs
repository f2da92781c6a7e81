//! What the server counts, in the Prometheus text format 0.0.4.

use super::Role;
use super::api_error::Code;
use super::executor::Counts;
use super::route::Route;
use hyper::StatusCode;
use prometheus::{
    Encoder, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry,
    TextEncoder, core::Collector,
};
use std::time::Duration;

pub(super) use prometheus::TEXT_FORMAT;

/// Bounds of the latency histograms in seconds: from the smallest task to the longest.
const SECONDS: [f64; 15] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0,
];

/// Everything that is counted.
pub(super) struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    request_seconds: HistogramVec,
    tasks: IntCounterVec,
    task_queue_seconds: Histogram,
    task_run_seconds: Histogram,
    waiting: IntGauge,
    running: IntGauge,
    workers: IntGauge,
    /// Open connections.
    pub connections: IntGauge,
    /// Connections accepted.
    pub accepted: IntCounter,
    lost: IntCounterVec,
    /// Bytes from clients, TLS included.
    pub received: IntCounter,
    /// Bytes to clients, TLS included.
    pub sent: IntCounter,
}

/// Why a connection ended otherwise than by its client or after an answer that says why.
#[derive(Clone, Copy, Debug)]
pub(super) enum Lost {
    /// It did nothing for too long.
    Idle,
    /// It did nothing, and its place was needed.
    Shed,
    /// There was no place.
    Refused,
    /// What came was no HTTP, or had too many header fields.
    BadHttp,
    /// No TLS came about.
    Tls,
    /// The server ended before its first request.
    Ending,
    /// The connection broke, or ended within a request.
    Broken,
}

impl Lost {
    const ALL: [Self; 7] = [
        Self::Idle,
        Self::Shed,
        Self::Refused,
        Self::BadHttp,
        Self::Tls,
        Self::Ending,
        Self::Broken,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Shed => "shed",
            Self::Refused => "refused",
            Self::BadHttp => "bad_http",
            Self::Tls => "tls",
            Self::Ending => "ending",
            Self::Broken => "broken",
        }
    }
}

impl Metrics {
    /// All at zero. An error means that two have one name.
    pub fn new(role: Role) -> prometheus::Result<Self> {
        let registry = Registry::new();
        let counter = |name, help, labels: &[&str]| {
            register(&registry, IntCounterVec::new(Opts::new(name, help), labels)?)
        };
        let single = |name, help| register(&registry, IntCounter::new(name, help)?);
        let gauge = |name, help| register(&registry, IntGauge::new(name, help)?);
        let seconds = |name, help| HistogramOpts::new(name, help).buckets(SECONDS.to_vec());
        let histogram = |name, help| register(&registry, Histogram::with_opts(seconds(name, help))?);

        let build = IntGauge::with_opts(
            Opts::new("hwmeter_build_info", "Always 1; the labels say what runs.")
                .const_label("version", env!("CARGO_PKG_VERSION"))
                .const_label("role", role.name()),
        )?;
        register(&registry, build)?.set(1);
        let metrics = Self {
            requests: counter(
                "hwmeter_http_requests_total",
                "Requests by route, status and error code; an abandoned one has code client_gone and status 499.",
                &["route", "status", "code"],
            )?,
            request_seconds: register(
                &registry,
                HistogramVec::new(
                    seconds(
                        "hwmeter_http_request_seconds",
                        "Seconds from a request's head to its answer.",
                    ),
                    &["route"],
                )?,
            )?,
            tasks: counter(
                "hwmeter_tasks_total",
                "Tasks posted, by outcome: done, client_gone, or the code of the error.",
                &["outcome"],
            )?,
            task_queue_seconds: histogram(
                "hwmeter_task_queue_seconds",
                "Seconds that finished tasks waited for a worker.",
            )?,
            task_run_seconds: histogram("hwmeter_task_run_seconds", "Seconds that finished tasks ran.")?,
            waiting: gauge("hwmeter_tasks_waiting", "Tasks waiting for a worker now.")?,
            running: gauge("hwmeter_tasks_running", "Tasks running now.")?,
            workers: gauge("hwmeter_workers", "Tasks that may run at once.")?,
            connections: gauge("hwmeter_connections", "Connections open now.")?,
            accepted: single("hwmeter_connections_total", "Connections accepted.")?,
            lost: counter(
                "hwmeter_connections_lost_total",
                "Connections that ended otherwise than by their client or after an answer that says why.",
                &["reason"],
            )?,
            received: single(
                "hwmeter_received_bytes_total",
                "Bytes from clients, TLS included.",
            )?,
            sent: single("hwmeter_sent_bytes_total", "Bytes to clients, TLS included.")?,
            registry,
        };
        for reason in Lost::ALL {
            metrics.lost.with_label_values(&[reason.name()]);
        }
        Ok(metrics)
    }

    /// A request was answered.
    pub fn answered(&self, route: Option<Route>, status: StatusCode, code: Option<Code>, took: Duration) {
        let code = code.map_or("", |code| code.facts().name);
        self.count(route, status.as_str(), code);
        if route == Some(Route::Tasks) {
            let outcome = if code.is_empty() { "done" } else { code };
            self.tasks.with_label_values(&[outcome]).inc();
        }
        self.request_seconds
            .with_label_values(&[label(route)])
            .observe(took.as_secs_f64());
    }

    /// A client went away before its answer.
    pub fn client_gone(&self, route: Option<Route>) {
        self.count(route, "499", "client_gone");
        if route == Some(Route::Tasks) {
            self.tasks.with_label_values(&["client_gone"]).inc();
        }
    }

    /// A task is done.
    pub fn task_done(&self, queued: Duration, ran: Duration) {
        self.task_queue_seconds.observe(queued.as_secs_f64());
        self.task_run_seconds.observe(ran.as_secs_f64());
    }

    /// A connection ended.
    pub fn lost(&self, why: Lost) {
        self.lost.with_label_values(&[why.name()]).inc();
    }

    /// Everything, as text.
    pub fn text(&self, tasks: Counts) -> Vec<u8> {
        self.waiting.set(tasks.waiting as i64);
        self.running.set(tasks.running as i64);
        self.workers.set(tasks.workers as i64);
        let mut text = Vec::with_capacity(16 << 10);
        // Into memory, from names that were checked when they were registered: this cannot fail.
        if let Err(e) = TextEncoder::new().encode(&self.registry.gather(), &mut text) {
            tracing::error!("the metrics cannot be written: {e}");
        }
        text
    }

    fn count(&self, route: Option<Route>, status: &str, code: &str) {
        self.requests
            .with_label_values(&[label(route), status, code])
            .inc();
    }
}

/// Paths that lead nowhere share one label: their number must not grow with what clients make up.
fn label(route: Option<Route>) -> &'static str {
    route.map_or("other", Route::path)
}

fn register<C: Collector + Clone + 'static>(registry: &Registry, metric: C) -> prometheus::Result<C> {
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}
