//! The report of runs: folders in, tables and figures out. Nothing here measures or runs anything.
//!
//! ```text
//! run.json, decisions.csv, energy.csv -> Run -> Group (runs that differ in their seed alone) -> Figure, Numbers -> page
//! ```
//!
//! Files are read row by row, and what is kept of a run does not grow with its tasks: sums, distributions, and its
//! course in a few hundred bins. A number never loses its kind (measured, modelled, simulated): runs of different
//! kinds or sensors are different groups, and each figure with joules says whose they are.

mod bins;
pub mod draw;
mod error;
mod figure;
mod figures;
mod folders;
mod group;
mod manifest;
mod numbers;
pub mod page;
pub mod palette;
mod rows;
mod run;
mod stats;
pub mod tensorboard;
mod totals;
mod window;
mod words;

pub use error::{ReportError, Result};
pub use figure::{Figure, Table, cell};
pub use folders::runs_of;
pub use group::{Course, Group, Grouping, Member};
pub use manifest::Manifest;
pub use numbers::{GroupNumbers, RunNumbers, UpdateNumbers};
pub use rows::{Row, Rows};
pub use run::{Nobody, OnRow, Run};
pub use stats::{Mean, Sum, moving_mean};
pub use totals::{Split, Totals, Updates};
pub use window::Window;

use std::path::PathBuf;

/// All that is known about some runs.
#[derive(Debug, Default)]
pub struct Report {
    /// Runs that differ in their seed alone, in the order in which they were named.
    pub groups: Vec<Group>,
    /// What a reader must know before using the numbers.
    pub notes: Vec<String>,
}

impl Report {
    /// Of runs that have been read.
    pub fn of(runs: impl IntoIterator<Item = Result<Run>>) -> Result<Self> {
        let mut grouping = Grouping::default();
        let mut notes = Notes::default();
        for run in runs {
            let run = run?;
            notes.take(&run);
            grouping.add(run);
        }
        let mut notes = notes.finish();
        let groups = grouping.finish();
        notes.extend(versions_note(&groups));
        Ok(Self { groups, notes })
    }

    /// The figures, and a sentence for each that cannot be drawn.
    pub fn figures(&self) -> Result<(Vec<Figure>, Vec<String>)> {
        figures::all(&self.groups)
    }

    /// The numbers of each group.
    pub fn numbers(&self) -> Vec<GroupNumbers> {
        self.groups.iter().map(GroupNumbers::of).collect()
    }

    /// How many runs.
    pub fn runs(&self) -> usize {
        self.groups.iter().map(|group| group.members.len()).sum()
    }
}

/// What is to be said of runs; what holds for many is said once.
#[derive(Default)]
struct Notes {
    of_all: Vec<String>,
    /// Sentences, the first run that each is about, and how many more.
    of_runs: Vec<(String, PathBuf, usize)>,
}

impl Notes {
    fn take(&mut self, run: &Run) {
        let about_energy = run.manifest.energy_note.clone();
        self.of_all
            .extend(about_energy.filter(|note| !self.of_all.contains(note)));
        for note in &run.notes {
            match self.of_runs.iter_mut().find(|(other, ..)| other == note) {
                Some((.., more)) => *more += 1,
                None => self.of_runs.push((note.clone(), run.path.clone(), 0)),
            }
        }
    }

    fn finish(self) -> Vec<String> {
        let of_runs = self.of_runs.into_iter().map(|(note, run, more)| match more {
            0 => format!("{}: {note}", run.display()),
            more => format!("{} and {more} more: {note}", run.display()),
        });
        self.of_all.into_iter().chain(of_runs).collect()
    }
}

/// Runs of several versions stand side by side, never in one mean.
fn versions_note(groups: &[Group]) -> Option<String> {
    let mut versions: Vec<&str> = groups.iter().map(Group::version).collect();
    versions.sort_unstable();
    versions.dedup();
    (versions.len() > 1).then(|| {
        format!(
            "The runs are of different versions of hwmeter ({}); they are shown side by side and in no common mean.",
            versions.join(", ")
        )
    })
}
