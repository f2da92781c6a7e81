//! Policies that never learn: always local, always MEC, always cloud, and a uniform draw.

use super::random::{Rng, seeded};
use super::weights::{Reader, Weights};
use super::{
    Checkpoint, Decision, Description, LearnError, Learner, LearnerName, Placement, Settings, State,
    Transition, features,
};
use rand::RngExt;
use twox_hash::XxHash3_64;

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

    /// A uniform draw holds no placement best. By a hash of the state each comes out for a third of the states, and
    /// nothing is drawn.
    fn best(&mut self, state: &State) -> Result<Placement, LearnError> {
        let numbers = features::raw(state)?;
        let by_state = || {
            let hash = numbers.iter().fold(self.seed, |hash, number| {
                XxHash3_64::oneshot_with_seed(hash, &number.to_le_bytes())
            });
            Placement::ALL[(hash % Placement::ALL.len() as u64) as usize]
        };
        Ok(self.always.unwrap_or_else(by_state))
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::environment::tasks;
    use super::*;

    #[test]
    fn what_a_uniform_draw_holds_best_changes_nothing_and_is_each_placement_for_a_third() {
        let mut learner = Fixed::random(3);
        let before = learner.save();
        let mut counts = [0; 3];
        for task in tasks(300, 1) {
            let best = learner.best(&task.state).unwrap();
            assert_eq!(learner.best(&task.state).unwrap(), best);
            counts[best as usize] += 1;
        }
        assert_eq!(learner.save(), before);
        assert!(counts.iter().all(|count| (60..140).contains(count)), "{counts:?}");
    }
}
