//! A linear bandit that forgets: D-LinUCB (Russac, Vernade and Cappé, NeurIPS 2019), for links and servers that
//! change.
//!
//! As in [`super::linucb`], each placement has a regression of the reward on the 21 terms phi of a full quadratic
//! in the features. Every update multiplies what all placements remember by `discount`:
//!
//! ```text
//! V <- discount V   + (1 - discount)   ridge I  (+ phi phi^T for the placement taken)
//! W <- discount^2 W + (1 - discount^2) ridge I  (+ phi phi^T)
//! b <- discount b                               (+ reward phi)
//! theta = V^-1 b
//! argmax over placements of  theta . phi + width sigma sqrt(phi^T V^-1 W V^-1 phi)
//! ```
//!
//! so a placement not taken for long becomes uncertain again and is tried anew. sigma is the deviation of the
//! rewards so far. The ridge comes back at every step, so that no update is of rank one: V is factored (Cholesky),
//! 3 x 21^3 / 6 multiplications.

use super::features::{self, RewardNormaliser};
use super::linucb::{LEAST_RIDGE, TERMS, dot, highest, quadratic};
use super::weights::{Reader, Weights};
use super::{
    Checkpoint, Decision, Description, LearnError, Learner, LearnerName, Placement, Settings, State,
    Transition, settings,
};
use serde::{Deserialize, Serialize};

const NAME: LearnerName = LearnerName::DLinucb;
const VARIANT: &str = "quadratic";
const PLACEMENTS: usize = Placement::ALL.len();

type Vector = [f64; TERMS];
type Matrix = Box<[Vector; TERMS]>;

/// The settings of [`DLinUcb`]. The publication gives formulas for known numbers of changes; these are chosen for
/// runs of some 500 tasks with a few changes: on the toy device of [`super::environment`] the learner closes 88 % of
/// the gap from random to oracle (mean of 12 runs).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// What is kept of the past at every update; 1 / (1 - discount) tasks are remembered.
    pub discount: f64,
    /// Weight of the ridge, 1e-6 to 1e6.
    pub ridge: f64,
    /// Width of the confidence bound, in deviations of the reward.
    pub width: f64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            discount: 0.995,
            ridge: 1.0,
            width: 0.4,
        }
    }
}

impl Config {
    pub(super) fn check(&self) -> Result<(), LearnError> {
        let check = settings::Check { learner: "d-linucb" };
        check.positive("discount", self.discount)?;
        check.share("discount", self.discount)?;
        check.between("ridge", self.ridge, LEAST_RIDGE, 1e6)?;
        check.not_negative("width", self.width)
    }
}

/// One discounted ridge regression per placement.
#[derive(Clone, Debug)]
pub struct DLinUcb {
    config: Config,
    seed: u64,
    updates: u64,
    rewards: RewardNormaliser,
    models: [Model; PLACEMENTS],
}

#[derive(Clone, Debug)]
struct Model {
    count: u64,
    v: Matrix,
    w: Matrix,
    b: Vector,
    /// Lower triangular, times its transpose it is `v`.
    factor: Matrix,
    theta: Vector,
}

impl DLinUcb {
    /// A fresh learner. It draws no random numbers; the seed is only remembered.
    pub fn new(config: Config, seed: u64) -> Result<Self, LearnError> {
        config.check()?;
        let models = std::array::from_fn(|_| Model::new(config.ridge));
        Ok(Self {
            config,
            seed,
            updates: 0,
            rewards: RewardNormaliser::default(),
            models,
        })
    }

    /// The expected reward of each placement; minus infinity where it was never tried.
    fn means(&self, phi: &Vector) -> [f64; PLACEMENTS] {
        self.models.each_ref().map(|model| match model.count {
            0 => f64::NEG_INFINITY,
            _ => dot(&model.theta, phi),
        })
    }
}

impl Learner for DLinUcb {
    fn decide(&mut self, state: &State) -> Result<Decision, LearnError> {
        let phi = quadratic(&features::fixed(&features::raw(state)?));
        let means = self.means(&phi);
        let width = self.config.width * self.rewards.deviation();
        let bounds: [f64; PLACEMENTS] = std::array::from_fn(|i| match self.models[i].count {
            // Never tried: no bound is known, so it comes first.
            0 => f64::INFINITY,
            _ => means[i] + width * self.models[i].spread(&phi),
        });
        let placement = highest(&bounds);
        Ok(Decision {
            placement,
            explored: placement != highest(&means),
        })
    }

    fn best(&mut self, state: &State) -> Result<Placement, LearnError> {
        let phi = quadratic(&features::fixed(&features::raw(state)?));
        Ok(highest(&self.means(&phi)))
    }

    fn learn(&mut self, transition: &Transition) -> Result<(), LearnError> {
        let (before, reward, _) = features::check(transition)?;
        let phi = quadratic(&features::fixed(&before));
        let taken = transition.placement as usize;
        self.rewards.observe(reward);
        for (i, model) in self.models.iter_mut().enumerate() {
            model.forget(self.config.discount, self.config.ridge);
            if i == taken {
                model.add(&phi, reward);
            }
            model.solve();
        }
        self.updates += 1;
        Ok(())
    }

    fn is_lost(&self) -> bool {
        let mut numbers = self.models.iter().flat_map(|model| model.theta);
        numbers.any(|number| !number.is_finite())
    }

    fn save(&self) -> Checkpoint {
        let settings = Settings {
            d_linucb: self.config.clone(),
            ..Settings::default()
        };
        let mut checkpoint = Checkpoint::new(NAME, VARIANT.to_owned(), self.seed, self.updates, settings);
        self.rewards.save(&mut checkpoint);
        for (i, model) in self.models.iter().enumerate() {
            checkpoint.put_count(&format!("{i}.count"), model.count);
            let mut put = |name, m: &Matrix| {
                checkpoint.put_f64(&format!("{i}.{name}"), &[TERMS, TERMS], m.as_flattened().to_vec());
            };
            put("v", &model.v);
            put("w", &model.w);
            checkpoint.put_f64(&format!("{i}.b"), &[TERMS], model.b.to_vec());
        }
        checkpoint
    }

    fn load(&mut self, checkpoint: &Checkpoint) -> Result<(), LearnError> {
        checkpoint.expect(NAME, VARIANT)?;
        let mut loaded = self.clone();
        loaded.rewards = RewardNormaliser::load(checkpoint)?;
        for (i, model) in loaded.models.iter_mut().enumerate() {
            model.count = checkpoint.count(&format!("{i}.count"))?;
            let take = |name: &str| checkpoint.f64s(name, &[TERMS, TERMS]);
            model
                .v
                .as_flattened_mut()
                .copy_from_slice(take(&format!("{i}.v"))?);
            model
                .w
                .as_flattened_mut()
                .copy_from_slice(take(&format!("{i}.w"))?);
            model
                .b
                .copy_from_slice(checkpoint.f64s(&format!("{i}.b"), &[TERMS])?);
            model.solve();
        }
        (loaded.seed, loaded.updates) = (checkpoint.header().seed, checkpoint.header().updates);
        *self = loaded;
        Ok(())
    }

    fn weights(&self) -> Weights {
        let mut weights = Weights::default();
        weights.put_count("updates", self.updates);
        self.rewards.put(&mut weights);
        for (i, model) in self.models.iter().enumerate() {
            weights.put_count(&format!("{i}.count"), model.count);
            for (name, matrix) in [("v", &model.v), ("w", &model.w)] {
                let numbers = matrix.as_flattened().to_vec();
                weights.put_f64(&format!("{i}.{name}"), &[TERMS, TERMS], numbers);
            }
            weights.put_f64(&format!("{i}.b"), &[TERMS], model.b.to_vec());
        }
        weights
    }

    fn set_weights(&mut self, weights: &Weights) -> Result<(), LearnError> {
        let mut found = Reader::new(weights);
        let mut set = self.clone();
        set.updates = found.count("updates")?;
        set.rewards = RewardNormaliser::find(&mut found)?;
        for (i, model) in set.models.iter_mut().enumerate() {
            model.count = found.count(&format!("{i}.count"))?;
            for (name, matrix) in [("v", &mut model.v), ("w", &mut model.w)] {
                let numbers = found.f64s(&format!("{i}.{name}"), &[TERMS, TERMS])?;
                matrix.as_flattened_mut().copy_from_slice(numbers);
            }
            model.b.copy_from_slice(found.f64s(&format!("{i}.b"), &[TERMS])?);
            model.solve();
        }
        found.finish()?;
        *self = set;
        Ok(())
    }

    fn describe(&self) -> Description {
        Description::new(NAME, VARIANT, PLACEMENTS * TERMS, &self.config)
    }
}

impl Model {
    fn new(ridge: f64) -> Self {
        let mut model = Self {
            count: 0,
            v: diagonal(ridge),
            w: diagonal(ridge),
            b: [0.0; TERMS],
            factor: diagonal(0.0),
            theta: [0.0; TERMS],
        };
        model.solve();
        model
    }

    fn forget(&mut self, discount: f64, ridge: f64) {
        for (matrix, keep) in [(&mut self.v, discount), (&mut self.w, discount * discount)] {
            matrix.as_flattened_mut().iter_mut().for_each(|x| *x *= keep);
            (0..TERMS).for_each(|i| matrix[i][i] += (1.0 - keep) * ridge);
        }
        self.b.iter_mut().for_each(|b| *b *= discount);
    }

    fn add(&mut self, phi: &Vector, reward: f64) {
        for matrix in [&mut self.v, &mut self.w] {
            for (row, p) in matrix.iter_mut().zip(phi) {
                row.iter_mut().zip(phi).for_each(|(x, q)| *x += p * q);
            }
        }
        self.b.iter_mut().zip(phi).for_each(|(b, p)| *b += reward * p);
        self.count += 1;
    }

    fn solve(&mut self) {
        cholesky(&self.v, &mut self.factor);
        self.theta = solve(&self.factor, &self.b);
    }

    /// sqrt(x^T W x) with x = V^-1 phi.
    fn spread(&self, phi: &Vector) -> f64 {
        let x = solve(&self.factor, phi);
        let wx = self.w.each_ref().map(|row| dot(row, &x));
        dot(&wx, &x).max(0.0).sqrt()
    }
}

fn diagonal(value: f64) -> Matrix {
    let mut matrix = Box::new([[0.0; TERMS]; TERMS]);
    (0..TERMS).for_each(|i| matrix[i][i] = value);
    matrix
}

/// The lower triangle L with L L^T = a, which is symmetric and, thanks to the ridge, positive.
fn cholesky(a: &Matrix, l: &mut Matrix) {
    for i in 0..TERMS {
        for j in 0..=i {
            let done: f64 = l[i][..j].iter().zip(&l[j][..j]).map(|(x, y)| x * y).sum();
            let rest = a[i][j] - done;
            // Rounding, or a damaged file, could leave a pivot at or below zero.
            l[i][j] = if i == j {
                rest.max(1e-12).sqrt()
            } else {
                rest / l[j][j]
            };
        }
    }
}

/// x with L L^T x = b.
fn solve(l: &Matrix, b: &Vector) -> Vector {
    let mut x = *b;
    for i in 0..TERMS {
        let done: f64 = l[i][..i].iter().zip(&x[..i]).map(|(l, x)| l * x).sum();
        x[i] = (x[i] - done) / l[i][i];
    }
    for i in (0..TERMS).rev() {
        x[i] /= l[i][i];
        let value = x[i];
        x[..i]
            .iter_mut()
            .zip(&l[i][..i])
            .for_each(|(x, l)| *x -= l * value);
    }
    x
}

#[cfg(test)]
mod tests;
