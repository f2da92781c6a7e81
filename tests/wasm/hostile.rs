//! Modules made to do harm: each gets its own error, is counted, and the server goes on.

use super::{MODULE, PAYLOAD, SHA256, checksum, have_curl, module, post, refusal, running};
use crate::common::{Listening, server, until};
use hwmeter::serve::{Role, ServeConfig};
use hwmeter::task::Limits;
use std::io::Write;
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

/// A MEC that lets a task have 300 ms of CPU time, 32 MiB and a second.
fn strict_mec() -> Listening {
    let mut config = ServeConfig::new(Role::Mec);
    config.workers = 2.try_into().unwrap();
    config.limits = Limits {
        cpu: Duration::from_millis(300),
        memory_bytes: 32 << 20,
        wall: Duration::from_secs(20),
    };
    server(config)
}

fn get(server: &Listening, path: &str) -> String {
    let url = format!("http://{}{path}", server.address);
    let output = Command::new("curl")
        .args(["--silent", "--max-time", "5", &url])
        .output();
    let output = output.unwrap();
    assert!(output.status.success(), "{path}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[track_caller]
fn is_well(server: &Listening) {
    let health = get(server, "/healthz");
    assert!(health.contains("\"ok\""), "{health}");
}

/// How often the server has answered with this code.
fn counted(server: &Listening, code: &str) -> u64 {
    let metrics = get(server, "/metrics");
    let is_it = |line: &&str| {
        line.starts_with("hwmeter_http_requests_total") && line.contains(&format!("\"{code}\""))
    };
    let count = |line: &str| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap() as u64;
    metrics.lines().filter(is_it).map(count).sum()
}

const SPIN: &str = "(loop (br 0))";
const RUN: &str = "(func (export \"run\") (param i32 i32) (result i64) (i64.const 0))";

fn bombs() -> Vec<(&'static str, u16, Vec<u8>)> {
    let importing = |import: &str| {
        wat::parse_str(format!("(module {import} (memory (export \"memory\") 1) {RUN})")).unwrap()
    };
    let i32s = " i32".repeat(32);
    let calls_itself = "(func $f (export \"run\") (param i32 i32) (result i64)
        (i64.add (call $f (local.get 0) (local.get 1)) (i64.const 1)))";
    vec![
        ("module_invalid", 422, b"\0asm, but not for long".to_vec()),
        ("module_invalid", 422, SHA256[..700].to_vec()),
        ("module_export", 422, module("")),
        ("module_export", 422, module("(func (export \"run\") (result i64) (i64.const 0))")),
        ("module_import", 422, importing("(import \"env\" \"system\" (func (param i32) (result i32)))")),
        ("module_import", 422, importing("(import \"wasi_snapshot_preview1\" \"fd_write\" (func))")),
        ("module_too_complex", 422, running(&format!("{}(i64.const 0)", "nop ".repeat(200_000)))),
        ("module_too_complex", 422, running(&format!(
            "{} {} {} (i64.const 0)",
            "(local.get 0)".repeat(32),
            format!("loop (param{i32s}) (result{i32s}) (br_if 0 (local.get 1)) end ").repeat(2000),
            "drop ".repeat(32),
        ))),
        ("module_too_complex", 422, running(&format!(
            "block block (br_table {} (local.get 0)) end end (i64.const 0)",
            "0 1 ".repeat(65_000),
        ))),
        ("module_too_complex", 422, running(&format!(
            "{} (i64.const 0)",
            "loop (br_if 0 (local.get 1)) end ".repeat(10_000),
        ))),
        ("module_too_large", 413, [running("(i64.const 0)"), vec![0; 9 << 20]].concat()),
        ("memory_limit", 422, running("(loop (drop (memory.grow (i32.const 16))) (br 0)) (i64.const 0)")),
        ("memory_limit", 422, module(&format!("(table 9000000 funcref) {RUN}"))),
        ("stack_limit", 422, module(calls_itself)),
        ("task_trapped", 422, running("unreachable")),
        ("task_trapped", 422, running("(i64.load (i32.const -8))")),
        ("task_trapped", 422, module(&format!("{RUN} (data (i32.const 65530) \"beyond the end\")"))),
        ("cpu_limit", 503, running(&format!("{SPIN} (i64.const 0)"))),
        ("cpu_limit", 503, module(&format!("{RUN} (func $s {SPIN}) (start $s)"))),
        ("payload_no_room", 422, module(&format!(
            "{RUN} (func (export \"alloc\") (param i32) (result i32) (i32.const -1))"))),
        ("task_exited", 422, wat::parse_str(
            "(module (import \"wasi_snapshot_preview1\" \"proc_exit\" (func $exit (param i32))) (memory (export \"memory\") 1)
                (func (export \"run\") (param i32 i32) (result i64) (call $exit (i32.const 3)) (i64.const 0)))",
        ).unwrap()),
    ]
}

#[test]
fn every_bomb_gets_its_error_and_the_server_goes_on() {
    if !have_curl() {
        return;
    }
    let mec = strict_mec();
    for (code, status, wasm) in bombs() {
        let before = counted(&mec, code);
        let body = [&wasm[..], b"payload"].concat();
        let query = format!("module_bytes={}", wasm.len());
        assert_eq!(refusal(&mec, &query, MODULE, &body), (status, code.to_owned()));
        assert_eq!(counted(&mec, code), before + 1, "{code} is counted");
        is_well(&mec);
    }
    assert_eq!(checksum(&mec, "", MODULE, SHA256), "e3b0c44298fc1c14");
}

#[test]
fn health_is_told_while_bombs_run() {
    if !have_curl() {
        return;
    }
    let mec = strict_mec();
    let endless = running(&format!("{SPIN} (i64.const 0)"));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| refusal(&mec, "", MODULE, &endless));
        }
        until("both workers are busy", || {
            get(&mec, "/v1/load").contains("\"running\":2")
        });
        is_well(&mec);
    });
}

#[test]
fn a_deadline_and_a_client_that_hangs_up_stop_a_module() {
    if !have_curl() {
        return;
    }
    let mut config = ServeConfig::new(Role::Mec);
    config.workers = 1.try_into().unwrap();
    let mec = server(config);
    let endless = running(&format!("{SPIN} (i64.const 0)"));
    let late = refusal(&mec, "deadline_s=0.2", MODULE, &endless);
    assert_eq!(late, (504, "deadline_passed".to_owned()));

    let mut client = TcpStream::connect(mec.address).unwrap();
    let head = format!(
        "POST /v1/tasks HTTP/1.1\r\nHost: localhost\r\nContent-Type: {MODULE}\r\nContent-Length: {}\r\n\r\n",
        endless.len()
    );
    client.write_all(head.as_bytes()).unwrap();
    client.write_all(&endless).unwrap();
    until("it runs", || get(&mec, "/v1/load").contains("\"running\":1"));
    drop(client);
    until("it was stopped", || {
        get(&mec, "/v1/load").contains("\"running\":0")
    });
    let (status, answer) = post(&mec, "kernel=sha256&size=1&seed=1", PAYLOAD, b"");
    assert_eq!(status, 200, "{answer}");
}
