//! `hwmeter tasks run FILE.wasm`.

use super::{MATMUL, running};
use crate::common::{payload, server};
use hwmeter::serve::{Role, ServeConfig};
use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output};

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/wasm/examples/sha256.wasm");

fn hwmeter(dir: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_hwmeter"))
        .current_dir(dir)
        .args(arguments)
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_module_is_run_and_measured() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("payload"), "abc").unwrap();
    let output = hwmeter(
        dir.path(),
        &["tasks", "run", EXAMPLE, "--payload", "payload", "--json"],
    );
    assert!(output.status.success(), "{}", text(&output.stderr));
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["checksum"], "ba7816bf8f01cfea");
    assert_eq!(document["kernels"], format!("wasm:{EXAMPLE}"));
    let id = hwmeter::task::wasm::ModuleId::of(super::SHA256).to_string();
    assert_eq!(document["module_sha256"], id);
    assert!(document["seed"].is_null());
    assert!(document["duration_s"].as_f64().unwrap() > 0.0);
    assert!(document["joules"].is_number() && document["uncertainty_joules"].is_number());
    assert!(["measured", "modelled"].contains(&document["kind"].as_str().unwrap()));

    let output = hwmeter(dir.path(), &["tasks", "run", EXAMPLE]);
    assert!(
        text(&output.stdout).contains("result    e3b0c44298fc1c14"),
        "{output:?}"
    );
}

#[test]
fn what_a_module_wrote_is_shown_without_its_control_characters() {
    let dir = tempfile::tempdir().unwrap();
    let prints = wat::parse_str(
        "(module (import \"wasi_snapshot_preview1\" \"fd_write\" (func $write (param i32 i32 i32 i32) (result i32)))
            (memory (export \"memory\") 1)
            (data (i32.const 0) \"\\10\\00\\00\\00\\0b\\00\\00\\00\")
            (data (i32.const 16) \"hello\\n\\1b[2J!\\n\")
            (func (export \"run\") (param i32 i32) (result i64)
                (i64.extend_i32_u (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))",
    );
    std::fs::write(dir.path().join("prints.wasm"), prints.unwrap()).unwrap();
    let output = hwmeter(dir.path(), &["tasks", "run", "prints.wasm"]);
    let shown = text(&output.stdout);
    assert!(
        shown.contains("output    hello") && shown.contains("\\u{1b}[2J!"),
        "{shown}"
    );
    assert!(!shown.contains("\x1b[2J"), "{shown}");
}

#[test]
fn what_cannot_be_run_is_told() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("bad.wasm"), "no module").unwrap();
    std::fs::write(dir.path().join("trap.wasm"), running("unreachable")).unwrap();
    let cases: [(&[&str], i32, &str); 5] = [
        (&["bad.wasm"], 1, "not valid WebAssembly"),
        (&["trap.wasm"], 1, "wasm:trap.wasm"),
        (&["missing.wasm"], 2, "cannot read the module missing.wasm"),
        (
            &["trap.wasm", "--rounds", "3"],
            2,
            "says itself how much it computes",
        ),
        (
            &[EXAMPLE, "--payload", "missing"],
            1,
            "cannot read the payload missing",
        ),
    ];
    for (arguments, status, says) in cases {
        let arguments = [&["tasks", "run"], arguments].concat();
        let output = hwmeter(dir.path(), &arguments);
        assert_eq!(output.status.code(), Some(status), "{output:?}");
        assert!(text(&output.stderr).contains(says), "{}", text(&output.stderr));
    }
}

#[test]
fn an_agent_runs_modules_here_and_there() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("matmul.wasm"), MATMUL).unwrap();
    let mut set = "cycles,deadline_s,payload_bytes,kernels\n".to_owned();
    for kernels in ["wasm:matmul.wasm", "sha256:3"].iter().cycle().take(8) {
        set += &format!("1000000,20,2000,{kernels}\n");
    }
    std::fs::write(dir.path().join("set.csv"), set).unwrap();
    let (mec, cloud) = (
        server(ServeConfig::new(Role::Mec)),
        server(ServeConfig::new(Role::Cloud)),
    );
    let (mec, cloud) = (mec.url().to_string(), cloud.url().to_string());
    for learner in ["local", "mec"] {
        let out = dir.path().join(learner);
        let output = hwmeter(
            dir.path(),
            &[
                "run-agent",
                "--gpu",
                "off",
                "--taskset",
                "set.csv",
                "--learner",
                learner,
                "--audit",
                "1",
                "--mec",
                &mec,
                "--cloud",
                &cloud,
                "--out",
                out.to_str().unwrap(),
            ],
        );
        assert!(output.status.success(), "{}", text(&output.stderr));
        let decisions = std::fs::read_to_string(out.join("decisions.csv")).unwrap();
        assert_eq!(decisions.matches("wasm:matmul.wasm").count(), 4, "{decisions}");
        let run: Value = serde_json::from_slice(&std::fs::read(out.join("run.json")).unwrap()).unwrap();
        let run = run.to_string();
        assert!(run.contains("\"checked\":8,\"wrong\":[]"), "{learner}: {run}");
    }
    std::fs::write(dir.path().join("matmul.wasm"), "no module any more").unwrap();
    let output = hwmeter(
        dir.path(),
        &[
            "run-agent",
            "--gpu",
            "off",
            "--taskset",
            "set.csv",
            "--mec",
            &mec,
            "--cloud",
            &cloud,
        ],
    );
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(
        text(&output.stderr).contains("task 0: wasm:matmul.wasm"),
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn a_payload_is_the_same_for_the_command_and_for_the_library() {
    let dir = tempfile::tempdir().unwrap();
    let payload = payload(10_000);
    std::fs::write(dir.path().join("payload"), &payload).unwrap();
    let output = hwmeter(
        dir.path(),
        &["tasks", "run", EXAMPLE, "--payload", "payload", "--json"],
    );
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    let sum = Command::new("sha256sum")
        .arg(dir.path().join("payload"))
        .output()
        .unwrap();
    assert_eq!(document["checksum"], text(&sum.stdout)[..16]);
}
