//! Sorting of 32-bit numbers in place: insertion sort, quicksort (C. A. R. Hoare, "Quicksort", 1962) and the
//! bitonic network (K. E. Batcher, "Sorting networks and their applications", 1968).

use super::Rounds;
use crate::task::mix::{SplitMix, digest};

/// Declares a kernel that sorts `$count` numbers in each round; the checksum makes the next numbers.
macro_rules! sorting {
    ($(#[$doc:meta])* $name:ident, $count:literal, $sort:path) => {
        $(#[$doc])*
        pub(crate) struct $name([u32; $count]);

        impl Rounds for $name {
            fn new(seed: u64) -> Self {
                let mut numbers = Self([0; $count]);
                refill(&mut numbers.0, seed);
                numbers
            }

            fn round(&mut self) -> u64 {
                $sort(&mut self.0);
                let checksum = digest(self.0.iter().map(|&number| u64::from(number)));
                refill(&mut self.0, checksum);
                checksum
            }
        }
    };
}

sorting!(
    /// A quadratic sort: mostly moves.
    InsertionSort,
    512,
    insertion_sort
);
sorting!(
    /// The usual sort: branches that nobody can predict.
    QuickSort,
    2048,
    quick_sort
);
sorting!(
    /// A sorting network: the same comparisons whatever the numbers are, so they vectorise.
    BitonicSort,
    1024,
    bitonic_sort
);

fn refill(numbers: &mut [u32], seed: u64) {
    let mut fresh = SplitMix::new(seed);
    for number in numbers {
        *number = fresh.next() as u32;
    }
}

fn insertion_sort(numbers: &mut [u32]) {
    for sorted in 1..numbers.len() {
        let new = numbers[sorted];
        let mut place = sorted;
        while place > 0 && numbers[place - 1] > new {
            numbers[place] = numbers[place - 1];
            place -= 1;
        }
        numbers[place] = new;
    }
}

/// Below this many numbers insertion sort is quicker.
const FEW: usize = 12;

/// The shorter part by recursion, the longer one in the loop: the stack stays logarithmic.
fn quick_sort(mut numbers: &mut [u32]) {
    while numbers.len() > FEW {
        let middle = partition(numbers);
        let (left, right) = numbers.split_at_mut(middle);
        let shorter;
        (shorter, numbers) = if left.len() < right.len() {
            (left, right)
        } else {
            (right, left)
        };
        quick_sort(shorter);
    }
    insertion_sort(numbers);
}

/// Hoare's partition around the median of three: nothing left of the place returned is greater than anything right
/// of it, and neither side is empty.
fn partition(numbers: &mut [u32]) -> usize {
    let last = numbers.len() - 1;
    let (first, middle, end) = (numbers[0], numbers[last / 2], numbers[last]);
    let pivot = first.min(middle).max(first.max(middle).min(end));
    let (mut from, mut to) = (0, last);
    loop {
        while numbers[from] < pivot {
            from += 1;
        }
        while numbers[to] > pivot {
            to -= 1;
        }
        if from >= to {
            return from.max(1);
        }
        numbers.swap(from, to);
        from += 1;
        to -= 1;
    }
}

/// Merges bitonic runs of 2, 4, 8, ... numbers; the count is a power of two.
fn bitonic_sort(numbers: &mut [u32]) {
    let mut run = 2;
    while run <= numbers.len() {
        // The first comparisons of a merge mirror the second half, so that all runs ascend.
        for block in numbers.chunks_exact_mut(run) {
            let (low, high) = block.split_at_mut(run / 2);
            for (low, high) in low.iter_mut().zip(high.iter_mut().rev()) {
                (*low, *high) = ((*low).min(*high), (*low).max(*high));
            }
        }
        let mut width = run / 2;
        while width > 1 {
            for block in numbers.chunks_exact_mut(width) {
                let (low, high) = block.split_at_mut(width / 2);
                for (low, high) in low.iter_mut().zip(high) {
                    (*low, *high) = ((*low).min(*high), (*low).max(*high));
                }
            }
            width /= 2;
        }
        run *= 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SORTS: [fn(&mut [u32]); 3] = [insertion_sort, quick_sort, bitonic_sort];

    #[test]
    fn each_agrees_with_the_standard_library() {
        for count in [1usize, 2, 16, 64, 1024] {
            for (kind, span) in [(0, u32::MAX), (1, 3), (2, 1)] {
                let mut numbers = vec![0; count];
                refill(&mut numbers, count as u64 + kind);
                numbers.iter_mut().for_each(|number| *number %= span);
                let mut expected = numbers.clone();
                expected.sort_unstable();
                for sort in SORTS {
                    let mut sorted = numbers.clone();
                    sort(&mut sorted);
                    assert_eq!(sorted, expected, "{count} numbers below {span}");
                }
            }
        }
    }

    #[test]
    fn sorted_and_reversed_numbers_are_sorted_too() {
        let ascending: Vec<u32> = (0..1024).collect();
        let descending: Vec<u32> = (0..1024).rev().collect();
        for sort in SORTS {
            for numbers in [&ascending, &descending] {
                let mut sorted = numbers.clone();
                sort(&mut sorted);
                assert_eq!(sorted, ascending);
            }
        }
    }

    /// The zero-one principle (Knuth, TAOCP 3, 5.3.4): a network that sorts all sequences of 0 and 1 sorts all.
    #[test]
    fn the_network_sorts_every_sequence_of_zeros_and_ones() {
        for bits in 0u32..1 << 16 {
            let mut numbers: Vec<u32> = (0..16).map(|at| bits >> at & 1).collect();
            bitonic_sort(&mut numbers);
            assert!(numbers.is_sorted(), "{bits:016b}");
        }
    }
}
