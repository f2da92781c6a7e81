//! WebAssembly tasks as users run them: the same bytes on a device and on a server, and modules made to do harm.
#![allow(clippy::unwrap_used)]

mod answers;
#[path = "../common/mod.rs"]
mod common;
mod examples;
mod hostile;
mod tasks_run;

use common::{Listening, have};
use serde_json::Value;
use std::io::Write;
use std::process::{Command, Stdio};

const SHA256: &[u8] = include_bytes!("examples/sha256.wasm");
const MATMUL: &[u8] = include_bytes!("examples/matmul.wasm");
const MODULE: &str = "application/wasm";
const PAYLOAD: &str = "application/octet-stream";

/// A module that exports a page of memory as `memory`, besides what `rest` holds.
fn module(rest: &str) -> Vec<u8> {
    wat::parse_str(format!("(module (memory (export \"memory\") 1) {rest})")).unwrap()
}

/// One whose `run` is `body`.
fn running(body: &str) -> Vec<u8> {
    module(&format!(
        "(func (export \"run\") (param i32 i32) (result i64) {body})"
    ))
}

/// Has curl post a task: the status, and the answer as JSON.
fn post(server: &Listening, query: &str, content_type: &str, body: &[u8]) -> (u16, Value) {
    let mut curl = Command::new("curl")
        .args([
            "--silent",
            "--show-error",
            "--max-time",
            "20",
            "--data-binary",
            "@-",
        ])
        .args(["--write-out", "\n%{http_code}", "--header"])
        .arg(format!("Content-Type: {content_type}"))
        .arg(format!("http://{}/v1/tasks?{query}", server.address))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    curl.stdin.take().unwrap().write_all(body).unwrap();
    let output = curl.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let (answer, status) = text.rsplit_once('\n').unwrap();
    (status.parse().unwrap(), serde_json::from_str(answer).unwrap())
}

/// The checksum of a task that has to succeed.
#[track_caller]
fn checksum(server: &Listening, query: &str, content_type: &str, body: &[u8]) -> String {
    let (status, answer) = post(server, query, content_type, body);
    assert_eq!(status, 200, "{answer}");
    answer["checksum"].as_str().unwrap().to_owned()
}

/// The code of a task that has to fail.
#[track_caller]
fn refusal(server: &Listening, query: &str, content_type: &str, body: &[u8]) -> (u16, String) {
    let (status, answer) = post(server, query, content_type, body);
    assert!(
        answer["message"]
            .as_str()
            .is_some_and(|message| !message.is_empty()),
        "{answer}"
    );
    (status, answer["code"].as_str().unwrap().to_owned())
}

fn have_curl() -> bool {
    have("curl", "curl")
}
