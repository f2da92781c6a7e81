//! `--engine` and `--gpu` as a user gives them, in a build with the torch engine and in one without.
#![allow(clippy::unwrap_used)]

use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output, Stdio};

const QUICK: [&str; 4] = ["--sensor", "cpu-model", "--audit", "0"];

fn hwmeter(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hwmeter"));
    command.args(args).stdin(Stdio::null()).output().unwrap()
}

fn document(args: &[&str]) -> Value {
    let output = hwmeter(args);
    assert!(output.status.success(), "{args:?}: {}", said(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn fails(args: &[&str], words: &[&str]) {
    let output = hwmeter(args);
    let said = said(&output);
    assert_eq!(output.status.code(), Some(1), "{args:?}: {said}");
    for word in words {
        assert!(said.contains(word), "{args:?}: {word:?} is not in: {said}");
    }
}

fn engine_of(run: &Path) -> String {
    let text = std::fs::read(run.join("run.json")).unwrap();
    let manifest: Value = serde_json::from_slice(&text).unwrap();
    manifest["learner"]["engine"].as_str().unwrap().to_owned()
}

/// A run with these arguments; its folder.
fn run(folder: &Path, name: &str, args: &[&str]) -> String {
    let out = folder.join(name).to_str().unwrap().to_owned();
    document(&[&["run-agent", "--json", "--out", &out], &QUICK[..], args].concat());
    out
}

#[test]
fn a_gpu_is_used_by_the_torch_engine_only() {
    for command in ["run-agent", "learners"] {
        fails(&[command, "--gpu", "on"], &["--engine torch", "--gpu off"]);
    }
}

#[test]
#[cfg(not(feature = "torch"))]
fn a_build_without_torch_says_how_to_get_one_with_it() {
    let directory = tempfile::tempdir().unwrap();
    let out = run(directory.path(), "native", &["--learner", "ac", "--tasks", "2"]);
    assert_eq!(engine_of(Path::new(&out)), "native");
    let checkpoint = format!("{out}/learner.safetensors");
    for gpu in ["on", "off"] {
        for args in [
            &["run-agent"][..],
            &["learners", "--bench"],
            &["evaluate", &checkpoint],
        ] {
            let args = [args, &["--engine", "torch", "--gpu", gpu]].concat();
            fails(&args, &["cargo build --release --features torch"]);
        }
    }
}

/// The runs decide by a real clock, so only the learners can be compared: by a saved one on the simulated device.
#[test]
#[cfg(feature = "torch")]
fn a_run_of_one_engine_is_taken_up_by_the_other() {
    let directory = tempfile::tempdir().unwrap();
    for (first, second) in [("native", "torch"), ("torch", "native")] {
        let name = format!("{first}-first");
        let args = ["--learner", "ac", "--engine", first, "--tasks", "6"];
        let before = run(directory.path(), &name, &args);
        let args = ["--resume", &before, "--engine", second, "--tasks", "12"];
        let after = run(directory.path(), &format!("{name}-then-{second}"), &args);
        for (folder, engine) in [(&before, first), (&after, second)] {
            let found = engine_of(Path::new(folder));
            assert!(found.starts_with(engine), "{found}, expected {engine}");
        }
        let checkpoint = format!("{after}/learner.safetensors");
        let mean = |engine: &str| {
            let args = [
                "evaluate",
                &checkpoint,
                "--json",
                "--seeds",
                "2",
                "--engine",
                engine,
            ];
            document(&args)["mean_reward"].as_f64().unwrap()
        };
        assert_eq!(mean("native"), mean("torch"));
    }
}

#[test]
#[cfg(feature = "torch")]
fn learners_are_listed_compared_and_measured_by_the_torch_engine() {
    let small = ["--set", "dqn.hidden=[32]", "--engine", "torch", "--json"];
    for args in [
        &["learners"][..],
        &["learners", "--compare", "--seeds", "1", "--tasks", "30"],
    ] {
        let rows = document(&[args, &small[..]].concat());
        let rows = rows
            .as_array()
            .unwrap()
            .iter()
            .filter(|row| row["name"] != "oracle");
        let names: Vec<&str> = rows.map(|row| row["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["ac", "dqn"], "{args:?}");
    }
    let bench = ["learners", "--bench", "--sensor", "cpu-model", "--learner", "dqn"];
    let row = document(&[&bench[..], &small].concat())[0].clone();
    assert_eq!(row["engine"], "torch (cpu)");
    assert!(row["update_median_s"].as_f64().unwrap() > 0.0, "{row}");
    for command in [&["learners"][..], &["learners", "--compare"], &["run-agent"]] {
        fails(
            &[command, &["--learner", "linucb", "--engine", "torch"]].concat(),
            &["linucb has no torch engine", "--engine native"],
        );
    }
}

/// What is missing depends on the machine and on its libtorch.
#[test]
#[cfg(feature = "torch")]
fn cuda_works_or_says_what_is_missing() {
    use hwmeter::learn::Engine;
    use hwmeter::learn::engine::EngineError;
    let args = ["learners", "--json", "--engine", "torch", "--gpu", "on"];
    let missing = match Engine::torch(true) {
        Ok(_) => {
            assert_eq!(document(&args)[0]["engine"], "torch (cuda:0)");
            return;
        }
        Err(EngineError::NoCuda { reason }) => {
            assert!(reason.contains("libtorch_cuda"), "{reason}");
            "libtorch lacks CUDA"
        }
        Err(EngineError::NoDevice) => "finds no device",
        Err(error) => panic!("{error}"),
    };
    fails(&args, &[missing, "cannot use a GPU", "--gpu off"]);
    fails(&["run-agent", "--engine", "torch", "--gpu", "on"], &[missing]);
}
