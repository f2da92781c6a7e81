//! Who decides over which tasks: a fresh learner from the first task on, or one taken up from an earlier run.

use super::task_source::TaskSource;
use crate::cli::{RunAgentArgs, TrainArg};
use anyhow::{Context as _, bail};
use hwmeter::agent::checkpoints::{self, EXPERIENCES, Position, Unlearned, unlearned};
use hwmeter::agent::reward::RewardRule;
use hwmeter::agent::training::mec::{self, Restore};
use hwmeter::learn::guard::Guard;
use hwmeter::learn::{self, Checkpoint, Engine, LearnerName, config};
use hwmeter::run_dir::RunDir;
use hwmeter::train::device::WholeLearner;
use hwmeter::train::queue::{Limits, Queue};
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
    /// Experiences that the learner has learned from.
    pub count: u64,
    /// The run that is taken up was training on the MEC.
    pub resumed_on_mec: Option<OnMec>,
    engine: Engine,
}

/// What a run leaves that was training on the MEC.
pub struct OnMec {
    /// Its folder.
    pub dir: RunDir,
    /// The learner from which the experiences in its queue lead on; `None`: a fresh one.
    pub base: Option<WholeLearner>,
    /// The last task that is in its queue.
    last_task: Option<u64>,
}

impl Plan {
    /// From the command line, and from the earlier run that it names.
    pub fn new(args: &RunAgentArgs, engine: Engine) -> anyhow::Result<Self> {
        let mut plan = match &args.resume {
            Some(dir) => Self::resume(dir, args, engine)?,
            None => Self::fresh(args, engine)?,
        };
        let (done, tasks) = (plan.first, plan.source.tasks.len());
        // A run that was killed while its learner was to come back from the MEC has only that left to do.
        if done >= tasks as u64 && plan.resumed_on_mec.is_none() {
            bail!(
                "{done} of {tasks} tasks are done already: nothing is left to run; ask for more with --tasks N"
            );
        }
        if args.training.train == TrainArg::Local {
            plan.bring_back(args)?;
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
            count: 0,
            resumed_on_mec: None,
            engine,
        })
    }

    fn fresh(args: &RunAgentArgs, engine: Engine) -> anyhow::Result<Self> {
        let settings = args.settings.read()?;
        let (name, seed) = (
            args.learner.unwrap_or(LearnerName::Dqn),
            args.seed.unwrap_or(SEED),
        );
        Ok(Self {
            name,
            learner: Guard::fresh(name, seed, &settings, engine, args.reset_on_divergence)?,
            is_fresh: true,
            seed,
            source: TaskSource::new(args.taskset.as_deref(), args.tasks, seed)?,
            first: 0,
            lost: 0,
            reward: None,
            count: 0,
            resumed_on_mec: None,
            engine,
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
        let mut learner = Guard::restore(&checkpoint, engine, args.reset_on_divergence)?;
        let mut training = checkpoints::Training::of(&checkpoint)?;
        let on_mec = match training.is_on_mec {
            true => Some(OnMec::read(&dir)?),
            false => None,
        };
        let (mut first, mut lost) = (position.next_task, 0);
        if let Some(on_mec) = &on_mec {
            first = on_mec.first_task(position);
        } else if learner.learns() {
            let waited = learn_what_waited(&mut learner, &dir.decisions(), position)?;
            training.experiences += waited.experiences.len() as u64;
            lost = waited.lost;
        }
        Ok(Self {
            name: checkpoint.header().learner,
            learner,
            is_fresh: false,
            seed,
            source,
            first,
            lost,
            reward: Some(reward),
            count: training.experiences,
            resumed_on_mec: on_mec,
            engine,
        })
    }

    /// The run that is taken up was training on the MEC, this one trains here.
    fn bring_back(&mut self, args: &RunAgentArgs) -> anyhow::Result<()> {
        if let Some(on_mec) = self.resumed_on_mec.take() {
            let restore = self.restore(args);
            self.count = on_mec.rebuild(&mut self.learner, &restore)?;
        }
        Ok(())
    }

    /// The learner as it is after all experiences so far, wherever it learned from them.
    pub fn start(&self, args: &RunAgentArgs) -> anyhow::Result<Checkpoint> {
        let saved = self.learner.save();
        let Some(on_mec) = &self.resumed_on_mec else {
            return Ok(saved);
        };
        let restore = self.restore(args);
        let mut learner = restore(Some(&saved))?;
        on_mec.rebuild(&mut learner, &restore)?;
        Ok(learner.save())
    }

    /// Makes a learner like that of this run, of a checkpoint or afresh.
    pub fn restore(&self, args: &RunAgentArgs) -> Restore {
        let (engine, reset) = (self.engine, args.reset_on_divergence);
        let made = self.learner.save().header().clone();
        Box::new(move |checkpoint| match checkpoint {
            Some(checkpoint) => Guard::restore(checkpoint, engine, reset),
            None => Guard::fresh(made.learner, made.seed, &made.settings, engine, reset),
        })
    }
}

impl OnMec {
    /// Learns here what was learned there; returns how many experiences there have been.
    fn rebuild(&self, learner: &mut Guard, restore: &Restore) -> anyhow::Result<u64> {
        let queue = Queue::open(&self.dir.queue(), Limits::default())?;
        let base = self.base.as_ref();
        let entries = queue.after(base.map_or(0, |base| base.sequence));
        mec::rebuilt(learner, restore, base, queue.before(), entries, |_, _| {})?;
        Ok(queue.last())
    }

    /// The task to go on with. The queue is newer than the checkpoint: its tasks are done, though the checkpoint may not
    /// know of them. One that was decided before the checkpoint and did not get into the queue is decided once more.
    fn first_task(&self, position: Position) -> u64 {
        let after_queue = self.last_task.map_or(0, |task| task + 1);
        position.next_to_learn.max(after_queue)
    }

    fn read(dir: &RunDir) -> anyhow::Result<Self> {
        let base = match dir.base().exists() {
            true => {
                let checkpoint = Checkpoint::read(&dir.base())?;
                Some(WholeLearner {
                    sequence: checkpoint.count(EXPERIENCES)?,
                    bytes: checkpoint.to_bytes()?.into(),
                })
            }
            false => None,
        };
        let last_task = Queue::open(&dir.queue(), Limits::default())?.last_task();
        let dir = dir.clone();
        Ok(Self { dir, base, last_task })
    }
}

/// Learns from the tasks that waited for their energy when the run was stopped.
fn learn_what_waited(learner: &mut Guard, decisions: &Path, position: Position) -> anyhow::Result<Unlearned> {
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
    Ok(unlearned)
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
