//! Policies that never learn: always local, always MEC, always cloud, and a uniform draw.

use super::random::{Rng, seeded};
use super::weights::{Reader, Weights};
use super::{
    Checkpoint, Decision, Description, LearnError, Learner, LearnerName, Placement, Settings, State,
    Transition, features,
};
use rand::RngExt;

/// A policy that does not look at the state.
#[derive(Clone, Debug)]
pub struct Fixed {
    name: LearnerName,
    /// `None`: a uniform draw.
    always: Option<Placement>,
    seed: u64,
    updates: u64,
    rng: Rng,
}

impl Fixed {
    /// The policy that always answers `placement`.
    pub fn always(placement: Placement) -> Self {
        let name = match placement {
            Placement::Local => LearnerName::Local,
            Placement::Mec => LearnerName::Mec,
            Placement::Cloud => LearnerName::Cloud,
        };
        Self {
            name,
            always: Some(placement),
            seed: 0,
            updates: 0,
            rng: seeded(0),
        }
    }

    /// The policy that draws a placement, each with probability 1/3.
    pub fn random(seed: u64) -> Self {
        Self {
            name: LearnerName::Random,
            always: None,
            seed,
            updates: 0,
            rng: seeded(seed),
        }
    }
}

impl Learner for Fixed {
    fn decide(&mut self, state: &State) -> Result<Decision, LearnError> {
        features::raw(state)?;
        let drawn = || Placement::ALL[self.rng.random_range(0..Placement::ALL.len())];
        Ok(Decision {
            placement: self.always.unwrap_or_else(drawn),
            explored: false,
        })
    }

    fn best(&mut self, state: &State) -> Result<Placement, LearnError> {
        Ok(self.decide(state)?.placement)
    }

    fn learn(&mut self, transition: &Transition) -> Result<(), LearnError> {
        features::check(transition)?;
        self.updates += 1;
        Ok(())
    }

    fn save(&self) -> Checkpoint {
        let mut checkpoint = Checkpoint::new(
            self.name,
            "fixed".to_owned(),
            self.seed,
            self.updates,
            Settings::default(),
        );
        checkpoint.put_rng(&self.rng);
        checkpoint
    }

    fn load(&mut self, checkpoint: &Checkpoint) -> Result<(), LearnError> {
        checkpoint.expect(self.name, "fixed")?;
        self.rng = checkpoint.rng()?;
        (self.seed, self.updates) = (checkpoint.header().seed, checkpoint.header().updates);
        Ok(())
    }

    fn weights(&self) -> Weights {
        let mut weights = Weights::default();
        weights.put_count("updates", self.updates);
        weights
    }

    fn set_weights(&mut self, weights: &Weights) -> Result<(), LearnError> {
        let mut found = Reader::new(weights);
        let updates = found.count("updates")?;
        found.finish()?;
        self.updates = updates;
        Ok(())
    }

    fn describe(&self) -> Description {
        Description::new(self.name, "fixed", 0, &())
    }
}
