//! A learner on disk.

use super::*;
use safetensors::tensor::TensorView;

#[test]
fn a_restored_learner_goes_on_as_if_nothing_had_happened() {
    let all = tasks(300, 5);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("learner.safetensors");
    for name in LearnerName::value_variants() {
        let mut learner = build(*name, 9, &small()).unwrap();
        run(&mut *learner, &all[..150]).unwrap();
        learner.save().write(&path).unwrap();
        let checkpoint = Checkpoint::read(&path).unwrap();
        let mut restored = restore(&checkpoint).unwrap();
        assert_eq!(restored.describe(), learner.describe(), "{name}");
        let mut loaded = build(*name, 1, &small()).unwrap();
        loaded.load(&checkpoint).unwrap();
        for i in 150..299 {
            let decision = learner.decide(&all[i].state).unwrap();
            assert_eq!(decision, restored.decide(&all[i].state).unwrap(), "{name} {i}");
            assert_eq!(decision, loaded.decide(&all[i].state).unwrap(), "{name} {i}");
            for learner in [&mut learner, &mut restored, &mut loaded] {
                learner.learn(&transition(&all, i)).unwrap();
            }
        }
        assert_eq!(
            learner.save().to_bytes().unwrap(),
            restored.save().to_bytes().unwrap(),
            "{name}"
        );
    }
}

#[test]
fn damaged_checkpoints_are_errors_that_name_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("it.safetensors");
    let mut learner = build(LearnerName::Ac, 0, &small()).unwrap();
    // As an earlier version wrote it, without a hash: what is wrong must be found without it too.
    let bytes = without_hash(learner.save().to_bytes().unwrap());
    let before = learner.save();
    let mut attempt = |bytes: &[u8], what: &str| {
        std::fs::write(&path, bytes).unwrap();
        let error = Checkpoint::read(&path)
            .and_then(|c| learner.load(&c))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("it.safetensors") && error.contains(what),
            "{error}"
        );
        assert_eq!(learner.save(), before);
    };
    for length in [0, 1, 7, 8, 100, bytes.len() / 2, bytes.len() - 1] {
        attempt(&bytes[..length], "damaged");
    }
    attempt(&[&bytes[..], b"x"].concat(), "damaged");
    attempt(&[0xA5; 5000], "damaged");
    attempt(b"\x02\0\0\0\0\0\0\0{}", "not one of hwmeter");

    let replaced = |from: &str, to: &str| {
        let at = bytes
            .windows(from.len())
            .position(|w| w == from.as_bytes())
            .unwrap();
        let mut bytes = bytes.clone();
        bytes[at..at + from.len()].copy_from_slice(to.as_bytes());
        bytes
    };
    attempt(&replaced(r#"format\":1"#, r#"format\":2"#), "format 2");
    attempt(&replaced(r#"learner\":"#, r#"lerner_\":"#), "header is damaged");
    attempt(
        &replaced("actor.1.bias.square", "actor.1.bias.squirm"),
        "actor.1.bias.square is missing",
    );
    // The tensors' bytes come last, moments and weights among them: -NaN and -1 there must not get in.
    for (value, what) in [(f32::NAN, "not finite"), (-1.0, "negative")] {
        let mut bytes = bytes.clone();
        let at = bytes.len() - 4;
        bytes[at..].copy_from_slice(&value.to_le_bytes());
        attempt(&bytes, what);
    }
}

/// The file with its hash under a name that says nothing.
fn without_hash(mut bytes: Vec<u8>) -> Vec<u8> {
    let name = b"xxh3";
    let at = bytes.windows(name.len()).position(|w| w == name).unwrap();
    bytes[at] = b'_';
    bytes
}

/// Before learning had a generator of its own, checkpoints had none.
#[test]
fn an_older_checkpoint_gets_the_generator_that_learning_begins_with() {
    let fresh = build(LearnerName::Dqn, 3, &small()).unwrap().save();
    let mut bytes = without_hash(fresh.to_bytes().unwrap());
    let name = b"learning_rng";
    let at = bytes.windows(name.len()).position(|w| w == name).unwrap();
    bytes[at] = b'x';
    let older = Checkpoint::from_bytes(&bytes, "older".to_owned()).unwrap();
    assert_ne!(older.header(), fresh.header());
    assert_eq!(restore(&older).unwrap().save(), fresh);
}

#[test]
fn any_flipped_byte_is_an_error() {
    let learner = build(LearnerName::Dqn, 0, &small()).unwrap();
    let bytes = learner.save().to_bytes().unwrap();
    let at = bytes.windows(4).position(|w| w == b"xxh3").unwrap();
    let name = at - 4..at + 10;
    let restored = |bytes: &[u8]| Checkpoint::from_bytes(bytes, "x".to_owned()).and_then(|c| restore(&c));
    for at in (0..bytes.len()).step_by(7) {
        let mut bytes = bytes.clone();
        bytes[at] ^= 0x41;
        // The name of the hash's entry is the one thing that no hash covers.
        assert!(restored(&bytes).is_err() || name.contains(&at), "byte {at}");
    }
}

#[test]
fn a_weight_that_is_not_what_it_was_is_noticed_and_a_file_without_a_hash_is_read() {
    let learner = build(LearnerName::Linucb, 0, &small()).unwrap();
    let bytes = learner.save().to_bytes().unwrap();
    let mut huge = bytes.clone();
    let at = huge.len() - 8;
    huge[at..].copy_from_slice(&3e38f64.to_le_bytes());
    let error = Checkpoint::from_bytes(&huge, "it".to_owned())
        .unwrap_err()
        .to_string();
    assert!(error.contains("it: damaged: its hash"), "{error}");
    let older = Checkpoint::from_bytes(&without_hash(bytes), "it".to_owned()).unwrap();
    assert_eq!(restore(&older).unwrap().save(), learner.save());
}

/// The hash of a file is part of the format: here is one, computed by another program.
#[test]
fn the_hash_is_what_it_always_was() {
    let header =
        r#"{"format":1,"learner":"random","variant":"fixed","seed":7,"updates":2,"settings":{},"rng":null"#;
    let file = |hash: &str| {
        let numbers = [
            ("b", vec![2, 2], Values::F32(vec![1.5, -0.25, 3e-38, 1e30])),
            ("a", vec![3], Values::F64(vec![0.1, -2.0, 1e300])),
            ("c.count", vec![1], Values::F64(vec![12.0])),
        ];
        let bytes = numbers.each_ref().map(|(_, _, values)| values.to_bytes());
        let views = numbers.iter().zip(&bytes).map(|((name, shape, values), bytes)| {
            (
                *name,
                TensorView::new(values.dtype(), shape.clone(), bytes).unwrap(),
            )
        });
        let header = format!(r#"{header},"xxh3":"{hash}"}}"#);
        safetensors::serialize(views, Some([("hwmeter".to_owned(), header)].into())).unwrap()
    };
    let read = |hash| Checkpoint::from_bytes(&file(hash), "it".to_owned());
    let checkpoint = read("86fec9e9c2887ac9").unwrap();
    assert_eq!(checkpoint.count("c.count").unwrap(), 12);
    let error = read("86fec9e9c2887ac8").unwrap_err().to_string();
    assert!(error.contains("its hash"), "{error}");
}

#[test]
fn what_is_no_regular_file_is_refused_and_not_read_for_ever() {
    let directory = tempfile::tempdir().unwrap();
    let fifo = directory.path().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    for path in [
        fifo.as_path(),
        std::path::Path::new("/dev/zero"),
        directory.path(),
    ] {
        let error = Checkpoint::read(path).unwrap_err().to_string();
        assert!(error.contains(&path.display().to_string()), "{error}");
        assert!(error.contains("not a regular file"), "{error}");
    }
}

#[test]
fn a_checkpoint_of_another_learner_or_size_is_refused() {
    let mut learner = build(LearnerName::Dqn, 0, &small()).unwrap();
    let other = build(LearnerName::Dqn, 0, &Settings::default()).unwrap().save();
    let error = learner.load(&other).unwrap_err().to_string();
    assert!(error.contains("4x256") && error.contains("20-16"), "{error}");
    let other = build(LearnerName::Ac, 0, &small()).unwrap().save();
    let error = learner.load(&other).unwrap_err().to_string();
    assert!(error.contains("ac 2x12") && error.contains("dqn"), "{error}");
}

#[test]
fn writing_replaces_the_whole_file_or_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.safetensors");
    let checkpoint = build(LearnerName::Random, 0, &Settings::default())
        .unwrap()
        .save();
    std::fs::write(&path, "old").unwrap();
    checkpoint.write(&path).unwrap();
    assert_eq!(Checkpoint::read(&path).unwrap().header(), checkpoint.header());
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    let error = checkpoint
        .write(&directory.path().join("no/such/a.safetensors"))
        .unwrap_err();
    assert!(error.to_string().contains("no/such/a.safetensors"), "{error}");
    std::fs::create_dir(directory.path().join("taken")).unwrap();
    assert!(checkpoint.write(&directory.path().join("taken")).is_err());
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 2);
}

#[test]
fn settings_that_no_learner_can_have_are_told_with_the_name_of_the_file() {
    let mut learner = build(LearnerName::Linucb, 0, &Settings::default()).unwrap();
    run(&mut *learner, &tasks(5, 0)).unwrap();
    let bytes = without_hash(learner.save().to_bytes().unwrap());
    let text = br#"ridge\":1.0"#;
    let at = bytes.windows(text.len()).position(|w| w == text).unwrap();
    let mut bytes = bytes;
    bytes[at + text.len() - 3] = b'0';
    let checkpoint = Checkpoint::from_bytes(&bytes, "old.safetensors".to_owned()).unwrap();
    let error = restore(&checkpoint).err().unwrap().to_string();
    assert!(
        error.contains("old.safetensors") && error.contains("linucb: ridge"),
        "{error}"
    );
}
