use super::*;
use proptest::prelude::*;
use tempfile::TempDir;

const SMALL: Limits = Limits {
    entries: 10,
    unsaved: 3,
};

fn experience(number: u64) -> Experience {
    Experience {
        reward: -(number as f64),
        ..Experience::default()
    }
}

fn fresh(limits: Limits) -> (TempDir, Queue) {
    let dir = tempfile::tempdir().unwrap();
    let queue = Queue::create(&dir.path().join("queue"), 7, 100, limits).unwrap();
    (dir, queue)
}

fn fill(queue: &mut Queue, tasks: std::ops::Range<u64>) {
    for task in tasks {
        queue.push(task, &experience(task));
    }
}

/// What a process finds that takes the queue up.
fn reopened(queue: &Queue) -> Queue {
    Queue::open(&queue.path, queue.limits).unwrap()
}

fn tasks(queue: &Queue) -> Vec<u64> {
    queue.after(0).map(|e| e.task).collect()
}

#[test]
fn a_process_that_was_killed_finds_everything_again() {
    let (_dir, mut queue) = fresh(SMALL);
    assert_eq!((queue.last(), queue.last_task()), (100, None));
    fill(&mut queue, 0..4);
    let found = reopened(&queue);
    assert_eq!((found.epoch(), found.base(), found.last()), (7, 100, 104));
    assert_eq!(found.last_task(), Some(3));
    let numbers: Vec<_> = found
        .after(102)
        .map(|e| (e.sequence, e.experience().reward))
        .collect();
    assert_eq!(numbers, [(103, -2.0), (104, -3.0)]);
}

#[test]
fn when_it_is_full_the_newest_is_lost_and_the_sequence_has_no_gap() {
    let (_dir, mut queue) = fresh(SMALL);
    fill(&mut queue, 0..12);
    assert_eq!((queue.len(), queue.lost(), queue.last()), (10, 2, 110));
    queue.set_durable(101);
    assert_eq!(queue.push(50, &experience(50)), Some(111));
    assert_eq!((queue.before(), queue.len(), queue.lost()), (101, 10, 2));
    assert_eq!(tasks(&reopened(&queue))[9..], [9, 50]);
}

#[test]
fn what_is_forgotten_goes_from_the_file_too_and_numbers_go_on() {
    let limits = Limits {
        entries: 10_000,
        unsaved: 3,
    };
    let (_dir, mut queue) = fresh(limits);
    fill(&mut queue, 0..3000);
    let before = std::fs::metadata(&queue.path).unwrap().len();
    queue.forget(3090);
    let after = std::fs::metadata(&queue.path).unwrap().len();
    assert!(after < before / 100, "{before} -> {after}");
    queue.forget(u64::MAX);
    let mut found = reopened(&queue);
    // The last ten were not worth writing the file anew for.
    found.forget(3100);
    assert_eq!((found.last(), found.last_task()), (3100, Some(2999)));
    assert_eq!(found.push(3000, &experience(0)), Some(3101));
}

#[test]
fn a_full_disk_is_waited_for_in_memory_and_then_costs_experiences() {
    let (_dir, mut queue) = fresh(SMALL);
    fill(&mut queue, 0..2);
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let disk = std::mem::replace(&mut queue.file, full);
    fill(&mut queue, 2..6);
    assert_eq!((queue.last(), queue.unsaved, queue.lost()), (105, 3, 1));
    assert_eq!(tasks(&reopened(&queue)), [0, 1]);
    queue.file = disk;
    queue.cut_to_good();
    assert!(queue.to_sync().is_some() && queue.to_sync().is_none());
    assert_eq!(tasks(&reopened(&queue)), [0, 1, 2, 3, 4]);
}

#[test]
fn a_new_epoch_begins_empty_or_keeps_what_there_is() {
    let (_dir, mut queue) = fresh(SMALL);
    fill(&mut queue, 0..3);
    queue.rename_epoch(9, 101);
    let found = reopened(&queue);
    assert_eq!((found.epoch(), found.base(), tasks(&found)), (9, 101, vec![1, 2]));
    queue.begin_epoch(11, 103);
    let found = reopened(&queue);
    assert_eq!(
        (found.epoch(), found.base(), found.len(), found.last()),
        (11, 103, 0, 103)
    );
    queue.skip_to(110);
    assert_eq!(queue.push(0, &experience(0)), Some(111));
}

/// While it stands, the queue's file cannot be written anew.
fn obstacle(queue: &Queue) -> PathBuf {
    let mut draft = queue.path.clone().into_os_string();
    draft.push(".tmp");
    std::fs::create_dir(&draft).unwrap();
    draft.into()
}

#[test]
fn what_does_not_go_on_from_the_file_waits_until_it_can_be_written_anew() {
    let changes: [fn(&mut Queue); 3] = [
        |queue| queue.skip_to(110),
        |queue| queue.begin_epoch(9, 110),
        |queue| queue.rename_epoch(9, 103),
    ];
    for change in changes {
        let (_dir, mut queue) = fresh(SMALL);
        fill(&mut queue, 0..3);
        let before = std::fs::read(&queue.path).unwrap();
        let obstacle = obstacle(&queue);
        change(&mut queue);
        fill(&mut queue, 3..7);
        assert_eq!((queue.len(), queue.lost() % 3), (3, 1), "three may be unsaved");
        assert_eq!(std::fs::read(&queue.path).unwrap(), before);
        std::fs::remove_dir(obstacle).unwrap();
        fill(&mut queue, 7..8);
        let mut found = reopened(&queue);
        assert_eq!(
            (found.epoch(), found.base(), found.before(), found.last()),
            (queue.epoch(), queue.base(), queue.before(), queue.last())
        );
        assert_eq!(tasks(&found), [3, 4, 5, 7]);
        assert!(found.push(8, &experience(8)).is_some());
        assert_eq!(tasks(&reopened(&found)).last(), Some(&8));
    }
}

#[test]
fn what_was_forgotten_before_it_was_saved_leaves_no_gap_in_the_file() {
    let (_dir, mut queue) = fresh(SMALL);
    fill(&mut queue, 0..2);
    queue.file = OpenOptions::new().write(true).open("/dev/full").unwrap();
    fill(&mut queue, 2..4);
    queue.forget(103);
    fill(&mut queue, 4..5);
    let found = reopened(&queue);
    assert_eq!((found.before(), tasks(&found)), (103, vec![3, 4]));
}

#[test]
fn another_file_is_an_error_and_stays_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("queue");
    for content in [
        &b""[..],
        b"a letter to somebody, which is long enough to be a header",
    ] {
        std::fs::write(&path, content).unwrap();
        assert!(matches!(
            Queue::open(&path, SMALL),
            Err(QueueError::Damaged { .. })
        ));
        assert_eq!(std::fs::read(&path).unwrap(), content);
    }
}

proptest! {
    /// Cut anywhere behind the header: a prefix is there, and the queue goes on behind it.
    #[test]
    fn a_file_cut_short_holds_its_whole_records(cut in 0_usize..400) {
        let (_dir, mut queue) = fresh(SMALL);
        fill(&mut queue, 0..8);
        let whole = std::fs::read(&queue.path).unwrap();
        let end = (HEADER + cut).min(whole.len());
        std::fs::write(&queue.path, &whole[..end]).unwrap();
        let mut found = reopened(&queue);
        let kept = found.len() as u64;
        prop_assert_eq!(tasks(&found), (0..kept).collect::<Vec<_>>());
        prop_assert_eq!(found.push(77, &experience(77)), Some(101 + kept));
        let again = tasks(&reopened(&found));
        prop_assert_eq!(again.last(), Some(&77));
    }

    /// One byte changed anywhere: an error or a prefix, never another experience.
    #[test]
    fn a_damaged_file_gives_nothing_that_was_not_put_in(at in 0_usize..500, bit in 0_u8..8) {
        let (_dir, mut queue) = fresh(SMALL);
        fill(&mut queue, 0..8);
        let mut content = std::fs::read(&queue.path).unwrap();
        let at = at % content.len();
        content[at] ^= 1 << bit;
        std::fs::write(&queue.path, &content).unwrap();
        if let Ok(found) = Queue::open(&queue.path, SMALL) {
            for entry in found.after(0) {
                prop_assert_eq!(entry.sequence, 101 + entry.task);
                prop_assert_eq!(entry.experience(), experience(entry.task));
            }
        }
    }

    /// Whatever is done, what is there is a run of numbers without gaps, in memory as in the file.
    #[test]
    fn numbers_have_no_gaps(steps in prop::collection::vec((0_u8..4, 0_u64..30), 1..80)) {
        let (_dir, mut queue) = fresh(SMALL);
        for (what, number) in steps {
            match what {
                0 | 1 => { queue.push(number, &experience(number)); }
                2 => queue.set_durable(100 + number),
                _ => queue.forget(100 + number),
            }
            let numbers: Vec<_> = queue.after(0).map(|e| e.sequence).collect();
            let expected: Vec<_> = (queue.before() + 1..=queue.last()).collect();
            prop_assert_eq!(numbers, expected);
            let found = reopened(&queue);
            prop_assert_eq!(found.last(), queue.last());
            prop_assert!(found.before() <= queue.before());
        }
    }
}
