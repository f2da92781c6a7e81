//! A run's learner trained once more, on what the run has recorded: the same transitions must give the same weights,
//! wherever the run has trained and whatever was killed meanwhile.

use super::recorder;
use crate::learn::guard::Guard;
use crate::learn::{Checkpoint, Engine, LearnError, LearnerName, Settings};
use crate::run_dir::RunDir;
use crate::train::weights::{hex, sha256};
use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What came of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Replayed {
    /// The learner with its size and engine, such as `dqn 4x256 (native)`.
    pub learner: String,
    /// What it began as: `fresh`, or the run's `start.safetensors`.
    pub from: &'static str,
    /// How many transitions it has learned from.
    pub transitions: u64,
    /// SHA-256 of its weights.
    pub weights_sha256: String,
    /// That of the run's own learner; a run that was killed has none.
    pub run_weights_sha256: Option<String>,
    /// Whether they are the same.
    pub equal: Option<bool>,
}

/// What is needed of `run.json`.
#[derive(Deserialize)]
struct Manifest {
    seed: u64,
    learner: Described,
    reset_on_divergence: bool,
    starts_from: Option<String>,
    weights_sha256: Option<String>,
}

/// A learner as `run.json` describes it.
#[derive(Deserialize)]
struct Described {
    name: LearnerName,
    variant: String,
    engine: String,
    settings: Vec<(String, Value)>,
}

/// Trains the learner of a run on its `transitions.csv`.
pub fn replay(dir: &RunDir) -> anyhow::Result<Replayed> {
    let manifest = dir.read_manifest()?;
    let manifest: Manifest = serde_json::from_value(manifest).with_context(|| {
        format!(
            "{} lacks what a replay needs; was it edited, or is it of another version of hwmeter?",
            dir.manifest().display()
        )
    })?;
    if !dir.transitions().exists() {
        bail!(
            "{} holds no transitions.csv: its run was not told to --record-transitions",
            dir.path().display()
        );
    }
    let (mut learner, from) = manifest.learner_at_first(dir)?;
    let updates = learner.learner().save().header().updates;
    let transitions = recorder::read(&dir.transitions(), updates)?;
    for (i, (transition, cost)) in transitions.iter().enumerate() {
        learner.learn(transition, cost).with_context(|| {
            let line = i + 2;
            format!("{}, line {line}", dir.transitions().display())
        })?;
    }
    let weights_sha256 = hex(&sha256(&learner.weights()));
    let Described {
        name,
        variant,
        engine,
        ..
    } = &manifest.learner;
    Ok(Replayed {
        learner: format!("{name} {variant} ({engine})"),
        from,
        transitions: transitions.len() as u64,
        equal: manifest
            .weights_sha256
            .as_ref()
            .map(|hash| *hash == weights_sha256),
        weights_sha256,
        run_weights_sha256: manifest.weights_sha256,
    })
}

impl Manifest {
    fn learner_at_first(&self, dir: &RunDir) -> anyhow::Result<(Guard, &'static str)> {
        let engine = self.learner.engine()?;
        if self.starts_from.is_some() {
            let start = Checkpoint::read(&dir.start())
                .context("the run went on from an earlier learner, which is needed")?;
            return Ok((
                Guard::restore(&start, engine, self.reset_on_divergence)?,
                "start.safetensors",
            ));
        }
        let settings = self.learner.settings().with_context(|| {
            format!(
                "the learner's settings in {} are damaged",
                dir.manifest().display()
            )
        })?;
        let (name, reset) = (self.learner.name, self.reset_on_divergence);
        Ok((Guard::fresh(name, self.seed, &settings, engine, reset)?, "fresh"))
    }
}

impl Described {
    fn engine(&self) -> Result<Engine, LearnError> {
        match self.engine.as_str() {
            "native" => Ok(Engine::Native),
            torch => Ok(Engine::torch(torch.contains("cuda"))?),
        }
    }

    /// Its own settings; those of other learners do not matter.
    fn settings(&self) -> serde_json::Result<Settings> {
        let own: Map<String, Value> = self.settings.iter().cloned().collect();
        match own.is_empty() {
            true => Ok(Settings::default()),
            false => serde_json::from_value(Value::Object(Map::from_iter([(
                self.name.to_string(),
                Value::Object(own),
            )]))),
        }
    }
}
