//! The figures of a report: each from groups of runs, or nothing where there is nothing to show.

mod course;
mod energy;
mod latency;
mod placement;
mod power;
mod updates;

use super::error::Result;
use super::figure::Figure;
use super::group::Group;

/// The placements, in the order of their numbers.
const PLACES: [&str; 3] = ["local", "MEC", "cloud"];

/// All figures that can be drawn, and a sentence for each that cannot.
pub fn all(groups: &[Group]) -> Result<(Vec<Figure>, Vec<String>)> {
    let drawn = [
        (
            course::reward(groups)?,
            "The reward over time is left out: no run tells a reward.",
        ),
        (
            course::regret(groups)?,
            "The regret is left out: it needs the best reward that each task could have had (column oracle_reward), \
             which no real run knows.",
        ),
        (
            course::misses(groups)?,
            "Deadline misses are left out: there is no task.",
        ),
        (
            placement::mix(groups)?,
            "The placement mix is left out: there is no task.",
        ),
        (
            latency::distribution(groups)?,
            "The latency is left out: there is no task.",
        ),
        (
            energy::split(groups)?,
            "The energy split is left out: no task has a known energy.",
        ),
        (
            power::trace(groups)?,
            "The power trace is left out: no run has an energy.csv that covers its tasks.",
        ),
        (
            updates::time(groups)?,
            "The time of updates is left out: no learner was trained.",
        ),
        (
            updates::energy(groups)?,
            "The joules of updates are left out: of no update is the energy known.",
        ),
    ];
    let mut figures = Vec::new();
    let mut left_out = Vec::new();
    for (figure, otherwise) in drawn {
        match figure {
            Some(figure) => figures.push(figure),
            None => left_out.push(otherwise.to_owned()),
        }
    }
    Ok((figures, left_out))
}

/// What must be known about joules: of each group, unless it is the same for all.
fn about_joules(groups: &[Group]) -> Vec<String> {
    /// More would push the figure off the page; tables have them all.
    const MOST: usize = 4;
    let all: Vec<String> = groups.iter().map(Group::provenance).collect();
    match all.iter().all(|one| *one == all[0]) {
        true => all.into_iter().take(1).collect(),
        false => {
            let each = groups.iter().zip(&all);
            let mut lines: Vec<String> = each
                .take(MOST)
                .map(|(group, about)| format!("{}: {about}", group.label))
                .collect();
            if all.len() > MOST {
                lines.push(format!("{} more: see the table", all.len() - MOST));
            }
            lines
        }
    }
}

/// `1 run` or `5 runs`.
fn runs(group: &Group) -> String {
    match group.members.len() {
        1 => "1 run".to_owned(),
        n => format!("{n} runs"),
    }
}
