//! What a manager has others do, on threads of their own: to learn, to open a learner, to store one.

use super::admission::Recipe;
use super::lesson::{self, Lesson, Taught};
use crate::learn::guard::Guard;
use crate::learn::{Checkpoint, Engine};
use crate::train::store::{Claim, Store, StoreError};
use crate::train::topic::Pupil;
use crate::train::wire::proto::Record;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Who does it. Those who write do not keep those who learn waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// Updates: as many threads as there are cores.
    Learn,
    /// Learners made, read or understood.
    Open,
    /// Learners written.
    Write,
}

impl Lane {
    /// All of them; an opening may need that another learner is stored first.
    pub const ALL: [Self; 3] = [Self::Open, Self::Learn, Self::Write];
}

/// Something to do. It goes on by itself: the manager is not needed meanwhile.
pub struct Task(pub(super) Kind);

/// What came of it, for the manager.
pub struct Done(pub(super) Outcome);

pub(super) enum Kind {
    Learn(Box<Lesson>),
    Open(Box<Opening>),
    Write(Box<Writing>),
}

/// A learner that shall come into memory.
pub(super) struct Opening {
    pub pupil: Pupil,
    pub term: u64,
    /// As it is held.
    pub claim: Claim,
    pub from: Source,
    pub engine: Engine,
    pub max_bytes: usize,
}

/// From where.
pub(super) enum Source {
    Recipe(Recipe),
    Upload(Recipe, bytes::Bytes),
    Store,
}

/// A learner that shall be stored.
pub(super) struct Writing {
    pub pupil: Pupil,
    pub term: u64,
    pub claim: Claim,
    pub record: Record,
    pub checkpoint: Checkpoint,
}

pub(super) enum Outcome {
    Taught(Box<Taught>),
    Opened(Box<Opened>),
    /// Learning or opening panicked: the learner is gone from memory.
    Panicked {
        pupil: Pupil,
        term: u64,
        what: String,
    },
    Written {
        pupil: Pupil,
        term: u64,
        applied: u64,
        result: Result<Claim, StoreError>,
    },
}

/// What was found.
pub(super) struct Opened {
    pub pupil: Pupil,
    pub term: u64,
    pub result: Found,
}

pub(super) enum Found {
    /// Made as asked.
    Made(Box<Guard>),
    /// It cannot be made, and why.
    Impossible(String),
    /// In the store.
    Stored(Box<Record>, Claim, Box<Recipe>, Box<Guard>),
    /// Not in the store, or moved aside there.
    Nothing,
    /// The store does not answer.
    Later(StoreError),
}

impl Task {
    /// Who does it.
    pub fn lane(&self) -> Lane {
        match self.0 {
            Kind::Learn(_) => Lane::Learn,
            Kind::Open(_) => Lane::Open,
            Kind::Write(_) => Lane::Write,
        }
    }

    /// Does it. A learner that panics is given up, and nothing else: what it had learned is where it was stored.
    pub fn run(self, store: &Store) -> Done {
        let panicked = self.if_it_panics();
        let outcome = caught(|| match self.0 {
            Kind::Learn(lesson) => Outcome::Taught(Box::new(lesson.run())),
            Kind::Open(opening) => Outcome::Opened(Box::new(opening.run(store))),
            Kind::Write(writing) => writing.run(store),
        });
        Done(outcome.unwrap_or_else(panicked))
    }

    /// What comes of it then, with what the panic says.
    pub(super) fn if_it_panics(&self) -> impl FnOnce(String) -> Outcome + use<> {
        let lane = self.lane();
        let (pupil, term, applied) = match &self.0 {
            Kind::Learn(lesson) => (lesson.pupil.clone(), lesson.term, 0),
            Kind::Open(opening) => (opening.pupil.clone(), opening.term, 0),
            Kind::Write(writing) => (writing.pupil.clone(), writing.term, writing.record.applied),
        };
        move |what| match lane {
            Lane::Learn | Lane::Open => Outcome::Panicked { pupil, term, what },
            Lane::Write => Outcome::Written {
                result: Err(StoreError::Damaged {
                    pupil: pupil.clone(),
                    what,
                }),
                pupil,
                term,
                applied,
            },
        }
    }
}

/// The result, or what the panic said. What was borrowed is gone with the learner.
fn caught<T>(run: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        text.unwrap_or("it does not say why").to_owned()
    })
}

impl Opening {
    fn run(self, store: &Store) -> Opened {
        let made = |result: Result<Guard, String>| match result {
            Ok(guard) => Found::Made(Box::new(guard)),
            Err(why) => Found::Impossible(why),
        };
        let result = match &self.from {
            Source::Recipe(recipe) => made(recipe.build(self.engine)),
            Source::Upload(recipe, bytes) => made(recipe.restore(bytes, self.engine, self.max_bytes)),
            Source::Store => self.recall(store),
        };
        Opened {
            pupil: self.pupil,
            term: self.term,
            result,
        }
    }

    fn recall(&self, store: &Store) -> Found {
        let pupil = &self.pupil;
        let (record, claim) = match store.claim(pupil, self.claim) {
            Ok(Some(claimed)) => claimed,
            Ok(None) => return Found::Nothing,
            Err(StoreError::Damaged { what, .. }) => return self.set_aside(store, Claim::default(), &what),
            Err(error) => return Found::Later(error),
        };
        match self.understood(&record) {
            Ok((recipe, guard)) => Found::Stored(Box::new(record), claim, Box::new(recipe), Box::new(guard)),
            Err(why) => self.set_aside(store, claim, &why),
        }
    }

    fn understood(&self, record: &Record) -> Result<(Recipe, Guard), String> {
        let presence = record.presence.as_ref().ok_or("it lacks how it was made")?;
        if record.applied < presence.base_sequence {
            return Err("it is of before it began".to_owned());
        }
        let recipe = Recipe::of(&self.pupil.learner, presence, self.engine, self.max_bytes)?;
        let guard = recipe.restore(&record.checkpoint, self.engine, self.max_bytes)?;
        Ok((recipe, guard))
    }

    fn set_aside(&self, store: &Store, claim: Claim, why: &str) -> Found {
        match store.set_aside(&self.pupil, claim) {
            Ok(aside) => {
                tracing::error!(
                    "the stored learner {} cannot be used ({why}); it is kept as {aside}, and the device is asked for \
                     what it has",
                    self.pupil
                );
                Found::Nothing
            }
            Err(error) => Found::Later(error),
        }
    }
}

impl Writing {
    fn run(self, store: &Store) -> Outcome {
        let Self {
            pupil,
            term,
            claim,
            mut record,
            checkpoint,
        } = self;
        let result = match lesson::bytes_of(&checkpoint) {
            Ok(bytes) => {
                record.checkpoint = bytes;
                store.put(&pupil, &record, claim)
            }
            Err(what) => Err(StoreError::Damaged {
                pupil: pupil.clone(),
                what,
            }),
        };
        Outcome::Written {
            pupil,
            term,
            applied: record.applied,
            result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::caught;

    #[test]
    fn what_a_panic_says_is_kept() {
        let none: Vec<u32> = Vec::new();
        assert_eq!(caught(|| 5), Ok(5));
        let said = caught(|| none[none.len()]).map_err(|why| why.contains("index"));
        assert_eq!(said, Err(true));
        assert_eq!(caught::<()>(|| panic!("plain")), Err("plain".to_owned()));
        assert_eq!(
            caught::<()>(|| std::panic::panic_any(5)),
            Err("it does not say why".to_owned())
        );
    }
}
