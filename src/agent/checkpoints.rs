//! The learner on disk while a run goes on, so that a killed run can be taken up again.
//!
//! A checkpoint says which task comes next, and from which task on nothing has been learned yet: the energy of the
//! last tasks is not known when it is written. Their rows in `decisions.csv` are, and `resume` gives
//! back what is to be learned from them first.

use crate::learn::guard::Guard;
use crate::learn::{Checkpoint, Cost, LearnError, Placement, State, Transition};
use anyhow::Context;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Where checkpoints go, and how often.
#[derive(Clone, Debug)]
pub struct Checkpoints {
    /// The file; each checkpoint replaces the one before, whole or not at all.
    pub path: PathBuf,
    /// Tasks between two checkpoints.
    pub every: u64,
    /// Times that the last good one stayed, because the learner had diverged.
    pub kept: u64,
}

/// Where in the task set a learner stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The first task not decided yet.
    pub next_task: u64,
    /// The first task not learned from yet.
    pub next_to_learn: u64,
}

impl Position {
    /// Of a checkpoint that a run has written.
    pub fn of(checkpoint: &Checkpoint) -> Result<Self, LearnError> {
        Ok(Self {
            next_task: checkpoint.count("run.next_task")?,
            next_to_learn: checkpoint.count("run.next_to_learn")?,
        })
    }
}

/// How far training is, and where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Training {
    /// Experiences learned from, or sent to be learned from.
    pub experiences: u64,
    /// The learner here has only the weights of one that is trained on the MEC.
    pub is_on_mec: bool,
}

impl Training {
    /// Of a checkpoint that a run has written, this one or one before there was training elsewhere.
    pub fn of(checkpoint: &Checkpoint) -> Result<Self, LearnError> {
        if !checkpoint.has(EXPERIENCES) {
            return Ok(Self {
                experiences: checkpoint.header().updates,
                is_on_mec: false,
            });
        }
        Ok(Self {
            experiences: checkpoint.count(EXPERIENCES)?,
            is_on_mec: checkpoint.has(ON_MEC) && checkpoint.count(ON_MEC)? == 1,
        })
    }
}

/// The count of experiences in a checkpoint.
pub const EXPERIENCES: &str = "run.experiences";
/// 1 in a checkpoint that has only the weights of a learner that is trained on the MEC.
const ON_MEC: &str = "run.on_mec";

impl Checkpoints {
    /// Whether a checkpoint is due before this task.
    pub fn is_due(&self, task: u64) -> bool {
        task.is_multiple_of(self.every)
    }

    /// Writes a checkpoint. A diverged learner is not worth keeping: the last good checkpoint stays.
    /// Numbers that are not finite are a divergence, which the learner's guard is told of.
    pub fn save(
        &mut self,
        learner: &mut Guard,
        position: Position,
        training: Training,
    ) -> Result<(), LearnError> {
        let checkpoint = match learner.is_diverged() {
            true => None,
            false => Some(learner.save()).filter(Checkpoint::is_finite),
        };
        let Some(mut checkpoint) = checkpoint else {
            let path = self.path.display();
            tracing::warn!("{path} is kept as it was: the learner has diverged");
            learner.diverge();
            self.kept += 1;
            return Ok(());
        };
        checkpoint.put_count("run.next_task", position.next_task);
        checkpoint.put_count("run.next_to_learn", position.next_to_learn);
        checkpoint.put_count(EXPERIENCES, training.experiences);
        checkpoint.put_count(ON_MEC, u64::from(training.is_on_mec));
        checkpoint.write(&self.path)
    }
}

/// What a checkpoint has decided but not learned from.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Unlearned {
    /// What is to be learned, in task order.
    pub experiences: Vec<(Transition, Cost)>,
    /// Tasks of which no readable row was left: nothing can be learned from them.
    pub lost: u64,
}

/// What is needed of a row of `decisions.csv`.
#[derive(Debug, Deserialize)]
struct Row {
    task: u64,
    cycles: f64,
    deadline_s: f64,
    device_free: f64,
    mec_free: Option<f64>,
    throughput_bps: Option<f64>,
    placement: Placement,
    latency_s: f64,
    success: bool,
    reward: Option<f64>,
    energy_j: Option<f64>,
}

/// The tasks that a checkpoint has decided but not learned from, as far as their rows can be read. Tasks whose energy
/// never came are passed over, as they are in a run that was not stopped.
pub fn unlearned(decisions: &Path, position: Position) -> anyhow::Result<Unlearned> {
    let what = || format!("cannot read {}", decisions.display());
    let mut rows = BTreeMap::new();
    for row in csv::Reader::from_path(decisions)
        .with_context(what)?
        .deserialize()
    {
        // A row that cannot be read is missed below, if it was to be learned from: the last one is cut short where a run was
        // killed, and any other is damage.
        let row: Row = match row {
            Ok(row) => row,
            Err(error) if error.is_io_error() => return Err(error).with_context(what),
            Err(_) => continue,
        };
        if (position.next_to_learn..=position.next_task).contains(&row.task) {
            rows.insert(row.task, row);
        }
    }
    let expected = position.next_task.saturating_sub(position.next_to_learn);
    let waiting = rows.range(position.next_to_learn..position.next_task.max(position.next_to_learn));
    let lost = expected - waiting.clone().count() as u64;
    let experiences = waiting.filter_map(|(task, row)| row.experience(rows.get(&(task + 1))));
    Ok(Unlearned {
        experiences: experiences.collect(),
        lost,
    })
}

impl Row {
    /// What is to be learned of it; `None` if its energy is not known. Without the row after it, its next state is its own.
    fn experience(&self, next: Option<&Self>) -> Option<(Transition, Cost)> {
        let transition = Transition {
            state: self.state(),
            placement: self.placement,
            reward: self.reward?,
            next_state: next.unwrap_or(self).state(),
        };
        let cost = Cost {
            energy_j: self.energy_j?,
            latency_s: self.latency_s,
            in_time: self.success,
        };
        Some((transition, cost))
    }

    fn state(&self) -> State {
        super::observer::state(
            self.device_free,
            self.mec_free,
            self.throughput_bps,
            self.cycles,
            self.deadline_s,
        )
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::learn::environment::{ToyTask, tasks};
    use crate::learn::linucb::TERMS;
    use crate::learn::{Engine, LearnerName, Settings, Tensor, Values, build};

    /// Decides and learns through `tasks`, whose numbers begin at `first`; returns the decisions.
    fn drive(
        guard: &mut Guard,
        tasks: &[ToyTask],
        first: usize,
        checkpoints: &mut Checkpoints,
    ) -> Vec<Placement> {
        let mut placements = Vec::new();
        for (i, task) in tasks.iter().enumerate().skip(first) {
            let position = Position {
                next_task: i as u64,
                next_to_learn: i as u64,
            };
            if checkpoints.is_due(i as u64) {
                checkpoints.save(guard, position, Training::default()).unwrap();
            }
            let placement = guard.decide(&task.state).0.placement;
            let transition = Transition {
                state: task.state,
                placement,
                reward: task.rewards[placement as usize],
                next_state: tasks.get(i + 1).unwrap_or(task).state,
            };
            guard.learn(&transition, &task.costs[placement as usize]).unwrap();
            placements.push(placement);
        }
        placements
    }

    #[test]
    fn two_runs_of_a_hundred_decide_as_one_of_two_hundred() {
        let directory = tempfile::tempdir().unwrap();
        let mut checkpoints = Checkpoints {
            path: directory.path().join("learner.safetensors"),
            every: 100,
            kept: 0,
        };
        let all = tasks(200, 3);
        let mut settings = Settings::default();
        settings.dqn.hidden = vec![32, 32];
        for name in <LearnerName as clap::ValueEnum>::value_variants() {
            let mut whole = Guard::new(build(*name, 5, &settings).unwrap());
            let expected = drive(
                &mut whole,
                &all,
                0,
                &mut Checkpoints {
                    every: 1000,
                    ..checkpoints.clone()
                },
            );

            // Killed at task 150: the checkpoint of task 100 is what is left.
            let mut killed = Guard::new(build(*name, 5, &settings).unwrap());
            drive(&mut killed, &all[..150], 0, &mut checkpoints);
            let saved = Checkpoint::read(&checkpoints.path).unwrap();
            let position = Position::of(&saved).unwrap();
            assert_eq!((position.next_task, position.next_to_learn), (100, 100));
            let mut resumed = Guard::restore(&saved, Engine::Native, false).unwrap();
            let rest = drive(&mut resumed, &all, 100, &mut checkpoints);
            assert_eq!(rest, expected[100..], "{name}");
        }
    }

    #[test]
    fn a_diverged_learner_does_not_replace_the_last_good_checkpoint() {
        let directory = tempfile::tempdir().unwrap();
        let mut checkpoints = Checkpoints {
            path: directory.path().join("learner.safetensors"),
            every: 50,
            kept: 0,
        };
        let mut settings = Settings::default();
        (settings.dqn.hidden, settings.dqn.rate) = (vec![16; 2], 1e4);
        let mut guard = Guard::new(build(LearnerName::Dqn, 0, &settings).unwrap());
        drive(&mut guard, &tasks(101, 1), 0, &mut checkpoints);
        assert!(guard.is_diverged());
        let kept = Checkpoint::read(&checkpoints.path).unwrap();
        assert_eq!(Position::of(&kept).unwrap().next_task, 0);
        assert_eq!(checkpoints.kept, 2);
    }

    /// Finite numbers of which the next update makes NaN.
    #[test]
    fn a_learner_without_finite_numbers_does_not_replace_it_either_and_is_told_as_diverged() {
        let directory = tempfile::tempdir().unwrap();
        let mut checkpoints = Checkpoints {
            path: directory.path().join("learner.safetensors"),
            every: 10,
            kept: 0,
        };
        let mut guard = Guard::new(build(LearnerName::Linucb, 0, &Settings::default()).unwrap());
        drive(&mut guard, &tasks(21, 1), 0, &mut checkpoints);
        let good = std::fs::read(&checkpoints.path).unwrap();
        let mut weights = guard.weights();
        for i in 0..3 {
            let inverse = Tensor::new(vec![TERMS, TERMS], Values::F64(vec![1e200; TERMS * TERMS]));
            weights.insert(format!("{i}.inverse"), inverse.unwrap());
        }
        guard.set_weights(&weights).unwrap();
        let placements = drive(&mut guard, &tasks(41, 2), 21, &mut checkpoints);
        assert_eq!((placements.len(), guard.counts().divergences), (20, 1));
        assert!(guard.is_diverged() && checkpoints.kept >= 2);
        assert_eq!(std::fs::read(&checkpoints.path).unwrap(), good);
        let error = guard.save().write(&checkpoints.path).unwrap_err().to_string();
        assert!(error.contains("not finite"), "{error}");
        assert_eq!(std::fs::read(&checkpoints.path).unwrap(), good);
    }

    #[test]
    fn rows_that_were_not_learned_from_come_back_with_what_followed_them() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("decisions.csv");
        let head = "task,cycles,deadline_s,device_free,mec_free,throughput_bps,placement,latency_s,success,reward,energy_j\n";
        let rows = "0,10,1,0.5,,,local,0.5,true,-1,1\n1,20,1,0.25,0.5,1e6,mec,0.5,true,-2,2\n2,30,1,1,1,1e6,cloud,0.5,true,,\n3,4";
        std::fs::write(&path, [head, rows].concat()).unwrap();
        let position = Position {
            next_task: 3,
            next_to_learn: 1,
        };
        let found = unlearned(&path, position).unwrap();
        assert_eq!(
            (found.experiences.len(), found.lost),
            (1, 0),
            "the energy of task 2 is not known: {found:?}"
        );
        let (transition, cost) = found.experiences[0];
        assert_eq!((transition.placement, transition.reward), (Placement::Mec, -2.0));
        assert_eq!(
            (transition.state.cycles, transition.next_state.cycles),
            (20.0, 30.0)
        );
        assert!(cost.in_time && cost.energy_j == 2.0);
    }

    #[test]
    fn rows_that_are_missing_or_damaged_are_counted_and_the_others_are_learned_from() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("decisions.csv");
        let head = "task,cycles,deadline_s,device_free,mec_free,throughput_bps,placement,latency_s,success,reward,energy_j\n";
        let row = |task| format!("{task},{task}0,1,0.5,,,local,0.5,true,-1,1\n");
        let learned = |rows: &[String], next_task| {
            std::fs::write(&path, head.to_owned() + &rows.concat()).unwrap();
            let position = Position {
                next_task,
                next_to_learn: 1,
            };
            let found = unlearned(&path, position).unwrap();
            let cycles: Vec<f64> = found.experiences.iter().map(|(t, _)| t.state.cycles).collect();
            (cycles, found)
        };
        let damaged = "2,20,1,0.5,,,loc\u{fffd}l,x,true,-1,1\n".to_owned();
        let rows = [row(0), row(1), damaged, row(3), row(4), row(5)];
        let (cycles, found) = learned(&rows, 5);
        assert_eq!((cycles, found.lost), (vec![10.0, 30.0, 40.0], 1));
        let next = |i: usize| found.experiences[i].0.next_state.cycles;
        assert_eq!((next(0), next(1), next(2)), (10.0, 40.0, 50.0));
        let (cycles, found) = learned(&[row(0), row(3), "4,4".to_owned()], 5);
        assert_eq!((cycles, found.lost), (vec![30.0], 3));
        let (cycles, found) = learned(&[row(0)], 1);
        assert_eq!((cycles, found.lost), (vec![], 0));
    }
}
