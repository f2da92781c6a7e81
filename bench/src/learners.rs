//! What the learners decide and cost, for `RESULTS.md`: the shipped program's own tables, and what was asked of them.

use clap::ValueEnum;
use hwmeter::learn::compare::{Comparison, Row};
use hwmeter::learn::{Engine, LearnError, LearnerName, Settings, ac};
use std::fmt::Write as _;
use std::io;
use std::process::Command;

/// The comparison that the demands are about.
const RUNS: usize = 12;
const TASKS: usize = 500;
const SEED: u64 = 50;

/// The section's text: how well they decide, whether that is what was asked, and what they cost.
pub fn section() -> io::Result<String> {
    let demands = demands().map_err(io::Error::other)?;
    let (runs, tasks, seed) = (RUNS.to_string(), TASKS.to_string(), SEED.to_string());
    let compare = table(&["--compare", "--seeds", &runs, "--tasks", &tasks, "--seed", &seed])?;
    let bench = table(&["--bench"])?;
    Ok(format!(
        "A simulated device in three regimes (all well, MEC 80 to 100 % busy, link congested), a third of the run each; the oracle \
         takes the placement with the best mean of 150 draws. `gap closed` is the share of the way from a uniform draw to the \
         oracle.\n\n\
         ```text\n{compare}```\n\n{demands}\n\
         Cost on this machine, by repetition; joules hold the idle machine too.\n\n\
         ```text\n{bench}```\n"
    ))
}

/// What was asked of the learners, and what was found.
fn demands() -> Result<String, LearnError> {
    let rows = compare(LearnerName::value_variants(), Settings::default())?;
    let published = Settings {
        ac: ac::Config::published(),
        ..Settings::default()
    };
    let published = compare(&[LearnerName::Ac], published)?;
    let gap = |rows: &[Row], name: &str| {
        let row = rows.iter().find(|row| row.name == name);
        row.map_or(f64::NAN, |row| row.gap_closed)
    };
    let reward = |names: &[&'static str]| -> Vec<(&'static str, f64)> {
        let one = |name: &&'static str| {
            let row = rows.iter().find(|row| row.name == *name);
            (*name, row.map_or(f64::NAN, |row| row.mean_reward))
        };
        names.iter().map(one).collect()
    };
    let learners = [
        "ac",
        "dqn",
        "stream-q",
        "stream-ac",
        "linucb",
        "d-linucb",
        "greedy",
    ];
    let deep = ["ac", "dqn", "stream-q", "stream-ac"].map(|name| (name, gap(&rows, name)));
    let (best_deep, best_gap) = highest(&deep);
    let (fixed, fixed_reward) = highest(&reward(&["local", "mec", "cloud", "random"]));
    let negated: Vec<_> = (reward(&learners).into_iter())
        .map(|(name, reward)| (name, -reward))
        .collect();
    let (worst, worst_loss) = highest(&negated);
    let percent = |share: f64| format!("{:.1} %", 100.0 * share);
    let mut text = String::from("| asked | found | met |\n|---|---|---|\n");
    let mut row = |asked: &str, found: String, met: bool| {
        let _ = writeln!(
            text,
            "| {asked} | {found} | {} |",
            if met { "yes" } else { "**no**" }
        );
    };
    let linucb = gap(&rows, "linucb");
    row("`linucb` closes at least 85 %", percent(linucb), linucb >= 0.85);
    let found = format!("{}, `{best_deep}`", percent(best_gap));
    row("the best deep learner at least 75 %", found, best_gap >= 0.75);
    let ours = gap(&rows, "ac");
    row(
        "`ac` with our defaults at least 25 %",
        percent(ours),
        ours >= 0.25,
    );
    let found = format!(
        "worst learner `{worst}` {:.3}, best fixed `{fixed}` {fixed_reward:.3}",
        -worst_loss
    );
    row(
        "every learner beats every fixed policy",
        found,
        -worst_loss > fixed_reward,
    );
    let theirs = percent(gap(&published, "ac"));
    let _ = writeln!(
        text,
        "\nThe only settings published by the reference system's group (`ac` with two layers of 256, rates 1e-5 and 1e-4, gamma \
         0.99) close {theirs} on the same runs."
    );
    Ok(text)
}

fn compare(learners: &[LearnerName], settings: Settings) -> Result<Vec<Row>, LearnError> {
    let comparison = Comparison {
        engine: Engine::Native,
        learners: learners.to_vec(),
        settings,
        seed: SEED,
        runs: RUNS,
        tasks: TASKS,
    };
    comparison.run()
}

fn highest(values: &[(&'static str, f64)]) -> (&'static str, f64) {
    let highest = values.iter().max_by(|a, b| a.1.total_cmp(&b.1));
    highest.copied().unwrap_or(("none", f64::NAN))
}

/// What `hwmeter learners` prints.
fn table(args: &[&str]) -> io::Result<String> {
    let output = Command::new(env!("CARGO"))
        .args(["run", "--release", "--quiet", "-p", "hwmeter", "--", "learners"])
        .args(args)
        .output()?;
    if !output.status.success() {
        return Err(io::Error::other(
            String::from_utf8_lossy(&output.stderr).into_owned(),
        ));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text
        .lines()
        .map(|line| format!("{}\n", line.trim_end()))
        .collect())
}
