//! A run over time in few numbers: tasks in bins, of as many tasks each as keep the bins few. A bin holds one task
//! until there are too many; then neighbours are merged, again and again, so that a million tasks take no more memory
//! than five hundred.

use super::rows::Row;
use super::stats::Sum;

/// There are never more bins: more could not be told apart in a figure.
const MOST: usize = 512;

/// What some tasks in a row were like.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Bin {
    /// How many.
    pub tasks: u64,
    /// Of them, past their deadline or failed.
    pub misses: u64,
    /// By placement: local, MEC, cloud.
    pub placements: [u64; 3],
    /// Their rewards.
    pub reward: Sum,
    /// How much better the best placement would have been, where that is known.
    pub regret: Sum,
}

impl Bin {
    fn of(row: &Row<'_>) -> Self {
        let mut bin = Self {
            tasks: 1,
            misses: u64::from(!row.success),
            ..Self::default()
        };
        bin.placements[row.placement as usize] = 1;
        bin.reward.add(row.reward);
        let regret = row.oracle_reward.zip(row.reward).map(|(best, got)| best - got);
        bin.regret.add(regret);
        bin
    }

    fn merge(&mut self, other: &Self) {
        self.tasks += other.tasks;
        self.misses += other.misses;
        for (mine, theirs) in self.placements.iter_mut().zip(other.placements) {
            *mine += theirs;
        }
        self.reward.merge(other.reward);
        self.regret.merge(other.regret);
    }

    /// Misses among its tasks.
    pub fn miss_share(&self) -> Sum {
        Sum {
            sum: self.misses as f64,
            count: self.tasks,
        }
    }

    /// Tasks with this placement among its tasks.
    pub fn placement_share(&self, placement: usize) -> Sum {
        Sum {
            sum: self.placements[placement] as f64,
            count: self.tasks,
        }
    }
}

/// The bins of a run, in the order of its tasks.
#[derive(Clone, Debug, PartialEq)]
pub struct Bins {
    width: u64,
    bins: Vec<Bin>,
}

impl Default for Bins {
    fn default() -> Self {
        Self {
            width: 1,
            bins: Vec::new(),
        }
    }
}

impl Bins {
    /// Takes in the next task.
    pub fn push(&mut self, row: &Row<'_>) {
        self.push_bin(&Bin::of(row));
    }

    fn push_bin(&mut self, bin: &Bin) {
        let width = self.width;
        if let Some(last) = self.bins.last_mut().filter(|last| last.tasks < width) {
            last.merge(bin);
            return;
        }
        if self.bins.len() == MOST {
            self.halve();
        }
        self.bins.push(*bin);
    }

    fn halve(&mut self) {
        self.width *= 2;
        self.bins = self
            .bins
            .chunks(2)
            .map(|pair| {
                let mut merged = pair[0];
                pair[1..].iter().for_each(|bin| merged.merge(bin));
                merged
            })
            .collect();
    }

    /// Tasks in each bin but perhaps the last; a power of two.
    pub fn width(&self) -> u64 {
        self.width
    }

    /// The same in bins at least so wide.
    pub fn at_least(&self, width: u64) -> Self {
        let mut wider = self.clone();
        while wider.width < width {
            wider.halve();
        }
        wider
    }

    /// The bins.
    pub fn as_slice(&self) -> &[Bin] {
        &self.bins
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bins of `n` tasks, task `i` with the reward `i`.
    fn of(n: u64) -> Bins {
        let mut bins = Bins::default();
        for i in 0..n {
            let mut bin = Bin {
                tasks: 1,
                misses: i % 2,
                placements: [1, 0, 0],
                ..Bin::default()
            };
            bin.reward.add(Some(i as f64));
            bins.push_bin(&bin);
        }
        bins
    }

    #[test]
    fn few_tasks_have_a_bin_each_and_many_share_them() {
        let few = of(512);
        assert_eq!((few.width(), few.as_slice().len()), (1, 512));
        let more = of(513);
        assert_eq!((more.width(), more.as_slice().len()), (2, 257));
        assert_eq!(more.as_slice()[1].reward, Sum { sum: 5.0, count: 2 });
        assert_eq!(more.as_slice()[256].tasks, 1);
    }

    #[test]
    fn nothing_is_lost_however_many_there_are() {
        let many = of(100_000);
        assert!(many.as_slice().len() <= MOST);
        let tasks: u64 = many.as_slice().iter().map(|bin| bin.tasks).sum();
        let rewards: f64 = many.as_slice().iter().map(|bin| bin.reward.sum).sum();
        assert_eq!((tasks, rewards), (100_000, 100_000.0 * 99_999.0 / 2.0));
        let full = &many.as_slice()[..many.as_slice().len() - 1];
        assert!(full.iter().all(|bin| bin.tasks == many.width()));
    }

    #[test]
    fn runs_of_other_lengths_are_put_on_the_same_bins() {
        let (long, short) = (of(3000), of(1000).at_least(of(3000).width()));
        assert_eq!(long.width(), short.width());
        assert_eq!(long.as_slice()[10], short.as_slice()[10]);
    }
}
