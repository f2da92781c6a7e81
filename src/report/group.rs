//! Runs that differ in nothing but their seed are one group: a line in a figure, with an interval over its runs.

use super::bins::{Bin, Bins};
use super::run::Run;
use super::stats::{Mean, Sum, moving_mean};
use super::totals::Totals;
use super::window::Window;
use super::words::site;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Options that change nothing about what is compared, or are told otherwise.
const NOT_COMPARED: [&str; 11] = [
    "calibration",
    "checkpoint-every",
    "json",
    "learner",
    "out",
    "record-transitions",
    "resume",
    "seed",
    "sensor",
    "tasks",
    "train",
];

/// What makes runs comparable, in the order in which a label names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    parts: BTreeMap<String, String>,
}

impl Key {
    fn of(run: &Run) -> Self {
        let manifest = &run.manifest;
        let words = |text: &Option<String>| text.clone().unwrap_or_else(|| "unknown".to_owned());
        let mut parts = BTreeMap::from([
            ("0 learner".to_owned(), words(&manifest.learner.name)),
            ("1 variant".to_owned(), words(&manifest.learner.variant)),
            ("2 engine".to_owned(), words(&manifest.learner.engine)),
            ("3 trained".to_owned(), run.site()),
            ("4 board".to_owned(), words(&manifest.board.model)),
            ("5 kind".to_owned(), run.kind.clone()),
            ("6 sensor".to_owned(), run.sensor.clone()),
            (
                "7 scenario".to_owned(),
                manifest.scenario.clone().unwrap_or_default(),
            ),
            ("8 version".to_owned(), words(&manifest.hwmeter)),
        ]);
        for (name, value) in &manifest.options {
            let (name, value) = (name.replace('_', "-"), option_text(value));
            let is_default = name == "gpu" && value == "off";
            if !is_default && !NOT_COMPARED.contains(&name.as_str()) {
                parts.insert(format!("9 {name}"), value);
            }
        }
        Self { parts }
    }

    /// The parts that tell it from the others. What belongs to a learner, such as its size, is compared with groups of
    /// the same learner alone.
    fn differing<'k>(&'k self, all: &[Self]) -> Vec<&'k String> {
        const OF_LEARNER: [&str; 3] = ["1 variant", "2 engine", "3 trained"];
        let part = |key: &Self, name: &str| key.parts.get(name).cloned();
        let learner = part(self, "0 learner");
        let differs = |name: &&String| {
            let is_of_learner = OF_LEARNER.contains(&name.as_str());
            let mut others = all
                .iter()
                .filter(|key| !is_of_learner || part(key, "0 learner") == learner);
            others.any(|key| part(key, name) != part(self, name))
        };
        self.parts.keys().filter(differs).collect()
    }

    /// The learner, and whatever else is not the same in all groups.
    fn label(&self, differing: &[&String]) -> String {
        let part = |name: &&String| {
            let value = self.parts.get(*name)?;
            let (_, name) = name.split_once(' ').unwrap_or_default();
            Some(match name {
                "learner" => return None,
                "trained" if value.is_empty() => "not trained".to_owned(),
                "trained" => format!("trained {}", site(value)),
                "variant" | "engine" | "board" | "kind" | "sensor" | "scenario" => value.clone(),
                _ => format!("{name} {value}"),
            })
        };
        let learner = self.parts.get("0 learner").cloned().unwrap_or_default();
        let others = differing.iter().filter_map(part).filter(|text| !text.is_empty());
        std::iter::once(learner)
            .chain(others)
            .collect::<Vec<_>>()
            .join(", ")
    }
}

/// An option as it was typed.
fn option_text(value: &Value) -> String {
    match value {
        Value::Array(values) => values.iter().map(option_text).collect::<Vec<_>>().join(" "),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// What is kept of one run of a group.
#[derive(Clone, Debug)]
pub struct Member {
    /// Its folder.
    pub path: PathBuf,
    /// Its seed.
    pub seed: Option<u64>,
    /// Its tasks.
    pub tasks: u64,
    /// Its mean reward.
    pub reward: Option<f64>,
    /// Share of its tasks that missed.
    pub miss_rate: f64,
    /// Its mean energy per task.
    pub energy_j: Option<f64>,
    bins: Bins,
}

/// Runs that differ in their seed alone.
#[derive(Clone, Debug)]
pub struct Group {
    /// What tells it from the other groups.
    pub label: String,
    /// The same among groups on the same board.
    pub label_on_board: String,
    /// Measured, modelled or simulated.
    pub kind: String,
    /// The sensor's id.
    pub sensor: String,
    /// The machine.
    pub board: Option<String>,
    /// Who decided.
    pub learner: Option<String>,
    /// Where the learner was trained.
    pub site: String,
    /// Sums and distributions over all runs.
    pub totals: Totals,
    /// The runs.
    pub members: Vec<Member>,
    /// A few tasks of the first run that has a trace, with its folder.
    pub window: Option<(PathBuf, Window)>,
    key: Key,
}

/// A value over the tasks of a group's runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Course {
    /// Number of the last task of each bin, from 1, and the mean over runs.
    pub points: Vec<(f64, Mean)>,
    /// Tasks that the moving mean looks back on.
    pub window: u64,
}

impl Group {
    fn new(key: Key, run: &Run) -> Self {
        Self {
            label: String::new(),
            label_on_board: String::new(),
            kind: run.kind.clone(),
            sensor: run.sensor.clone(),
            board: run.manifest.board.model.clone(),
            learner: run.manifest.learner.name.clone(),
            site: run.site(),
            totals: Totals::default(),
            members: Vec::new(),
            window: None,
            key,
        }
    }

    fn add(&mut self, run: Run) {
        self.totals.merge(&run.totals);
        if let (None, Some(window)) = (&self.window, run.window) {
            self.window = Some((run.path.clone(), window));
        }
        self.members.push(Member {
            path: run.path,
            seed: run.manifest.seed,
            tasks: run.totals.tasks,
            reward: run.totals.reward.mean(),
            miss_rate: run.totals.miss_rate(),
            energy_j: run.totals.energy_j.mean(),
            bins: run.bins,
        });
    }

    /// Bins of all its runs, equally wide.
    fn bins(&self) -> Vec<Bins> {
        let width = self
            .members
            .iter()
            .map(|member| member.bins.width())
            .max()
            .unwrap_or(1);
        self.members
            .iter()
            .map(|member| member.bins.at_least(width))
            .collect()
    }

    /// Tasks of its longest run.
    fn longest(&self) -> u64 {
        self.members.iter().map(|member| member.tasks).max().unwrap_or(0)
    }

    /// The moving mean of a value of its bins, over its runs.
    pub fn course(&self, value: impl Fn(&Bin) -> Sum) -> Course {
        let bins = self.bins();
        let longest = bins.iter().map(|bins| bins.as_slice().len()).max().unwrap_or(0);
        let window = (longest / LOOK_BACK).max(1);
        let means = bins.iter().map(|bins| {
            let values: Vec<Sum> = bins.as_slice().iter().map(&value).collect();
            moving_mean(&values, window)
        });
        let width = bins.first().map_or(1, Bins::width);
        Course {
            points: over_runs(&means.collect::<Vec<_>>(), width, self.longest()),
            window: window as u64 * width,
        }
    }

    /// The sum of a value from the first task on, over its runs.
    pub fn sum_course(&self, value: impl Fn(&Bin) -> Sum) -> Course {
        let bins = self.bins();
        let sums = bins.iter().map(|bins| {
            let mut sum = Sum::default();
            let so_far = bins.as_slice().iter().map(|bin| {
                sum.merge(value(bin));
                sum.known()
            });
            so_far.collect::<Vec<_>>()
        });
        let width = bins.first().map_or(1, Bins::width);
        Course {
            points: over_runs(&sums.collect::<Vec<_>>(), width, self.longest()),
            window: 1,
        }
    }

    /// Mean over its runs of a figure of each.
    pub fn mean_of(&self, figure: impl Fn(&Member) -> Option<f64>) -> Option<Mean> {
        Mean::of(&self.members.iter().filter_map(figure).collect::<Vec<_>>())
    }

    /// The version of hwmeter that made it.
    pub fn version(&self) -> &str {
        self.key.parts.get("8 version").map_or("unknown", String::as_str)
    }

    /// Kind, sensor, uncertainty and coverage of its joules, in one line.
    pub fn provenance(&self) -> String {
        let mut parts = vec![format!("{} by {}", self.kind, self.sensor)];
        parts.push(match self.totals.relative_uncertainty() {
            Some(u) => format!("±{} % (k=2)", two_digits(200.0 * u)),
            None => "uncertainty unknown".to_owned(),
        });
        parts.push(match self.totals.coverage.mean() {
            Some(share) => format!("coverage {:.1} %", 100.0 * share),
            None => "coverage unknown".to_owned(),
        });
        parts.join(", ")
    }
}

/// Without digits that say nothing.
fn two_digits(number: f64) -> String {
    match number {
        n if n >= 10.0 => format!("{n:.0}"),
        n if n >= 1.0 => format!("{n:.1}"),
        n => format!("{n:.2}"),
    }
}

/// A moving mean looks back on a run's length divided by this.
const LOOK_BACK: usize = 20;

/// The last bin may hold fewer than `width` tasks: no place lies beyond the last task.
fn over_runs(runs: &[Vec<Option<f64>>], width: u64, last_task: u64) -> Vec<(f64, Mean)> {
    let longest = runs.iter().map(Vec::len).max().unwrap_or(0);
    let at = |i: usize| {
        let values: Vec<f64> = runs
            .iter()
            .filter_map(|run| run.get(i).copied().flatten())
            .collect();
        let task = ((i as u64 + 1) * width).min(last_task);
        Some((task as f64, Mean::of(&values)?))
    };
    (0..longest).filter_map(at).collect()
}

/// Puts runs into groups as they come, in the order of their first ones.
#[derive(Debug, Default)]
pub struct Grouping {
    groups: Vec<Group>,
}

impl Grouping {
    /// Takes in a run.
    pub fn add(&mut self, run: Run) {
        let key = Key::of(&run);
        let at = self.groups.iter().position(|group| group.key == key);
        let at = at.unwrap_or_else(|| {
            self.groups.push(Group::new(key, &run));
            self.groups.len() - 1
        });
        self.groups[at].add(run);
    }

    /// The groups, each with a label that tells it from the others.
    pub fn finish(mut self) -> Vec<Group> {
        let keys: Vec<Key> = self.groups.iter().map(|group| group.key.clone()).collect();
        for group in &mut self.groups {
            let mut differing = group.key.differing(&keys);
            group.label = group.key.label(&differing);
            differing.retain(|name| *name != "4 board");
            group.label_on_board = group.key.label(&differing);
        }
        self.groups
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn run(learner: &str, seed: u64, rewards: &[f64], options: Value) -> Run {
        let dir = tempfile::tempdir().unwrap();
        let mut text =
            "task,t_s,deadline_s,placement,decide_s,latency_s,success,reward,kind,sensor\n".to_owned();
        for (i, reward) in rewards.iter().enumerate() {
            text += &format!("{i},{i},1,local,0,0.5,true,{reward},measured,s\n");
        }
        std::fs::write(dir.path().join("decisions.csv"), text).unwrap();
        let manifest = json!({"seed": seed, "learner": {"name": learner}, "options": options});
        std::fs::write(dir.path().join("run.json"), manifest.to_string()).unwrap();
        Run::read(dir.path()).unwrap()
    }

    fn groups(runs: impl IntoIterator<Item = Run>) -> Vec<Group> {
        let mut grouping = Grouping::default();
        runs.into_iter().for_each(|run| grouping.add(run));
        grouping.finish()
    }

    #[test]
    fn seeds_of_one_learner_are_one_group_with_an_interval() {
        let groups = groups([
            run("dqn", 1, &[-1.0, -3.0], json!({"seed": ["1"]})),
            run("dqn", 2, &[-2.0, -5.0], json!({"seed": ["2"], "out": ["x"]})),
            run("dqn", 3, &[-3.0], json!({})),
            run("ac", 1, &[-9.0], json!({})),
        ]);
        let labels: Vec<&str> = groups.iter().map(|group| group.label.as_str()).collect();
        assert_eq!(labels, ["dqn", "ac"]);
        let course = groups[0].course(|bin| bin.reward);
        assert_eq!(course.window, 1);
        let [(first, one), (second, two)] = course.points.as_slice() else {
            panic!("{course:?}")
        };
        assert_eq!((*first, one.mean, one.runs), (1.0, -2.0, 3));
        assert!((one.half_width.unwrap() - 4.3027 / 3f64.sqrt()).abs() < 1e-9);
        assert_eq!((*second, two.mean, two.runs), (2.0, -4.0, 2));
        let sums = groups[0].sum_course(|bin| bin.reward);
        assert_eq!(sums.points[1].1.mean, f64::midpoint(-4.0, -7.0));
        assert_eq!(
            groups[0].mean_of(|run| run.reward).unwrap().mean,
            (-2.0 - 3.5 - 3.0) / 3.0
        );
    }

    #[test]
    fn a_label_names_what_differs_and_nothing_else() {
        let groups = groups([
            run("dqn", 1, &[-1.0], json!({"mec_link": ["lte"], "gpu": ["off"]})),
            run("dqn", 1, &[-1.0], json!({"mec_link": ["5g-sa"], "gpu": ["off"]})),
        ]);
        let labels: Vec<&str> = groups.iter().map(|group| group.label.as_str()).collect();
        assert_eq!(labels, ["dqn, mec-link lte", "dqn, mec-link 5g-sa"]);
    }
}
