//! `/openapi.json` and `/metrics` say what is true.

use super::common::{PLENTY, have, server, until};
use super::http::{Answer, ENDLESS, Served, TINY, curl, read_answer, send};
use hwmeter::serve::{Role, ServeConfig, Trainer};
use serde_json::Value;
use std::collections::BTreeSet;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::time::Duration;

const TOKEN: &str = "authorization: Bearer 0123456789abcdef0123456789abcdef";

/// (path, status, error code).
type Seen = BTreeSet<(String, u16, String)>;

/// Everything the document says may be answered.
fn documented(document: &Value) -> Seen {
    let mut all = Seen::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        let [(_, operation)] = methods.as_object().unwrap().iter().collect::<Vec<_>>()[..] else {
            panic!("{path} has not exactly one method");
        };
        for (status, response) in operation["responses"].as_object().unwrap() {
            let status: u16 = status.parse().unwrap();
            let schema = &response["content"]["application/json"]["schema"];
            match schema["properties"]["code"]["enum"].as_array() {
                None => {
                    all.insert((path.clone(), status, String::new()));
                }
                Some(codes) => all.extend(
                    codes
                        .iter()
                        .map(|code| (path.clone(), status, code.as_str().unwrap().to_owned())),
                ),
            }
        }
    }
    all
}

/// Takes note of an answer.
fn note(seen: &mut Seen, path: &str, answer: &Answer) {
    let path = path.split('?').next().unwrap();
    let code = if answer.status == 200 {
        String::new()
    } else {
        answer.code()
    };
    seen.insert((path.to_owned(), answer.status, code));
}

#[test]
fn every_documented_answer_is_given_and_no_other() {
    if !have("curl", "curl") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let tokens = dir.path().join("tokens");
    std::fs::write(&tokens, "0123456789abcdef0123456789abcdef\n").unwrap();
    std::fs::set_permissions(&tokens, std::fs::Permissions::from_mode(0o600)).unwrap();
    let config = || {
        let mut config = ServeConfig::new(Role::Mec);
        config.token_file = Some(tokens.clone());
        config.workers = 1.try_into().unwrap();
        config.queue = 0;
        config.max_payload = 1000;
        config
    };
    let mut seen = Seen::new();

    let mec = server(config());
    let base = format!("http://{}", mec.address);
    // Right after the start the load is unknown; a machine this slow may never be seen so, then a broken one is.
    note(
        &mut seen,
        "/v1/load",
        &curl(&["-H", TOKEN], &format!("{base}/v1/load")),
    );
    until("the load is known", || {
        curl(&["-H", TOKEN], &format!("{base}/v1/load")).status == 200
    });
    let document: Value =
        serde_json::from_str(&curl(&["-H", TOKEN], &format!("{base}/openapi.json")).body).unwrap();
    let paths: Vec<String> = document["paths"].as_object().unwrap().keys().cloned().collect();
    for path in &paths {
        let method = if path == "/v1/tasks" { "POST" } else { "GET" };
        let path = if path == "/v1/tasks" { TINY } else { path };
        let url = format!("{base}{path}");
        let long = format!("x-long: {}", "a".repeat(20_000));
        for args in [&["-H", TOKEN][..], &[], &["-H", TOKEN, "-H", &long]] {
            note(&mut seen, path, &curl(&[&["-X", method], args].concat(), &url));
        }
    }
    let endless = format!("{ENDLESS}&deadline_s=0.05");
    let large = "a".repeat(2000);
    for (args, path) in [
        (&["-X", "POST"][..], "/v1/tasks?kernel=nothing"),
        (&["-d", "x", "-H", "content-type: text/plain"], TINY),
        (
            &["-d", &large, "-H", "content-type: application/octet-stream"],
            TINY,
        ),
        (&["-X", "POST"], &endless),
    ] {
        note(
            &mut seen,
            path,
            &curl(&[&["-H", TOKEN], args].concat(), &format!("{base}{path}")),
        );
    }
    let post = |path: &str, rest: &str| {
        format!("POST {path} HTTP/1.1\r\nhost: localhost\r\n{TOKEN}\r\n{rest}").into_bytes()
    };
    let broken = post(TINY, "transfer-encoding: chunked\r\n\r\n5\r\nab\r\nrubbish");
    note(
        &mut seen,
        TINY,
        &read_answer(&mut send(mec.address, &broken)).unwrap(),
    );
    let busy = send(mec.address, &post(ENDLESS, "content-length: 0\r\n\r\n"));
    let task = format!("{base}{TINY}");
    until("the worker is taken", || {
        curl(&["-H", TOKEN, "-X", "POST"], &task).status == 429
    });
    note(&mut seen, TINY, &curl(&["-H", TOKEN, "-X", "POST"], &task));
    drop(busy);

    let mut training = config();
    training.trainer = Some(Trainer::Elsewhere("mqtt://broker.example:1883".to_owned()));
    let training = server(training);
    let path = "/v1/training";
    let answer = curl(&["-H", TOKEN], &format!("http://{}{path}", training.address));
    assert_eq!(answer.body, r#"{"broker":"mqtt://broker.example:1883"}"#);
    note(&mut seen, path, &answer);

    let mut strict = config();
    strict.limits.cpu = Duration::from_millis(50);
    let strict = server(strict);
    let url = format!("http://{}{ENDLESS}", strict.address);
    note(&mut seen, ENDLESS, &curl(&["-H", TOKEN, "-X", "POST"], &url));
    let mut strict = config();
    strict.limits.wall = Duration::from_millis(50);
    let strict = server(strict);
    let url = format!("http://{}{ENDLESS}", strict.address);
    note(&mut seen, ENDLESS, &curl(&["-H", TOKEN, "-X", "POST"], &url));
    let slow = post(TINY, "content-length: 10\r\n\r\nhalf");
    note(
        &mut seen,
        TINY,
        &read_answer(&mut send(strict.address, &slow)).unwrap(),
    );

    // While a slow task ends, the server says that it stops.
    let stopping = Served::start(&["--speed", "0.02"]);
    let _slow = send(
        stopping.address(),
        &post(
            "/v1/tasks?kernel=sha256&size=100&seed=1",
            "content-length: 0\r\n\r\n",
        ),
    );
    until("it runs", || {
        super::http::metric(&stopping.base, &[], "hwmeter_tasks_running") == 1.0
    });
    stopping.ask_to_end();
    let health = format!("{}/healthz", stopping.base);
    until("it stops", || curl(&[], &health).status == 503);
    note(&mut seen, "/healthz", &curl(&[], &health));
    note(
        &mut seen,
        TINY,
        &curl(&["-X", "POST"], &format!("{}{TINY}", stopping.base)),
    );

    let documented = documented(&document);
    let undocumented: Vec<_> = seen.difference(&documented).collect();
    assert!(undocumented.is_empty(), "not in the document: {undocumented:?}");
    let never: Vec<_> = documented
        .difference(&seen)
        .map(|(_, _, code)| code.as_str())
        .collect();
    // A crash is a bug, so none can be asked for; the load may have become known before we asked; and what a module can
    // do wrong has tests of its own.
    let of_modules = [
        "memory_limit",
        "out_of_memory",
        "payload_no_room",
        "stack_limit",
        "task_exited",
        "task_trapped",
        "wasm_unavailable",
    ];
    let known = never.iter().all(|code| {
        ["task_crashed", "load_unknown"].contains(code)
            || of_modules.contains(code)
            || code.starts_with("module_")
    });
    assert!(known, "documented and never seen: {never:?}");
}

#[test]
fn head_and_allow_fit_the_methods() {
    if !have("curl", "curl") {
        return;
    }
    let mec = server(ServeConfig::new(Role::Mec));
    let base = format!("http://{}", mec.address);
    assert_eq!(curl(&["-I"], &format!("{base}/healthz")).status, 200);
    for (method, path, allow) in [
        ("DELETE", "/v1/tasks", "post"),
        ("GET", "/v1/tasks", "post"),
        ("POST", "/healthz", "get, head"),
        ("OPTIONS", "/metrics", "get, head"),
        ("TRACE", "/openapi.json", "get, head"),
    ] {
        let answer = curl(&["-X", method], &format!("{base}{path}"));
        assert_eq!(
            answer.error(),
            (405, "wrong_method".to_owned()),
            "{method} {path}"
        );
        assert_eq!(answer.header("allow"), Some(allow), "{method} {path}");
    }
}

/// A Python with the official client library, whose parser is not ours.
fn python() -> Option<&'static str> {
    let has_it = |python: &&str| {
        let check = Command::new(python)
            .args(["-c", "import prometheus_client"])
            .output();
        check.is_ok_and(|output| output.status.success())
    };
    let found = ["python3", "/usr/bin/python3"].into_iter().find(has_it);
    if found.is_none() {
        let package = "python3-prometheus-client";
        assert!(
            std::env::var("HWMETER_TEST_REQUIRE").as_deref() != Ok("all"),
            "{package} is missing"
        );
        eprintln!("skipped: needs {package} (apt install {package})");
    }
    found
}

#[test]
fn prometheus_own_parser_reads_the_metrics() {
    let Some(python) = python() else { return };
    if !have("curl", "curl") {
        return;
    }
    let mec = server(ServeConfig::new(Role::Cloud));
    let mut client = hwmeter::offload::Client::new(mec.url()).unwrap();
    for _ in 0..3 {
        client.submit(&super::common::SMALL, &[7; 1000], PLENTY).unwrap();
    }
    let answer = curl(&[], &format!("http://{}/metrics", mec.address));
    assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4"));
    let script = "import sys\n\
        from prometheus_client.parser import text_string_to_metric_families as parse\n\
        for family in parse(sys.stdin.read()):\n\
        \x20   for s in family.samples:\n\
        \x20       print(s.name, *sorted(s.labels.items()), s.value)\n";
    let mut parser = Command::new(python)
        .args(["-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    parser
        .stdin
        .take()
        .unwrap()
        .write_all(answer.body.as_bytes())
        .unwrap();
    let output = parser.wait_with_output().unwrap();
    assert!(output.status.success());
    let samples = String::from_utf8(output.stdout).unwrap();
    for expected in [
        "hwmeter_build_info ('role', 'cloud') ('version', ",
        "hwmeter_tasks_total ('outcome', 'done') 3.0",
        "hwmeter_http_requests_total ('code', '') ('route', '/v1/tasks') ('status', '200') 3.0",
        "hwmeter_http_request_seconds_count ('route', '/v1/tasks') 3.0",
        "hwmeter_task_run_seconds_count 3.0",
        "hwmeter_tasks_running 0.0",
        "hwmeter_workers ",
        "hwmeter_connections 2.0",
    ] {
        assert!(samples.contains(expected), "{expected} is missing in\n{samples}");
    }
    let received = samples
        .lines()
        .find_map(|line| line.strip_prefix("hwmeter_received_bytes_total "));
    assert!(received.unwrap().parse::<f64>().unwrap() > 3000.0);
}
