//! Kernels that take a given number of cycles: the choice of repeat counts that the published generator leaves to an
//! integer linear programme.
//!
//! Most of the cycles go to three kernels, drawn for each task. What is left is an unbounded knapsack of a few rounds,
//! solved by dynamic programming; only where these three are too coarse to come within [`TOLERANCE`] do all kernels help.

use super::super::cost::CostModel;
use super::super::draw::Draw;
use super::super::kernel::Kernel;
use super::super::work::{Kernels, Step};

/// How much less than asked for a task may take, as a share.
pub const TOLERANCE: f64 = 0.02;

/// Kernels drawn for a task.
const CHOSEN: usize = 3;

/// Rounds of the costliest kernel that are left to the knapsack.
const TAIL_ROUNDS: f64 = 8.0;

/// Parts into which the knapsack divides what is left.
const UNITS: usize = 8192;

/// Rounds of each kernel, in the order of [`Kernel::ALL`].
type Rounds = [u64; Kernel::ALL.len()];

/// Steps that take at most `cycles` cycles by `cost`, and as nearly that as rounds allow; at least one round.
pub fn fill(cycles: f64, cost: &CostModel, draw: &mut Draw) -> Kernels {
    let chosen = choose(draw);
    let bulk = bulk(cycles, &chosen, cost, draw);
    let left = cycles - taken(&bulk, cost);
    let mut rounds = added(&bulk, &knapsack(left, &chosen, cost));
    if cycles - taken(&rounds, cost) > TOLERANCE * cycles {
        rounds = added(&bulk, &knapsack(left, Kernel::ALL, cost));
    }
    let steps = (Kernel::ALL.iter().zip(rounds)).filter(|&(_, rounds)| rounds > 0);
    let steps = steps.map(|(&kernel, rounds)| Step { kernel, rounds }).collect();
    // Less than any round takes: the cheapest one is the least that there is.
    Kernels::new(steps).unwrap_or_else(|_| Kernels::one(cheapest(cost), 1))
}

/// Different kernels, each equally likely.
fn choose(draw: &mut Draw) -> Vec<Kernel> {
    let mut all = Kernel::ALL.to_vec();
    (0..CHOSEN)
        .map(|_| all.swap_remove(draw.index(all.len())))
        .collect()
}

/// Random shares of all but the last rounds.
fn bulk(cycles: f64, chosen: &[Kernel], cost: &CostModel, draw: &mut Draw) -> Rounds {
    let costliest = chosen
        .iter()
        .map(|&kernel| cost.cycles_per_round(kernel))
        .fold(0.0, f64::max);
    let shared = (cycles - TAIL_ROUNDS * costliest).max(0.0);
    let weights: Vec<f64> = chosen.iter().map(|_| 0.1 + draw.uniform()).collect();
    let sum: f64 = weights.iter().sum();
    let mut rounds = [0; Kernel::ALL.len()];
    for (&kernel, weight) in chosen.iter().zip(weights) {
        rounds[kernel as usize] = (shared * weight / sum / cost.cycles_per_round(kernel)) as u64;
    }
    rounds
}

/// The rounds of some kernels that come nearest to `cycles` from below.
fn knapsack(cycles: f64, kernels: &[Kernel], cost: &CostModel) -> Rounds {
    let unit = cycles / UNITS as f64;
    // Rounded up: what fits by units fits by cycles too.
    let weight = |kernel| (cost.cycles_per_round(kernel) / unit).ceil() as usize;
    let weights: Vec<(Kernel, usize)> = kernels.iter().map(|&kernel| (kernel, weight(kernel))).collect();
    // The kernel whose round reaches each sum, from a sum that is reached.
    let mut last: Vec<Option<(Kernel, usize)>> = vec![None; UNITS + 1];
    for sum in 1..=UNITS {
        last[sum] = (weights.iter().copied())
            .find(|&(_, weight)| weight == sum || weight < sum && last[sum - weight].is_some());
    }
    let mut rounds = [0; Kernel::ALL.len()];
    let mut at = (1..=UNITS).rev().find(|&sum| last[sum].is_some()).unwrap_or(0);
    while let Some((kernel, weight)) = last[at] {
        rounds[kernel as usize] += 1;
        at -= weight;
    }
    rounds
}

fn added(one: &Rounds, other: &Rounds) -> Rounds {
    std::array::from_fn(|at| one[at] + other[at])
}

fn taken(rounds: &Rounds, cost: &CostModel) -> f64 {
    let each = Kernel::ALL.iter().zip(rounds);
    each.map(|(&kernel, &rounds)| rounds as f64 * cost.cycles_per_round(kernel))
        .sum()
}

fn cheapest(cost: &CostModel) -> Kernel {
    let costs = |kernel: &Kernel| cost.cycles_per_round(*kernel);
    let cheaper = |one: Kernel, other: Kernel| if costs(&other) < costs(&one) { other } else { one };
    Kernel::ALL
        .iter()
        .copied()
        .reduce(cheaper)
        .unwrap_or(Kernel::Sha256)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_are_filled_within_the_tolerance_and_never_beyond() {
        let cost = CostModel::reference();
        let mut draw = Draw::new(1);
        // From the least execution time of the generator's defaults upwards.
        for step in 0..300 {
            let cycles = 1.2e6 * 1.04f64.powi(step);
            let filled = cost.cycles_of(&fill(cycles, &cost, &mut draw));
            let short = 1.0 - filled / cycles;
            assert!((-1e-12..=TOLERANCE).contains(&short), "{cycles:e}: {short}");
        }
    }

    #[test]
    fn a_task_is_a_mix_that_differs_from_task_to_task() {
        let cost = CostModel::reference();
        let mut draw = Draw::new(2);
        let mut seen = [0; Kernel::ALL.len()];
        for _ in 0..400 {
            let kernels = fill(2.4e8, &cost, &mut draw);
            assert_eq!(kernels.steps().len(), CHOSEN, "{kernels}");
            kernels
                .steps()
                .iter()
                .for_each(|step| seen[step.kernel as usize] += 1);
        }
        assert!(seen.iter().all(|&count| (30..100).contains(&count)), "{seen:?}");
    }

    #[test]
    fn where_three_kernels_are_too_coarse_all_help() {
        let cost = CostModel::from_cycles(|kernel| if kernel == Kernel::Lift { 40.0 } else { 1000.0 });
        for seed in 0..20 {
            let kernels = fill(2990.0, &cost, &mut Draw::new(seed));
            let filled = cost.cycles_of(&kernels);
            assert!(
                (2990.0 * (1.0 - TOLERANCE)..=2990.0).contains(&filled),
                "{kernels}"
            );
        }
    }

    #[test]
    fn less_than_a_round_is_the_cheapest_round() {
        let cost = CostModel::reference();
        assert_eq!(fill(10.0, &cost, &mut Draw::new(3)).to_string(), "matmul:1");
    }
}
