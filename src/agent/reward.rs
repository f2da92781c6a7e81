//! The reward: minus the device's energy if the task met its deadline, else minus a penalty.
//!
//! The paper's constant penalty is not published. The default here is 1.5 x full-load power x the task's own deadline: a task that
//! succeeds has taken at most full-load power for at most its deadline, so that failing is always worse.

use hwmeter_hw::units::{Joules, Watts};
use serde::{Deserialize, Serialize};

/// How much worse than the costliest success a failure is by default.
const PENALTY_FACTOR: f64 = 1.5;

/// What a failure costs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Penalty {
    /// The same for every task, as in the paper.
    Constant(Joules),
    /// 1.5 x this power x the task's deadline.
    FullLoad(Watts),
}

/// How a task's outcome becomes a reward.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct RewardRule {
    /// What a failure costs.
    pub penalty: Penalty,
}

impl RewardRule {
    /// The reward in joules; `None` if the energy of a success is not known.
    pub fn reward(&self, success: bool, energy_j: Option<f64>, deadline_s: f64) -> Option<f64> {
        if success {
            energy_j.map(|joules| -joules)
        } else {
            Some(-self.penalty_j(deadline_s))
        }
    }

    fn penalty_j(&self, deadline_s: f64) -> f64 {
        match self.penalty {
            Penalty::Constant(joules) => joules.0,
            Penalty::FullLoad(power) => PENALTY_FACTOR * power.0 * deadline_s,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failing_is_worse_than_the_costliest_success() {
        let rule = RewardRule {
            penalty: Penalty::FullLoad(Watts(10.0)),
        };
        let costliest = rule.reward(true, Some(10.0 * 2.0), 2.0);
        assert_eq!(costliest, Some(-20.0));
        assert_eq!(rule.reward(false, Some(1.0), 2.0), Some(-30.0));
        assert_eq!(rule.reward(true, None, 2.0), None);
        let constant = RewardRule {
            penalty: Penalty::Constant(Joules(5.0)),
        };
        assert_eq!(constant.reward(false, None, 2.0), Some(-5.0));
    }
}
