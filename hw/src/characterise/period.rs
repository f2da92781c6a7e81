//! The update period: values change at multiples of it.

use super::record::{Record, changes};

/// Fewer changes tell nothing.
const FEWEST_CHANGES: usize = 8;
/// A period has to be so many looks long to be seen.
const LEAST_LOOKS: f64 = 2.5;
/// Share of the changes that must lie at a multiple of the period, and how near (in periods).
const LEAST_FITTING: f64 = 0.9;
const NEAR: f64 = 0.25;

/// The period in seconds, from the rail that changes most often; or why there is none.
pub(super) fn of(record: &Record) -> Result<f64, String> {
    let of_rail = |rail| -> Vec<f64> {
        changes(&record.rail(rail))
            .iter()
            .map(|sample| sample.t)
            .collect()
    };
    let rails = (0..record.rails()).map(of_rail);
    let moments = rails.max_by_key(Vec::len).unwrap_or_default();
    if moments.len() < FEWEST_CHANGES {
        return Err(format!("the values changed only {} times", moments.len()));
    }
    let pace = record.pace().unwrap_or(0.0);
    let mut gaps: Vec<f64> = moments.windows(2).map(|pair| pair[1] - pair[0]).collect();
    gaps.sort_by(f64::total_cmp);
    if gaps[gaps.len() / 2] < LEAST_LOOKS * pace {
        return Err(format!(
            "there was a new value at nearly every read, {:.2} ms apart",
            1e3 * pace
        ));
    }
    fit(&gaps).ok_or_else(|| "the values changed at no regular times".to_owned())
}

/// The period of which all gaps (ascending) are multiples.
fn fit(gaps: &[f64]) -> Option<f64> {
    // A few too short ones are looks that were late.
    let shortest = gaps[gaps.len() / 20];
    let alike: Vec<f64> = gaps
        .iter()
        .copied()
        .filter(|gap| (0.7..1.4).contains(&(gap / shortest)))
        .collect();
    let mut period = alike.iter().sum::<f64>() / alike.len() as f64;
    for _ in 0..5 {
        let multiples = gaps.iter().map(|gap| (gap / period).round().max(1.0));
        // Long gaps are no better than short ones once their multiple may be miscounted.
        let counted = gaps.iter().zip(multiples).filter(|(_, n)| *n <= 10.0);
        let (sum, n) = counted.fold((0.0, 0.0), |(sum, n), (gap, k)| (sum + gap, n + k));
        if n == 0.0 {
            return None;
        }
        period = sum / n;
    }
    let off = |gap: &&f64| {
        let n = (**gap / period).round().max(1.0);
        (**gap - n * period).abs() < NEAR * period
    };
    let fitting = gaps.iter().filter(off).count();
    (fitting as f64 >= LEAST_FITTING * gaps.len() as f64).then_some(period)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn multiples_and_jitter_give_the_period_and_chance_gives_none() {
        let mut gaps: Vec<f64> = (0..60)
            .map(|i| f64::from(1 + i % 3) * 0.1 + f64::from(i % 7) * 1e-4)
            .collect();
        gaps.sort_by(f64::total_cmp);
        assert!((fit(&gaps).unwrap() - 0.1).abs() < 5e-4);
        let mut random = crate::synthetic::Random::new(1);
        let mut gaps: Vec<f64> = (0..60).map(|_| random.exponential(0.1)).collect();
        gaps.sort_by(f64::total_cmp);
        assert_eq!(fit(&gaps), None);
    }
}
