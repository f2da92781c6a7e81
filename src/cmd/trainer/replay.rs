//! `hwmeter trainer replay`: a run's learner once more, from what the run has recorded.

use crate::cli::ReplayArgs;
use crate::ui;
use hwmeter::agent::replay::{Replayed, replay};
use hwmeter::run_dir::RunDir;
use std::process::ExitCode;

/// Prints the weights' SHA-256; fails if it is not that of `run.json`.
pub fn run(args: &ReplayArgs) -> anyhow::Result<ExitCode> {
    let replayed = replay(&RunDir::open(&args.run))?;
    match args.json {
        true => ui::outln!("{:#}", serde_json::to_value(&replayed)?),
        false => print(&replayed),
    }
    Ok(match replayed.equal {
        Some(false) => ExitCode::FAILURE,
        _ => ExitCode::SUCCESS,
    })
}

fn print(replayed: &Replayed) {
    let Replayed {
        learner,
        from,
        transitions,
        ..
    } = replayed;
    let begun = match *from {
        "fresh" => "built afresh".to_owned(),
        file => format!("from {file}"),
    };
    ui::outln!("{learner}, {begun}, has learned from {transitions} transitions");
    ui::outln!("weights_sha256 {}", replayed.weights_sha256);
    match &replayed.run_weights_sha256 {
        None => ui::outln!(
            "run.json has none: the run has not ended in order, and there is nothing to compare with"
        ),
        Some(_) if replayed.equal == Some(true) => ui::outln!("the same as in run.json"),
        Some(other) => ui::outln!(
            "NOT the same as in run.json: {other}. A row of transitions.csv or run.json was changed, or the run was on a \
             processor of another type"
        ),
    }
}
