use super::*;
use object_store::memory::InMemory;

fn pupil() -> Pupil {
    Pupil {
        device: "pi-1".parse().unwrap(),
        learner: "dqn".parse().unwrap(),
    }
}

fn record(applied: u64) -> Record {
    Record {
        epoch: 3,
        applied,
        checkpoint: vec![7; 1000].into(),
        ..Record::default()
    }
}

fn applied(store: &Store) -> u64 {
    store.get(&pupil()).unwrap().unwrap().applied
}

/// Does it with two trainers' views of one folder, and of one object store.
fn with_two(act: impl Fn(&Store, &Store)) {
    let folder = tempfile::tempdir().unwrap();
    let in_folder = || Store::folder_of_group(folder.path()).unwrap();
    act(&in_folder(), &in_folder());
    let objects: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let in_objects = || Store::objects(Arc::clone(&objects)).unwrap();
    act(&in_objects(), &in_objects());
}

#[test]
fn the_last_learner_written_is_the_one_read_by_the_next_process_too() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::folder(folder.path()).unwrap();
    assert_eq!(store.get(&pupil()).unwrap(), None);
    store.put(&pupil(), &record(1), Claim::default()).unwrap();
    store.put(&pupil(), &record(2), Claim::default()).unwrap();
    drop(store);
    let store = Store::folder(folder.path()).unwrap();
    let claimed = store.claim(&pupil(), Claim::default()).unwrap();
    assert_eq!(claimed, Some((record(2), Claim::default())));
}

#[test]
fn a_folder_is_for_one_trainer_or_for_a_group() {
    let folder = tempfile::tempdir().unwrap();
    let first = Store::folder(folder.path()).unwrap();
    assert!(matches!(Store::folder(folder.path()), Err(StoreError::InUse(_))));
    let group = Store::folder_of_group(folder.path());
    assert!(matches!(group, Err(StoreError::InUse(_))));
    drop(first);
    let _two = [(), ()].map(|()| Store::folder_of_group(folder.path()).unwrap());
    assert!(matches!(Store::folder(folder.path()), Err(StoreError::InUse(_))));
}

#[test]
fn only_the_last_to_claim_a_learner_writes_it() {
    with_two(|one, two| {
        let first = one.put(&pupil(), &record(1), Claim::default()).unwrap();
        let first = one.put(&pupil(), &record(2), first).unwrap();
        let (found, second) = two.claim(&pupil(), Claim::default()).unwrap().unwrap();
        assert_eq!(found.applied, 2);
        let late = one.put(&pupil(), &record(3), first);
        assert!(matches!(late, Err(StoreError::Fenced(_))), "{late:?}");
        assert_eq!(applied(two), 2);
        two.put(&pupil(), &record(4), second).unwrap();
        // It comes back, and the other is late.
        let (found, third) = one.claim(&pupil(), first).unwrap().unwrap();
        assert_eq!(found.applied, 4);
        assert!(matches!(
            two.put(&pupil(), &record(5), second),
            Err(StoreError::Fenced(_))
        ));
        // What it holds it need not claim again.
        let again = one.claim(&pupil(), third).unwrap().unwrap();
        assert_eq!(again.1, third);
        one.put(&pupil(), &record(6), third).unwrap();
        assert_eq!(applied(two), 6);
    });
}

#[test]
fn of_two_that_store_a_learner_for_the_first_time_one_does() {
    with_two(|one, two| {
        one.put(&pupil(), &record(1), Claim::default()).unwrap();
        let late = two.put(&pupil(), &record(2), Claim::default());
        assert!(matches!(late, Err(StoreError::Fenced(_))), "{late:?}");
        assert_eq!(applied(two), 1);
    });
}

#[test]
fn claims_and_puts_at_the_same_time_lose_nothing_that_was_said_to_be_stored() {
    with_two(|one, two| {
        one.put(&pupil(), &record(1), Claim::default()).unwrap();
        let race = |store: &Store| {
            let mut stored = 0;
            for _ in 0..50 {
                let Ok(claimed) = store.claim(&pupil(), Claim::default()) else {
                    continue;
                };
                let (found, claim) = claimed.unwrap();
                assert!(found.applied >= stored, "it went back");
                if store.put(&pupil(), &record(found.applied + 1), claim).is_ok() {
                    stored = found.applied + 1;
                }
            }
            stored
        };
        let (a, b) = std::thread::scope(|threads| {
            let other = threads.spawn(|| race(two));
            (race(one), other.join().unwrap())
        });
        assert_eq!(applied(one), a.max(b));
        assert!(a > 0 && b > 0 && a != b, "{a} {b}");
    });
}

#[test]
fn what_is_damaged_is_told_and_moved_aside() {
    let folder = tempfile::tempdir().unwrap();
    for open in [Store::folder, Store::folder_of_group] {
        let store = open(folder.path()).unwrap();
        let claim = store.put(&pupil(), &record(1), Claim::default()).unwrap();
        let bytes = damage(folder.path());
        assert!(matches!(store.get(&pupil()), Err(StoreError::Damaged { .. })));
        let aside = store.set_aside(&pupil(), Claim::default()).unwrap();
        assert_eq!(store.claim(&pupil(), claim).unwrap(), None);
        assert_eq!(std::fs::read(folder.path().join(aside)).unwrap(), bytes);
    }
}

#[test]
fn what_another_trainer_wrote_in_place_of_a_damaged_learner_is_not_moved_aside() {
    let folder = tempfile::tempdir().unwrap();
    let [one, two] = [(), ()].map(|()| Store::folder_of_group(folder.path()).unwrap());
    let first = one.put(&pupil(), &record(1), Claim::default()).unwrap();
    damage(folder.path());
    assert!(matches!(
        one.put(&pupil(), &record(2), first),
        Err(StoreError::Fenced(_))
    ));
    two.set_aside(&pupil(), Claim::default()).unwrap();
    two.put(&pupil(), &record(1), Claim::default()).unwrap();
    let late = one.set_aside(&pupil(), Claim::default());
    assert!(matches!(late, Err(StoreError::Fenced(_))), "{late:?}");
    assert!(one.put(&pupil(), &record(3), first).is_err());
    assert_eq!(applied(&two), 1);
}

/// Changes a bit; what is there then.
fn damage(folder: &Path) -> Vec<u8> {
    let file = folder.join("pi-1/dqn.learner");
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[500] ^= 1;
    std::fs::write(&file, &bytes).unwrap();
    bytes
}
