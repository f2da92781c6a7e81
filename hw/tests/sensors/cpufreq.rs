//! Governor and limits: changed, and put back on every way out.

use crate::common::{Tree, faults};
use hwmeter_hw::ErrorKind;
use hwmeter_hw::cpufreq::{Frequencies, Settings, policies, restore_all};
use std::sync::Mutex;

const DIR: &str = "/sys/devices/system/cpu/cpufreq";

/// [`restore_all`] is about the whole process, so these tests take turns.
static TURN: Mutex<()> = Mutex::new(());

fn tree() -> Tree {
    let mut tree = Tree::new().with(&format!("{DIR}/boost"), "1\n");
    for (policy, cpus) in [("policy0", "0 1"), ("policy4", "4 5 6")] {
        tree = tree.with_all(
            &format!("{DIR}/{policy}"),
            &[
                ("related_cpus", cpus),
                ("scaling_governor", "schedutil\n"),
                (
                    "scaling_available_governors",
                    "performance powersave schedutil \n",
                ),
                ("scaling_min_freq", "102000\n"),
                ("scaling_max_freq", "1000000\n"),
                ("cpuinfo_min_freq", "102000\n"),
                ("cpuinfo_max_freq", "1479000\n"),
            ],
        );
    }
    tree
}

fn state(tree: &Tree) -> Vec<(String, u64, u64)> {
    let policies = policies(&tree.root()).unwrap();
    policies
        .into_iter()
        .map(|p| (p.governor, p.min_khz, p.max_khz))
        .collect()
}

fn fast() -> Settings {
    Settings {
        governor: Some("performance".into()),
        min_khz: Some(1_200_000),
        max_khz: Some(1_479_000),
    }
}

#[test]
fn settings_hold_while_the_guard_lives() {
    let _turn = TURN.lock().unwrap_or_else(|e| e.into_inner());
    let tree = tree();
    let before = state(&tree);
    let all = policies(&tree.root()).unwrap();
    assert_eq!((all.len(), &all[1].cpus[..]), (2, &[4, 5, 6][..]));
    let changed = Frequencies::set(&tree.root(), &fast()).unwrap();
    assert_eq!(
        state(&tree),
        vec![("performance".to_owned(), 1_200_000, 1_479_000); 2]
    );
    drop(changed);
    assert_eq!(state(&tree), before);
    Frequencies::set(&tree.root(), &fast())
        .unwrap()
        .restore()
        .unwrap();
    assert_eq!(state(&tree), before);
}

#[test]
fn a_panic_and_a_signal_handler_put_things_back() {
    let _turn = TURN.lock().unwrap_or_else(|e| e.into_inner());
    let tree = tree();
    let before = state(&tree);
    let panicked = std::panic::catch_unwind(|| {
        let _changed = Frequencies::set(&tree.root(), &fast()).unwrap();
        panic!("on purpose");
    });
    assert!(panicked.is_err());
    assert_eq!(state(&tree), before);

    let changed = Frequencies::set(&tree.root(), &fast()).unwrap();
    // Nested: what is restored last is what was there first.
    let slower = Settings {
        max_khz: Some(1_300_000),
        ..Settings::default()
    };
    let nested = Frequencies::set(&tree.root(), &slower).unwrap();
    restore_all().unwrap();
    assert_eq!(state(&tree), before);
    drop((nested, changed));
    assert_eq!(state(&tree), before, "nothing is restored twice");
}

#[test]
fn what_cannot_be_set_is_refused_and_leaves_no_trace() {
    let _turn = TURN.lock().unwrap_or_else(|e| e.into_inner());
    let tree = tree();
    let before = state(&tree);
    for (wrong, word) in [
        (
            Settings {
                governor: Some("turbo".into()),
                ..Settings::default()
            },
            "powersave",
        ),
        (
            Settings {
                max_khz: Some(9_000_000),
                ..Settings::default()
            },
            "1479000",
        ),
        (
            Settings {
                min_khz: Some(1_100_000),
                ..Settings::default()
            },
            "highest",
        ),
    ] {
        let error = Frequencies::set(&tree.root(), &wrong).unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    }
    assert!(
        Frequencies::set(&Tree::new().root(), &fast()).is_err(),
        "no frequency scaling"
    );
    assert_eq!(state(&tree), before);

    let error = faults::without_rights(|| Frequencies::set(&tree.root(), &fast()).unwrap_err());
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert!(
        error.to_string().contains("scaling_governor") && error.to_string().contains("run as root"),
        "{error}"
    );

    // The second policy cannot be written: the first goes back.
    let second = format!("{DIR}/policy4/scaling_governor");
    let (root, path) = (tree.root(), tree.path(&second));
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    assert!(Frequencies::set(&root, &fast()).is_err());
    std::fs::remove_dir(&path).unwrap();
    tree.write(&second, "schedutil\n");
    assert_eq!(state(&tree), before);
}
