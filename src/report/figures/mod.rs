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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Report, Run};
    use serde_json::json;

    const HEADER: &str = "task,t_s,deadline_s,placement,decide_s,latency_s,success,reward,oracle_reward,energy_j,\
        energy_u_j,decide_j,execute_j,train_j,train_s,training_site,coverage,kind,sensor\n";

    /// A simulated run of 600 tasks, each of which cost 2 J where 1.5 J would have done.
    fn run(board: &str, seed: u64, site: &str) -> Run {
        let dir = tempfile::tempdir().unwrap();
        let mut text = HEADER.to_owned();
        for i in 0..600 {
            let placement = ["local", "mec", "cloud"][i % 3];
            text += &format!(
                "{i},{i},1,{placement},1e-5,0.5,true,-2,-1.5,2,0.1,0.01,1.99,0.001,1e-3,{site},1,simulated,sim\n"
            );
        }
        std::fs::write(dir.path().join("decisions.csv"), text).unwrap();
        let manifest = json!({
            "hwmeter": "1", "status": "done", "seed": seed, "board": {"model": board}, "learner": {"name": "dqn"},
        });
        std::fs::write(dir.path().join("run.json"), manifest.to_string()).unwrap();
        Run::read(dir.path()).unwrap()
    }

    #[test]
    fn all_that_is_known_is_drawn_and_the_rest_said() {
        let runs = [
            ("pi", 1, "local"),
            ("pi", 2, "local"),
            ("orin", 1, "local"),
            ("pi", 1, "mec"),
        ];
        let runs = runs.map(|(board, seed, site)| Ok(run(board, seed, site)));
        let report = Report::of(runs).unwrap();
        let (note, more) = (&report.notes[0], report.notes.len());
        assert!(
            note.contains("and 3 more: it has no energy.csv") && more == 1,
            "{:?}",
            report.notes
        );
        let (figures, left_out) = report.figures().unwrap();
        assert_eq!((figures.len(), left_out.len()), (8, 1));
        assert!(left_out[0].contains("power trace"), "{left_out:?}");
        for figure in &figures {
            assert!(
                !figure.svg.contains("NaN") && !figure.svg.contains("inf"),
                "{}",
                figure.id
            );
            assert!(!figure.table.rows.is_empty(), "{}", figure.id);
            let width = figure.table.header.len();
            assert!(
                figure.table.rows.iter().all(|row| row.len() == width),
                "{}",
                figure.id
            );
        }
        let figure = |id| figures.iter().find(|figure| figure.id == id).unwrap();
        for id in ["reward", "regret", "energy", "update-energy"] {
            let svg = &figure(id).svg;
            assert!(
                svg.contains("simulated by sim, ±10 % (k=2), coverage 100.0 %"),
                "{id}"
            );
        }
        let last = figure("regret").table.rows.last().unwrap();
        assert_eq!((last[2].as_str(), last[3].as_str()), ("600", "300.00"));
        let energy = &figure("energy").table.rows[0];
        assert_eq!(energy[..2], ["dqn, trained on the device, pi", "2 runs"]);
        assert_eq!(energy[5..8], ["0.0010000", "2.0000", "0.10000"]);
        let sites: Vec<&str> = figure("update-time")
            .table
            .rows
            .iter()
            .map(|row| row[2].as_str())
            .collect();
        assert_eq!(sites, ["local", "local", "mec"]);
    }

    #[test]
    fn of_nothing_there_are_no_figures() {
        let (figures, left_out) = all(&[]).unwrap();
        assert_eq!((figures.len(), left_out.len()), (0, 9));
    }
}
