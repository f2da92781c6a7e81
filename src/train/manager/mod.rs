//! The trainer's side: which learners there are, whose turn it is, what is stored.
//!
//! ```text
//! receive     messages, checked and sorted: experiences into inboxes, presences into lives
//! seat        what is known of one learner: its life, how far it is, what waits
//! admission   which learners may be had
//! turns       whose turn it is, and which learners are in memory
//! task        what is done on threads: a lesson, an opening, a writing
//! lesson      some updates of one learner, and its weights
//! results     what came of it
//! timers      what is due after a while: checkpoints, acknowledgements, what is missing
//! handover    devices that go to another trainer, and come from one
//! report      what anybody may know
//! delivery output    messages on their way out
//! membership  which devices are this trainer's
//! group       the same where those that are alive divide the devices
//! moved       devices that are another's from now on
//! ```
//!
//! A [`Manager`] has no socket, no thread and no clock: messages and the time are passed in, [`Task`]s are taken out,
//! run anywhere and given back as [`Done`], and what it wants said is taken from it. So a test can lose, repeat and
//! delay everything, and kill it anywhere.
//!
//! A task takes the learner with it, so one learner is worked on by one thread at a time. Learners with something to
//! do wait in a line; each turn is some milliseconds, then it is the next one's. A device that sends much fills its own
//! inbox, and nobody else's.

mod admission;
mod delivery;
mod group;
mod handover;
mod lesson;
mod membership;
mod moved;
mod output;
mod receive;
mod report;
mod results;
mod seat;
mod task;
mod timers;
mod turns;

#[cfg(test)]
mod tests;

pub use group::Group;
pub use membership::{InvalidShard, Membership, Shard};
pub use output::Output;
pub use task::{Done, Lane, Task};
pub use timers::TICK;

use crate::learn::Engine;
use crate::train::energy::Price;
use crate::train::topic::{Channel, Name, Pupil};
use crate::train::types::OfType;
use output::Outbox;
use seat::Seat;
use std::collections::{HashMap, VecDeque};
use std::time::Duration;
use task::Writing;

/// How a trainer is to be.
#[derive(Clone, Debug)]
pub struct Config {
    /// Its name.
    pub trainer: Name,
    /// What does the arithmetic.
    pub engine: Engine,
    /// Which devices are its.
    pub membership: Membership,
    /// Of these, which types.
    pub of_type: OfType,
    /// Learners in memory at once; the others are in the store.
    pub max_learners: usize,
    /// Learners known at once.
    pub max_known: usize,
    /// Bytes of memory that a learner may take.
    pub max_learner_bytes: usize,
    /// Bytes of the largest message that the broker takes.
    pub max_message: usize,
    /// Experiences of a learner that wait; more are asked for again later.
    pub inbox: usize,
    /// A learner is stored after so many updates,
    pub store_updates: u64,
    /// or so long after the first that is not stored.
    pub store_after: Duration,
    /// What a CPU second costs here, where that is known.
    pub price: Option<Price>,
}

impl Config {
    /// The usual numbers.
    pub fn new(trainer: Name) -> Self {
        Self {
            trainer,
            engine: Engine::Native,
            membership: Membership::Alone,
            of_type: OfType::Any,
            max_learners: 1000,
            max_known: 1_000_000,
            max_learner_bytes: 64 << 20,
            max_message: 1 << 20,
            inbox: 1024,
            store_updates: 1000,
            store_after: Duration::from_secs(30),
            price: None,
        }
    }
}

/// What a trainer has, and what happened to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Learners known.
    pub learners: usize,
    /// Of these, in memory.
    pub in_memory: usize,
    /// Experiences learned from since the start.
    pub updates: u64,
    /// Messages that belong to no learner known here.
    pub dropped: u64,
    /// Times that a learner could not be read or written.
    pub store_failures: u64,
    /// Times that another trainer had claimed a learner of ours.
    pub fenced: u64,
    /// Learners given up because their arithmetic panicked.
    pub panics: u64,
}

/// In one line; what went wrong only if something did.
impl std::fmt::Display for Totals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            learners,
            in_memory,
            updates,
            ..
        } = self;
        write!(
            f,
            "{updates} updates, {learners} learners, {in_memory} of them in memory"
        )?;
        let rest = [
            (self.dropped, "messages of unknown learners dropped"),
            (self.store_failures, "times that the store failed"),
            (self.fenced, "times that another trainer had claimed a learner"),
            (self.panics, "learners that panicked"),
        ];
        rest.into_iter()
            .filter(|(count, _)| *count > 0)
            .try_for_each(|(count, what)| write!(f, ", {count} {what}"))
    }
}

/// All learners of a trainer.
pub struct Manager {
    config: Config,
    seats: HashMap<Pupil, Seat>,
    /// Epoch and number of the last experience of those that are not known yet.
    early: HashMap<Pupil, (u64, u64)>,
    /// Those in memory with something to do.
    turns: VecDeque<Pupil>,
    /// Those to come into memory.
    openings: VecDeque<Pupil>,
    writings: VecDeque<Writing>,
    outbox: Outbox,
    totals: Totals,
    /// The one that is on its way out of memory.
    leaving: Option<Pupil>,
    stopping: bool,
}

impl Manager {
    /// A trainer that knows nobody yet; it reads from its store what it needs when it needs it.
    pub fn new(mut config: Config) -> Self {
        let mut outbox = Outbox::default();
        outbox.push(Output::Subscribe(match config.membership.group() {
            // Of devices it hears when it is known who else is there.
            Some(group) => group.filter(),
            None => Channel::Status.of_all(),
        }));
        Self {
            config,
            seats: HashMap::new(),
            early: HashMap::new(),
            turns: VecDeque::new(),
            openings: VecDeque::new(),
            writings: VecDeque::new(),
            outbox,
            totals: Totals::default(),
            leaving: None,
            stopping: false,
        }
    }

    /// What is to be said next.
    pub fn output(&mut self) -> Option<Output> {
        self.outbox.pop()
    }

    /// It could not be said now: it is the next again.
    pub fn put_back(&mut self, output: Output) {
        self.outbox.put_back(output);
    }

    /// Whether something is to be said.
    pub fn has_output(&self) -> bool {
        !self.outbox.is_empty()
    }

    /// What there is.
    pub fn totals(&self) -> Totals {
        Totals {
            learners: self.seats.len(),
            ..self.totals
        }
    }
}
