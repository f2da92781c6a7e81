//! Time, joules and bytes of the updates of a site.

use super::{Times, TrainingSite};
use crate::quantile::quantile;
use crate::train::device::Counts;
use crate::train::energy::UpdateEnergy;
use hwmeter_hw::sensor::Kind;
use serde::Serialize;

/// Adds up the updates of one site.
#[derive(Clone, Debug)]
pub struct SiteStats {
    site: TrainingSite,
    updates: u64,
    train_s: Vec<f64>,
    send_s: Vec<f64>,
    server_s: Vec<f64>,
    receive_s: Vec<f64>,
    apply_s: Vec<f64>,
    measured: u64,
    above_idle_j: f64,
    span_j: f64,
    kind: Option<&'static str>,
    server: UpdateEnergy,
    server_kind: Option<Kind>,
}

/// The figures of a site; absent ones are unknown.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SiteReport {
    /// Which.
    pub site: TrainingSite,
    /// Updates that were in use on the device.
    pub updates: u64,
    /// Median time of one.
    pub update_p50_s: Option<f64>,
    /// 99th percentile of it.
    pub update_p99_s: Option<f64>,
    /// Mean energy of the device for one, above that of the idle board.
    pub update_j: Option<f64>,
    /// Whether it was measured or modelled.
    pub update_j_kind: Option<&'static str>,
    /// The same with the idle board.
    pub update_with_idle_j: Option<f64>,
    /// Updates whose energy is known.
    pub updates_with_energy: u64,
    /// Mean energy of the server for one, above that of its idle machine, as the trainer says.
    pub server_j: Option<f64>,
    /// Whether it was measured or modelled; of several kinds, the last.
    pub server_j_kind: Option<Kind>,
    /// Median time until an experience was on its way.
    pub send_p50_s: Option<f64>,
    /// Median time on the server.
    pub server_p50_s: Option<f64>,
    /// Median time in network and broker, both ways.
    pub receive_p50_s: Option<f64>,
    /// Median time until weights could be used.
    pub apply_p50_s: Option<f64>,
    /// Bytes sent, topics included.
    pub bytes_up: u64,
    /// Bytes received, topics included.
    pub bytes_down: u64,
    /// Experiences that found no place in the queue.
    pub lost: u64,
    /// Experiences that reached the trainer more than once.
    pub duplicates: u64,
    /// How weights were written.
    pub codec: Option<&'static str>,
    /// What else happened on the wire.
    pub messages: Option<Counts>,
}

impl SiteStats {
    /// Of a site without updates.
    pub fn new(site: TrainingSite) -> Self {
        Self {
            site,
            updates: 0,
            train_s: Vec::new(),
            send_s: Vec::new(),
            server_s: Vec::new(),
            receive_s: Vec::new(),
            apply_s: Vec::new(),
            measured: 0,
            above_idle_j: 0.0,
            span_j: 0.0,
            kind: None,
            server: UpdateEnergy::default(),
            server_kind: None,
        }
    }

    /// Whether there were any updates.
    pub fn is_used(&self) -> bool {
        self.updates > 0
    }

    /// An update is in use.
    pub fn add(&mut self, times: &Times) {
        self.updates += 1;
        self.train_s.extend(times.train_s);
        self.send_s.extend(times.send_s);
        self.server_s.extend(times.server_s);
        self.receive_s.extend(times.receive_s);
        self.apply_s.extend(times.apply_s);
        if let Some((joules, kind)) = times.server_j {
            self.server += UpdateEnergy::of(1, Some(joules));
            self.server_kind = Some(kind);
        }
    }

    /// The energy of one is known.
    pub fn add_energy(&mut self, above_idle_j: f64, span_j: f64, kind: &'static str) {
        self.measured += 1;
        self.above_idle_j += above_idle_j;
        self.span_j += span_j;
        self.kind = Some(kind);
    }

    /// The figures.
    pub fn report(mut self, messages: Option<Counts>, codec: Option<&'static str>) -> SiteReport {
        let mean = |joules: f64| (self.measured > 0).then(|| joules / self.measured as f64);
        let (update_j, update_with_idle_j) = (mean(self.above_idle_j), mean(self.span_j));
        let counts = messages.unwrap_or_default();
        SiteReport {
            site: self.site,
            updates: self.updates,
            update_p50_s: quantile(&mut self.train_s, 0.50),
            update_p99_s: quantile(&mut self.train_s, 0.99),
            update_j,
            update_j_kind: self.kind,
            update_with_idle_j,
            updates_with_energy: self.measured,
            server_j: self.server.mean(),
            server_j_kind: self.server_kind,
            send_p50_s: quantile(&mut self.send_s, 0.50),
            server_p50_s: quantile(&mut self.server_s, 0.50),
            receive_p50_s: quantile(&mut self.receive_s, 0.50),
            apply_p50_s: quantile(&mut self.apply_s, 0.50),
            bytes_up: counts.bytes_up,
            bytes_down: counts.bytes_down,
            lost: counts.lost,
            duplicates: counts.duplicates,
            codec,
            messages,
        }
    }
}
