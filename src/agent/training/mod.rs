//! Where learning runs: on the device, on the MEC, or where it costs less.
//!
//! ```text
//! mod.rs     what the ledger sees: learn, poll, finish
//! mec.rs     experiences out, weights in; the whole learner at the end and whenever training comes back
//! auto.rs    which site is cheaper, and when to look at the other one
//! stats.rs   time, joules and bytes of the updates of each site
//! ```
//!
//! The learner is the same wherever it is trained: it goes over with all it has, and comes back so. If the trainer has
//! gone silent it is rebuilt here, from the learner that the epoch began with and the experiences since, to the bit.

pub mod auto;
pub mod mec;
pub mod stats;

use super::checkpoints;
use crate::learn::guard::Guard;
use crate::learn::{Cost, Transition};
use auto::Chooser;
use hwmeter_hw::meter::Meter;
use hwmeter_hw::sensor::Kind;
use hwmeter_hw::span::PendingSpan;
use mec::MecSite;
use serde::Serialize;
use stats::{SiteReport, SiteStats};
use std::time::Instant;

/// Where a learner is trained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TrainingSite {
    /// On the device.
    Local,
    /// On the MEC.
    Mec,
}

impl TrainingSite {
    /// As in files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Mec => "mec",
        }
    }
}

/// An update that is in use.
#[derive(Debug)]
pub struct Update {
    /// The experience's number; 0 for one that was learned from at once.
    pub sequence: u64,
    /// Where.
    pub site: TrainingSite,
    /// How long it took, as far as that is known.
    pub times: Times,
    /// Around it, when nothing else was running.
    pub span: Option<PendingSpan>,
}

/// Seconds of an update and of its parts.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Times {
    /// All of it: for a remote one from the beginning of sending to weights that a decision can use. Weights lie ready
    /// until the task at hand is done; that wait is not in it.
    pub train_s: Option<f64>,
    /// Until the MQTT client had the experience.
    pub send_s: Option<f64>,
    /// What the trainer says: waiting and updating.
    pub server_s: Option<f64>,
    /// The rest until the weights had come: network and broker, both ways.
    pub receive_s: Option<f64>,
    /// Unpacking, checking and swapping in.
    pub apply_s: Option<f64>,
    /// What the trainer says: joules of its machine above idle, and their kind.
    pub server_j: Option<(f64, Kind)>,
}

/// What became of an experience.
#[derive(Debug)]
pub enum Learned {
    /// It was learned from.
    Done(Update),
    /// It is on its way under this number.
    Sent(u64),
    /// It was not, and this is why.
    Not(String),
}

/// Where learning runs in this run.
pub struct Training {
    site: TrainingSite,
    mec: Option<MecSite>,
    /// Who decides about the site; `None`: it is fixed.
    chooser: Option<Chooser>,
    /// Experiences learned from before this run and in it, on the device.
    count: u64,
    is_leaving_mec: bool,
    finished: Vec<Update>,
    stats: [SiteStats; 2],
}

impl Training {
    /// On the device; `count` experiences have been learned from before.
    pub fn local(count: u64) -> Self {
        Self::new(TrainingSite::Local, None, None, count)
    }

    /// On the MEC.
    pub fn mec(mec: MecSite) -> Self {
        Self::new(TrainingSite::Mec, Some(mec), None, 0)
    }

    /// Where it costs less; it begins at `site`.
    pub fn auto(site: TrainingSite, mec: MecSite, chooser: Chooser, count: u64) -> Self {
        Self::new(site, Some(mec), Some(chooser), count)
    }

    fn new(site: TrainingSite, mec: Option<MecSite>, chooser: Option<Chooser>, count: u64) -> Self {
        Self {
            site,
            mec,
            chooser,
            count,
            is_leaving_mec: false,
            finished: Vec::new(),
            stats: [TrainingSite::Local, TrainingSite::Mec].map(SiteStats::new),
        }
    }

    /// Where learning runs now.
    pub fn site(&self) -> TrainingSite {
        self.site
    }

    /// How far training is, and where.
    pub fn whereabouts(&self) -> checkpoints::Training {
        match (&self.mec, self.site) {
            (Some(mec), TrainingSite::Mec) => checkpoints::Training {
                experiences: mec.last(),
                is_on_mec: true,
            },
            _ => checkpoints::Training {
                experiences: self.count,
                is_on_mec: false,
            },
        }
    }

    /// Whether the row of this experience should wait for its update.
    pub fn awaits(&self, sequence: u64) -> bool {
        let is_on_its_way = self.mec.as_ref().is_some_and(|mec| mec.awaits(sequence));
        is_on_its_way || self.finished.iter().any(|update| update.sequence == sequence)
    }

    /// Learns from an experience, here or there.
    pub fn learn(
        &mut self,
        task: u64,
        learner: &mut Guard,
        transition: &Transition,
        cost: &Cost,
        meter: &Meter,
    ) -> Learned {
        match (&mut self.mec, self.site) {
            (Some(mec), TrainingSite::Mec) => {
                let sent = mec.send(task, learner, transition, cost, meter);
                self.finished.extend(mec.take_finished());
                match sent {
                    Some(sequence) => Learned::Sent(sequence),
                    None => Learned::Not("not learned from: the queue of experiences is full".to_owned()),
                }
            }
            _ => self.learn_here(learner, transition, cost, meter),
        }
    }

    /// Swaps in what has come, before the next decision, and changes the site if that is due.
    pub fn poll(&mut self, learner: &mut Guard) -> Vec<Update> {
        if let Some(mec) = &mut self.mec {
            mec.poll(learner, self.site == TrainingSite::Mec);
            self.finished.extend(mec.take_finished());
            self.change_site(learner);
        }
        let finished = std::mem::take(&mut self.finished);
        for update in &finished {
            self.note(update.site, &update.times);
        }
        finished
    }

    /// At the end: the learner is as it is after all experiences.
    pub fn finish(&mut self, learner: &mut Guard) -> Vec<Update> {
        if let (Some(mec), TrainingSite::Mec) = (&mut self.mec, self.site) {
            mec.bring_back(learner);
            self.chooser = None;
            self.settle_here();
        }
        self.poll(learner)
    }

    /// The energy of an update's span is known: above the idle board, and as it is.
    pub fn note_energy(&mut self, site: TrainingSite, above_idle_j: f64, span_j: f64, kind: &'static str) {
        self.stats[site as usize].add_energy(above_idle_j, span_j, kind);
        if let Some(chooser) = &mut self.chooser {
            chooser.note_joules(site, above_idle_j);
        }
    }

    /// Figures of the sites that were used. Takes leave of the trainer.
    pub fn into_reports(self) -> Vec<SiteReport> {
        let [local, mec] = self.stats;
        let (counts, codec, used) = match self.mec {
            Some(site) => {
                let (counts, codec, used) = (site.counts(), site.codec(), site.is_used());
                site.stop();
                (Some(counts), Some(codec), used)
            }
            None => (None, None, false),
        };
        let local = local.is_used().then(|| local.report(None, None));
        let mec = used.then(|| mec.report(counts, codec));
        local.into_iter().chain(mec).collect()
    }

    fn learn_here(
        &mut self,
        learner: &mut Guard,
        transition: &Transition,
        cost: &Cost,
        meter: &Meter,
    ) -> Learned {
        let span = meter.span("train");
        let begin = Instant::now();
        let learned = learner.learn(transition, cost);
        let train_s = begin.elapsed().as_secs_f64();
        let span = span.end();
        // The trainer counts what it is sent, whether its learner takes it or not.
        self.count += 1;
        if let Err(error) = learned {
            return Learned::Not(format!("not learned from: {error}"));
        }
        let times = Times {
            train_s: Some(train_s),
            ..Times::default()
        };
        self.note(TrainingSite::Local, &times);
        Learned::Done(Update {
            sequence: 0,
            site: TrainingSite::Local,
            times,
            span: Some(span),
        })
    }

    fn note(&mut self, site: TrainingSite, times: &Times) {
        self.stats[site as usize].add(times);
        if let (Some(chooser), Some(seconds)) = (&mut self.chooser, times.train_s) {
            chooser.note_seconds(site, seconds);
        }
    }

    fn change_site(&mut self, learner: &mut Guard) {
        let (Some(mec), Some(chooser)) = (&mut self.mec, &mut self.chooser) else {
            return;
        };
        if self.site == TrainingSite::Mec && mec.is_silent(chooser.bound()) {
            tracing::warn!("the trainer is silent: training goes on here");
            chooser.silent();
            mec.rebuild(learner);
        } else if self.is_leaving_mec {
            if !mec.take_back(learner) {
                return;
            }
        } else {
            match (self.site, chooser.choose(self.site)) {
                (TrainingSite::Local, TrainingSite::Mec) if mec.take_over(learner, self.count) => {
                    self.site = TrainingSite::Mec;
                }
                (TrainingSite::Mec, TrainingSite::Local) => {
                    mec.ask_back();
                    self.is_leaving_mec = true;
                }
                _ => {}
            }
            return;
        }
        self.settle_here();
    }

    /// The learner has come back from the MEC with all it has learned there.
    fn settle_here(&mut self) {
        if let Some(mec) = &mut self.mec {
            self.count = mec.last();
            self.finished.extend(mec.take_finished());
        }
        self.site = TrainingSite::Local;
        self.is_leaving_mec = false;
    }
}
