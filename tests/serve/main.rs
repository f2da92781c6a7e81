//! The servers, as clients meet them.
#![allow(clippy::unwrap_used)]

mod access;
mod bad_input;
#[path = "../common/mod.rs"]
mod common;
mod documented;
mod http;
mod stop;

use common::{ENDLESS, PLENTY, SMALL, have, payload, server, small_mec, until};
use hwmeter::offload::site::{Seen, Site, Watch};
use hwmeter::offload::{Access, Client, OffloadError};
use hwmeter::serve::{Role, ServeConfig};
use hwmeter::task::{self, Speed};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

#[test]
fn a_task_runs_on_its_payload_and_is_timed() {
    let mec = small_mec();
    let mut client = Client::new(mec.url()).unwrap();
    for bytes in [0, 1, 1000, 300_000] {
        let payload = payload(bytes);
        let done = client.submit(&SMALL, &payload, PLENTY).unwrap();
        let here = task::run(&SMALL, &payload, Speed::FULL, &|| false).unwrap();
        assert_eq!(done.checksum, here);
        let parts = done.transmit_s + done.queue_s + done.execute_s;
        assert!((parts - done.elapsed_s).abs() < 1e-9, "{done:?}");
        assert!(
            done.receive_bytes <= bytes as u64 && done.receive_s <= done.elapsed_s,
            "{done:?}"
        );
    }
    assert_eq!(client.health(PLENTY).unwrap().role, "mec");
}

#[test]
fn a_deadline_ends_the_wait_here_and_the_work_there() {
    let mec = small_mec();
    let mut client = Client::new(mec.url()).unwrap();
    let began = Instant::now();
    let error = client
        .submit(&ENDLESS, b"x", Duration::from_millis(100))
        .unwrap_err();
    assert!(matches!(error, OffloadError::Deadline { .. }), "{error}");
    assert!(began.elapsed() < Duration::from_secs(3));
    until("the worker is free again", || {
        client.load(PLENTY).is_ok_and(|load| load.running == 0)
    });
    assert!(matches!(
        client.submit(&SMALL, b"x", Duration::ZERO),
        Err(OffloadError::Deadline { .. })
    ));
    assert!(client.submit(&SMALL, b"x", PLENTY).is_ok());
}

/// Sends a task by hand and leaves its connection open.
fn post_by_hand(address: std::net::SocketAddr, query: &str, head: &str, body: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(
        stream,
        "POST /v1/tasks?{query} HTTP/1.1\r\nhost: localhost\r\n{head}\r\n"
    )
    .unwrap();
    // The server may refuse, and close, before it has everything.
    let _ = stream.write_all(body);
    stream
}

const ENDLESS_QUERY: &str = "kernel=sha256&size=18446744073709551615&seed=5";

#[test]
fn a_client_that_hangs_up_frees_its_worker() {
    let mec = small_mec();
    let mut client = Client::new(mec.url()).unwrap();
    let stream = post_by_hand(mec.address, ENDLESS_QUERY, "content-length: 1\r\n", b"x");
    until("the task runs", || {
        client.load(PLENTY).is_ok_and(|load| load.running == 1)
    });
    drop(stream);
    until("the task is stopped", || {
        client.load(PLENTY).is_ok_and(|load| load.running == 0)
    });
}

#[test]
fn a_full_queue_refuses_before_the_payload_is_sent() {
    let mec = small_mec();
    let mut client = Client::new(mec.url()).unwrap();
    let streams = [(); 2].map(|()| post_by_hand(mec.address, ENDLESS_QUERY, "content-length: 1\r\n", b"x"));
    until("one runs and one waits", || {
        client
            .load(PLENTY)
            .is_ok_and(|load| (load.running, load.queue) == (1, 1))
    });
    match client.submit(&SMALL, &payload(1 << 20), PLENTY).unwrap_err() {
        OffloadError::Refused {
            status,
            code,
            retry_after,
            ..
        } => {
            assert_eq!((status.as_u16(), code.as_str()), (429, "queue_full"));
            assert_eq!(retry_after, Some(Duration::from_secs(1)));
        }
        other => panic!("{other}"),
    }
    assert!(client.health(PLENTY).is_ok());
    drop(streams);
    until("both are gone", || client.submit(&SMALL, b"x", PLENTY).is_ok());
}

/// More slow senders than the server has places for tasks: nobody else feels them.
#[test]
fn payloads_that_drip_take_no_place_from_others() {
    let mec = small_mec();
    let mut client = Client::new(mec.url()).unwrap();
    let query = "kernel=sha256&size=1&seed=5";
    let mut slow: Vec<_> = (0..40)
        .map(|_| post_by_hand(mec.address, query, "content-length: 3\r\n", b"x"))
        .collect();
    for _ in 0..2 {
        std::thread::sleep(Duration::from_millis(150));
        assert!(client.submit(&SMALL, b"x", PLENTY).is_ok());
        for stream in &mut slow {
            stream.write_all(b"x").unwrap();
        }
    }
    // Slow is not refused: each gets its answer. All at once may be more than the queue takes.
    let statuses: Vec<_> = slow
        .into_iter()
        .map(read_head)
        .map(|head| head[9..12].to_owned())
        .collect();
    assert!(
        statuses.iter().all(|status| status == "200" || status == "429"),
        "{statuses:?}"
    );
    assert!(statuses.iter().any(|status| status == "200"), "{statuses:?}");
}

/// What is kept of modules that arrive is bounded over all of them, and what they claim to be costs nothing.
#[test]
fn modules_that_arrive_share_the_memory_for_them() {
    let mec = small_mec();
    let head = "content-type: application/wasm\r\ncontent-length: 1000000\r\n";
    let claims: Vec<_> = (0..10)
        .map(|_| post_by_hand(mec.address, "", head, b"x"))
        .collect();
    let mut client = Client::new(mec.url()).unwrap();
    assert!(client.submit(&SMALL, b"x", PLENTY).is_ok());
    drop(claims);
    // Two places of 1 MiB: the third megabyte has none.
    let body = vec![0; 900_000];
    let full: Vec<_> = (0..4)
        .map(|_| post_by_hand(mec.address, "", head, &body))
        .collect();
    let mut refused = 0;
    for stream in full {
        stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        let mut bytes = [0; 300];
        let read = (&stream).read(&mut bytes).unwrap_or(0);
        refused += usize::from(bytes[..read].starts_with(b"HTTP/1.1 429"));
    }
    assert!((1..=2).contains(&refused), "{refused} of 4 were refused");
    until("the memory is free again", || {
        let whole = "content-type: application/wasm\r\ncontent-length: 900000\r\n";
        read_head(post_by_hand(mec.address, "", whole, &body)).starts_with("HTTP/1.1 422")
    });
}

#[test]
fn a_payload_beyond_the_limit_is_refused_declared_or_not() {
    let mec = small_mec();
    let mut client = Client::new(mec.url()).unwrap();
    let error = client
        .submit(&SMALL, &payload((1 << 20) + 1), PLENTY)
        .unwrap_err();
    assert!(
        matches!(&error, OffloadError::Refused { status, .. } if status.as_u16() == 413),
        "{error}"
    );
    assert!(error.to_string().contains("1048576 bytes"), "{error}");

    let mut body = b"180000\r\n".to_vec();
    body.resize(body.len() + 0x18_0000, 7);
    body.extend(b"\r\n0\r\n\r\n");
    let query = "kernel=sha256&size=1&seed=5";
    let answer = read_head(post_by_hand(
        mec.address,
        query,
        "transfer-encoding: chunked\r\n",
        &body,
    ));
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");

    // Nobody reserves memory for a length that is only claimed.
    let huge = "content-length: 99999999999999\r\n";
    let answer = read_head(post_by_hand(mec.address, query, huge, b"x"));
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
}

fn read_head(mut stream: TcpStream) -> String {
    stream.set_read_timeout(Some(PLENTY)).unwrap();
    let mut bytes = vec![0; 1000];
    let read = stream.read(&mut bytes).unwrap();
    String::from_utf8_lossy(&bytes[..read]).into_owned()
}

#[test]
fn random_bytes_and_cut_bodies_harm_nobody() {
    let mec = small_mec();
    for junk in [
        &b"\x16\x03\x01\x02\x00"[..],
        b"GET\r\n\r\n",
        &[0xFF; 5000],
        b"POST /v1/tasks HTTP/1.1\r\nhos",
    ] {
        let mut stream = TcpStream::connect(mec.address).unwrap();
        let _ = stream.write_all(junk);
    }
    drop(post_by_hand(
        mec.address,
        "kernel=sha256&size=1&seed=5",
        "content-length: 9000\r\n",
        b"only this",
    ));
    let mut client = Client::new(mec.url()).unwrap();
    until("all places are free", || {
        client.submit(&SMALL, b"x", PLENTY).is_ok()
    });
}

#[test]
fn the_cloud_tells_its_load_too() {
    let cloud = server(ServeConfig::new(Role::Cloud));
    let mut client = Client::new(cloud.url()).unwrap();
    until("the load is known", || client.load(PLENTY).is_ok());
    let load = client.load(PLENTY).unwrap();
    assert!((load.free_now + load.cpu_use_now - 1.0).abs() < 1e-9, "{load:?}");
    assert_eq!(client.health(PLENTY).unwrap().role, "cloud");
    assert!(client.submit(&SMALL, b"x", PLENTY).is_ok());
}

#[test]
fn the_load_is_at_hand_and_gets_old_when_the_mec_is_gone() {
    let mec = small_mec();
    let mut site = Site::start(mec.url(), &Access::default(), Watch::State, 1).unwrap();
    until("a load is known", || site.latest().load.is_some());
    let (load, _) = site.latest().load.unwrap();
    assert!((load.free + load.cpu_use - 1.0).abs() < 1e-9, "{load:?}");
    let age = |seen: Seen| seen.load.unwrap().1.elapsed();
    until("it is renewed", || {
        age(site.latest()) < Duration::from_millis(100)
    });
    assert!(site.latest().throughput_bps.is_some(), "the first look shows it");
    drop(mec);
    until("it gets old", || age(site.latest()) > Duration::from_millis(600));
}

#[test]
fn curl_gets_every_answer_as_json() {
    if !have("curl", "curl") {
        return;
    }
    let mec = small_mec();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("payload");
    std::fs::write(&file, payload(100_000)).unwrap();
    let data = format!("@{}", file.display());
    let octets = "content-type: application/octet-stream";
    let good = ["-H", octets, "--data-binary", &data];
    let cases: [(&[&str], &str, u16, &str); 10] = [
        (
            &good,
            "/v1/tasks?kernel=sha256&size=1&seed=5&deadline_s=9",
            200,
            "checksum",
        ),
        (&good, "/v1/tasks?kernel=sha257&size=1&seed=5", 400, "`kernel`"),
        (&good, "/v1/tasks?kernel=sha256&seed=5", 400, "`size` is missing"),
        (
            &good,
            "/v1/tasks?kernel=sha256&size=1&seed=5&deadline_s=-1",
            400,
            "`deadline_s`",
        ),
        (
            &good,
            &format!("/v1/tasks?{ENDLESS_QUERY}&deadline_s=0.05"),
            504,
            "deadline_passed",
        ),
        (
            &["--data-binary", &data],
            "/v1/tasks?kernel=sha256&size=1&seed=5",
            415,
            "octet-stream",
        ),
        (&[], "/v1/tasks", 405, "POST"),
        (&[], "/v1/nothing", 404, "/v1/nothing"),
        (&[], "/v1/load", 200, "cpu_use"),
        (&[], "/healthz", 200, "ok"),
    ];
    // The load is known a moment after the start.
    let mut client = Client::new(mec.url()).unwrap();
    until("the load is known", || client.load(PLENTY).is_ok());
    for (args, path, status, expected) in cases {
        let mut curl = Command::new("curl");
        curl.args(["-s", "-i", "-m", "10"])
            .args(args)
            .arg(format!("http://{}{path}", mec.address));
        let output = String::from_utf8(curl.output().unwrap().stdout).unwrap();
        let (head, body) = output.rsplit_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("HTTP/1.1 {status}")), "{path}: {output}");
        assert!(output.contains(expected), "{path}: {output}");
        assert!(
            serde_json::from_str::<serde_json::Value>(body).is_ok(),
            "{path}: {output}"
        );
    }
}

/// Not a test: shows what an exchange costs on loopback.
#[test]
#[ignore = "prints measurements"]
fn measurements() {
    let mec = server(ServeConfig::new(Role::Mec));
    let mut client = Client::new(mec.url()).unwrap();
    for bytes in [0, 10_000, 1_000_000] {
        let data = payload(bytes);
        let mut exchanges: Vec<_> = (0..500)
            .map(|_| client.submit(&SMALL, &data, PLENTY).unwrap())
            .collect();
        exchanges.sort_by(|a, b| a.transmit_s.total_cmp(&b.transmit_s));
        let [median, p99] = [250, 495].map(|n| exchanges[n].transmit_s * 1e6);
        println!("{bytes} bytes: transmit median {median:.0} µs, p99 {p99:.0} µs");
    }
}
