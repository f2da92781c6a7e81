//! Spans: named intervals of work and the energy they took.
//!
//! Beginning and ending a span reads the clock and leaves a note; it never waits for a sensor. The energy is
//! resolved when the next sample lands, by interpolation between the samples around each edge.

use crate::clock::{Clock, Moment};
use crate::integrator::Integrator;
pub use crate::mark::Mark;
use crate::sensor::{Kind, SensorInfo};
use crate::uncertainty::{Budget, Energy};
use crate::units::{Seconds, Watts};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

/// What a span cost.
#[derive(Clone, Debug, PartialEq)]
pub struct SpanEnergy {
    /// The name given at the beginning.
    pub name: String,
    /// When it began.
    pub begin: Moment,
    /// When it ended.
    pub end: Moment,
    /// The sensor's total; `None` if no sample backs any part of the span.
    pub total: Option<Energy>,
    /// Per rail, in the sensor's order: `None` where the rail had no value around the span. Empty if `total` is `None`.
    pub rails: Vec<Option<Energy>>,
    /// The terms of the total's uncertainty.
    pub budget: Budget,
    /// Share of the span that is backed by samples, 0 to 1.
    pub coverage: f64,
    /// Part of it before the first or after the last sample, whose energy is not in the joules; gaps between samples are.
    pub outside: Seconds,
    /// Samples within the span.
    pub samples: u64,
    /// Measured, modelled or simulated.
    pub kind: Kind,
}

impl SpanEnergy {
    /// Length of the span.
    pub fn duration(&self) -> Seconds {
        self.end - self.begin
    }

    /// Mean power of the total between the first and the last sample that the span reaches.
    pub fn mean_power(&self) -> Option<Watts> {
        let energy = self.total?.joules;
        let time = self.duration() - self.outside;
        (time.0 > 0.0).then(|| energy / time)
    }

    /// The energy between two marks of the same integrator, `begin` first.
    pub fn between(name: String, info: &SensorInfo, begin: &Mark, end: &Mark) -> Self {
        let mut span = Self::unknown(name, info.kind, begin.t, end.t);
        begin.resolve(end, info, &mut span);
        span
    }

    fn unknown(name: String, kind: Kind, begin: Moment, end: Moment) -> Self {
        Self {
            name,
            begin,
            end,
            total: None,
            rails: Vec::new(),
            budget: Budget::default(),
            coverage: 0.0,
            outside: end - begin,
            samples: 0,
            kind,
        }
    }
}

/// A span that has begun. Dropping it without [`Span::end`] forgets it.
#[derive(Debug)]
pub struct Span {
    name: String,
    begin: Arc<Edge>,
    desk: Arc<EdgeDesk>,
}

impl Span {
    /// Ends the span now. Does not wait for a sample.
    pub fn end(self) -> PendingSpan {
        let now = self.desk.clock.now();
        self.end_at(now)
    }

    /// Ends the span at a moment on the meter's clock; one before the span's beginning counts as that.
    pub fn end_at(self, moment: Moment) -> PendingSpan {
        let end = self.desk.mark(moment.max(self.begin.t));
        PendingSpan {
            name: self.name,
            begin: self.begin,
            end,
            desk: self.desk,
        }
    }
}

/// A span that has ended and waits for the next sample.
#[derive(Debug)]
pub struct PendingSpan {
    name: String,
    begin: Arc<Edge>,
    end: Arc<Edge>,
    desk: Arc<EdgeDesk>,
}

/// What is known about an ended span.
#[derive(Debug, PartialEq)]
#[allow(clippy::large_enum_variant)] // short-lived, never stored in bulk
pub enum Resolution {
    /// The next sample has not landed yet.
    Pending,
    /// The energy is known.
    Resolved(SpanEnergy),
    /// No sample came for so long that none will be waited for; carries the span without energy.
    Lost(SpanEnergy),
}

impl PendingSpan {
    /// When the span began.
    pub fn begin(&self) -> Moment {
        self.begin.t
    }

    /// When the span ended.
    pub fn end(&self) -> Moment {
        self.end.t
    }

    /// The energy if it is known by now. Never waits.
    pub fn poll(&self) -> Resolution {
        match (self.begin.mark.get(), self.end.mark.get()) {
            (Some(begin), Some(end)) => Resolution::Resolved(SpanEnergy::between(
                self.name.clone(),
                &self.desk.info,
                begin,
                end,
            )),
            _ if (self.desk.clock.now() - self.end.t).0 > self.desk.patience.0 => {
                Resolution::Lost(self.without_energy())
            }
            _ => Resolution::Pending,
        }
    }

    /// Waits for the energy, at most until the sensor counts as gone.
    pub fn wait(&self) -> SpanEnergy {
        loop {
            match self.poll() {
                Resolution::Resolved(energy) | Resolution::Lost(energy) => return energy,
                Resolution::Pending => {
                    let soon = self.desk.clock.now().after(std::time::Duration::from_millis(1));
                    self.desk.clock.sleep_until(soon);
                }
            }
        }
    }

    fn without_energy(&self) -> SpanEnergy {
        SpanEnergy::unknown(self.name.clone(), self.desk.info.kind, self.begin.t, self.end.t)
    }
}

/// The beginning or end of a span: a moment, and what was known there once samples on both sides existed.
#[derive(Debug)]
struct Edge {
    t: Moment,
    mark: OnceLock<Box<Mark>>,
}

/// From so many edges on, dropped ones are looked for.
const CROWD: usize = 4096;

/// Where threads leave edges and the sampler resolves them.
#[derive(Debug)]
pub(crate) struct EdgeDesk {
    pub info: SensorInfo,
    pub clock: ClockHandle,
    patience: Seconds,
    edges: Mutex<Vec<Arc<Edge>>>,
    /// How many there are, so that a sample for which nobody waits takes no lock.
    waiting: AtomicUsize,
}

/// A clock that can stand in a `Debug` struct.
pub(crate) struct ClockHandle(pub Arc<dyn Clock>);

impl std::fmt::Debug for ClockHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Clock")
    }
}

impl std::ops::Deref for ClockHandle {
    type Target = dyn Clock;
    fn deref(&self) -> &Self::Target {
        &*self.0
    }
}

impl EdgeDesk {
    /// Edges for which no sample comes within `patience` are given up.
    pub fn new(info: SensorInfo, clock: Arc<dyn Clock>, patience: Seconds) -> Self {
        Self {
            info,
            clock: ClockHandle(clock),
            patience,
            edges: Mutex::default(),
            waiting: AtomicUsize::new(0),
        }
    }

    /// Begins a span at `begin`.
    pub fn begin(self: &Arc<Self>, name: String, begin: Moment) -> Span {
        Span {
            name,
            begin: self.mark(begin),
            desk: Arc::clone(self),
        }
    }

    fn mark(&self, t: Moment) -> Arc<Edge> {
        let edge = Arc::new(Edge {
            t,
            mark: OnceLock::new(),
        });
        let mut edges = self.lock();
        // Without samples (a sensor that is gone) nobody else clears away dropped spans.
        if edges.len() >= CROWD && edges.len().is_power_of_two() {
            edges.retain(|edge| Arc::strong_count(edge) > 1);
        }
        edges.push(Arc::clone(&edge));
        self.waiting.store(edges.len(), Ordering::Relaxed);
        edge
    }

    /// Resolves the edges that lie before the newest sample; with `all`, the later ones too, at that sample.
    pub fn resolve(&self, integrator: &Integrator, all: bool) {
        let Some(newest) = integrator.last() else { return };
        if self.waiting.load(Ordering::Relaxed) == 0 && !all {
            return;
        }
        // Resolving thousands takes a while; whoever begins a span meanwhile must not wait for it.
        let mut edges = std::mem::take(&mut *self.lock());
        edges.retain(|edge| {
            // Nobody else holds it: its span was dropped.
            if Arc::strong_count(edge) == 1 {
                return false;
            }
            if edge.t > newest.t && !all {
                return true;
            }
            let _ = edge.mark.set(Box::new(Mark::at(integrator, edge.t)));
            false
        });
        let mut waiting = self.lock();
        waiting.append(&mut edges);
        self.waiting.store(waiting.len(), Ordering::Relaxed);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Edge>>> {
        self.edges
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
