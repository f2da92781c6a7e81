//! Once warm, a learner decides and learns without a single allocation.

use hwmeter::learn::environment::tasks;
use hwmeter::learn::{LearnerName, Placement, Settings, Transition, ac, build, dqn};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    /// Allocations of this thread; others, such as the test harness', do not count.
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

/// The system's allocator, counting.
struct Counting;

fn count() {
    // A thread that is going away may still allocate, after its counter has gone.
    let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
}

// SAFETY: everything is passed on to the system's allocator; counting neither allocates nor unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's duties are those of `System`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations(work: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.get();
    work();
    ALLOCATIONS.get() - before
}

#[test]
fn the_counter_counts() {
    assert!(allocations(|| drop(std::hint::black_box(vec![1u8; 100]))) >= 1);
}

#[test]
fn deciding_and_learning_allocate_nothing() {
    let settings = Settings {
        ac: ac::Config {
            gamma: 0.99,
            ..ac::Config::default()
        },
        dqn: dqn::Config {
            gamma: 0.99,
            ..dqn::Config::default()
        },
        ..Settings::default()
    };
    let tasks = tasks(101, 1);
    for name in [LearnerName::Ac, LearnerName::Dqn, LearnerName::Linucb] {
        let mut learner = build(name, 1, &settings).expect("valid settings");
        let mut run = |tasks: &[hwmeter::learn::environment::ToyTask]| {
            for (i, pair) in tasks.windows(2).enumerate() {
                learner.decide(&pair[0].state).expect("finite");
                let placement = Placement::ALL[i % 3];
                let transition = Transition {
                    state: pair[0].state,
                    placement,
                    reward: pair[0].rewards[i % 3],
                    next_state: pair[1].state,
                };
                learner.learn(&transition).expect("finite");
            }
        };
        run(&tasks[..20]);
        assert_eq!(allocations(|| run(&tasks[20..])), 0, "{name}");
    }
}
