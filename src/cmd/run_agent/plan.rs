//! Who decides over which tasks: a fresh learner from the first task on, or one taken up from an earlier run.

use super::task_source::TaskSource;
use crate::cli::RunAgentArgs;
use anyhow::{Context as _, bail};
use hwmeter::agent::checkpoints::{Position, unlearned};
use hwmeter::agent::reward::RewardRule;
use hwmeter::learn::guard::Guard;
use hwmeter::learn::{self, Checkpoint, Engine, LearnerName, config};
use hwmeter::run_dir::RunDir;
use serde_json::Value;
use std::path::Path;

/// Seed of a run unless told otherwise; the paper's.
const SEED: u64 = 50;

/// Who decides over which tasks.
pub struct Plan {
    pub name: LearnerName,
    pub learner: Guard,
    /// Whether the learner has just been built from `seed` and settings.
    pub is_fresh: bool,
    pub seed: u64,
    /// The whole set.
    pub source: TaskSource,
    /// The first one to run.
    pub first: u64,
    /// Tasks of the run that is taken up which were decided and can no longer be learned from.
    pub lost: u64,
    /// What results were worth in the run that is taken up.
    pub reward: Option<RewardRule>,
}

impl Plan {
    /// From the command line, and from the earlier run that it names.
    pub fn new(args: &RunAgentArgs, engine: Engine) -> anyhow::Result<Self> {
        let plan = match &args.resume {
            Some(dir) => Self::resume(dir, args, engine)?,
            None => Self::fresh(args, engine)?,
        };
        let (done, tasks) = (plan.first, plan.source.tasks.len());
        if done >= tasks as u64 {
            bail!(
                "{done} of {tasks} tasks are done already: nothing is left to run; ask for more with --tasks N"
            );
        }
        Ok(plan)
    }

    /// A saved learner that neither explores nor learns.
    pub fn evaluate(checkpoint: &Checkpoint, args: &RunAgentArgs, engine: Engine) -> anyhow::Result<Self> {
        if args.learner.is_some() || args.resume.is_some() || args.reset_on_divergence {
            bail!(
                "the checkpoint says which learner it is; leave out --learner, --resume and --reset-on-divergence"
            );
        }
        let seed = args.seed.unwrap_or(SEED);
        Ok(Self {
            name: checkpoint.header().learner,
            learner: Guard::new(engine.restore(checkpoint)?).evaluating(),
            is_fresh: false,
            seed,
            source: TaskSource::new(args.taskset.as_deref(), args.tasks, seed)?,
            first: 0,
            lost: 0,
            reward: None,
        })
    }

    fn fresh(args: &RunAgentArgs, engine: Engine) -> anyhow::Result<Self> {
        let settings = args.settings.read()?;
        let (name, seed) = (
            args.learner.unwrap_or(LearnerName::Dqn),
            args.seed.unwrap_or(SEED),
        );
        let learner = Guard::new(engine.build(name, seed, &settings)?);
        Ok(Self {
            name,
            learner: match args.reset_on_divergence {
                true => learner.reset_on_divergence(engine, settings, seed),
                false => learner,
            },
            is_fresh: true,
            seed,
            source: TaskSource::new(args.taskset.as_deref(), args.tasks, seed)?,
            first: 0,
            lost: 0,
            reward: None,
        })
    }

    fn resume(dir: &Path, args: &RunAgentArgs, engine: Engine) -> anyhow::Result<Self> {
        let dir = RunDir::open(dir);
        let checkpoint = Checkpoint::read(&dir.learner()).with_context(|| {
            format!(
                "cannot resume {}: it holds no usable learner",
                dir.path().display()
            )
        })?;
        let position = Position::of(&checkpoint)?;
        let manifest = dir.read_manifest()?;
        let number = |key: &str| manifest.get(key).and_then(Value::as_u64);
        let reward = serde_json::from_value(manifest["reward"].clone()).ok();
        let (Some(seed), Some(tasks), Some(reward)) = (number("seed"), number("tasks"), reward) else {
            bail!(
                "{} lacks the seed, the number of tasks or the reward; was it edited?",
                dir.manifest().display()
            );
        };
        let count = args.tasks.unwrap_or(u32::try_from(tasks).unwrap_or(u32::MAX));
        let source = TaskSource::resumed(&manifest, args.taskset.as_deref(), Some(count), seed)?;
        same_learner(&checkpoint, &manifest)
            .with_context(|| format!("cannot resume {}", dir.path().display()))?;
        let header = checkpoint.header();
        let mut learner = Guard::restore(&checkpoint, engine, args.reset_on_divergence)?;
        let lost = match learner.learns() {
            true => learn_what_waited(&mut learner, &dir.decisions(), position)?,
            false => 0,
        };
        Ok(Self {
            name: header.learner,
            learner,
            is_fresh: false,
            seed,
            source,
            first: position.next_task,
            lost,
            reward: Some(reward),
        })
    }
}

/// Learns from the tasks that waited for their energy when the run was stopped; returns how many are lost.
fn learn_what_waited(learner: &mut Guard, decisions: &Path, position: Position) -> anyhow::Result<u64> {
    let unlearned = unlearned(decisions, position)?;
    for (transition, cost) in &unlearned.experiences {
        // What is refused is counted.
        let _ = learner.learn(transition, cost);
    }
    if unlearned.lost > 0 {
        tracing::warn!(
            "{} tasks that were decided cannot be learned from: their rows are missing in {} or damaged",
            unlearned.lost,
            decisions.display()
        );
    }
    Ok(unlearned.lost)
}

/// Fails unless the checkpoint is of the learner that `run.json` says the run had: another's, copied there, would go
/// on with tasks that it has never seen as if it had.
fn same_learner(checkpoint: &Checkpoint, manifest: &Value) -> anyhow::Result<()> {
    let header = checkpoint.header();
    let text = |key: &str| manifest["learner"][key].as_str().unwrap_or("an unknown learner");
    let found = (header.learner.to_string(), header.variant.as_str());
    let recorded = (text("name").to_owned(), text("variant"));
    // A fixed policy has no seed.
    let is_fixed = matches!(
        header.learner,
        LearnerName::Local | LearnerName::Mec | LearnerName::Cloud
    );
    let seeds = match Guard::first_seed(checkpoint) {
        Some(seed) if !is_fixed => (Some(seed), manifest["seed"].as_u64()),
        _ => (None, None),
    };
    if found == recorded && seeds.0 == seeds.1 {
        return Ok(());
    }
    let with_seed = |seed: Option<u64>| seed.map(|s| format!(" with seed {s}")).unwrap_or_default();
    bail!(
        "{} is of {} {}{}, but run.json is of a run of {} {}{}: was it copied there? Put the run's own learner back",
        checkpoint.origin(),
        found.0,
        found.1,
        with_seed(seeds.0),
        recorded.0,
        recorded.1,
        with_seed(seeds.1)
    )
}

impl crate::cli::SettingsArgs {
    /// The settings of all learners.
    pub fn read(&self) -> anyhow::Result<learn::Settings> {
        config::read(self.learner_config.as_deref(), &self.set)
    }
}
