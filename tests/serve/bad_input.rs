//! Whatever comes in: it gets its error, is counted, and the server goes on.

use super::common::{PLENTY, have, payload, server, until};
use super::http::{Served, TINY, metric, read_answer, send};
use hwmeter::serve::{Role, ServeConfig};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// The best of some attempts: others use this machine too.
#[track_caller]
fn is_healthy(address: SocketAddr) {
    let attempt = || {
        let began = Instant::now();
        let mut stream = send(address, b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n");
        let answer = read_answer(&mut stream).unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
        began.elapsed()
    };
    let best = (0..20).map(|_| attempt()).min().unwrap();
    assert!(best < Duration::from_millis(50), "{best:?}");
}

fn request(path: &str, head: &str, body: &str) -> Vec<u8> {
    format!("POST {path} HTTP/1.1\r\nhost: localhost\r\n{head}\r\n{body}").into_bytes()
}

#[test]
fn every_bad_request_gets_its_error_and_is_counted() {
    if !have("curl", "curl") {
        return;
    }
    let mut config = ServeConfig::new(Role::Mec);
    config.max_payload = 1000;
    let mec = server(config);
    let base = format!("http://{}", mec.address);
    let long = |bytes: usize| format!("x-long: {}\r\n", "a".repeat(bytes));
    let bomb = "content-type: application/json\r\ncontent-length: 900\r\n";
    let claimed = "content-length: 99999999999999\r\n";
    let chunks = "transfer-encoding: chunked\r\n";
    let cases = [
        (request(TINY, claimed, "x"), 413, "payload_too_large"),
        (
            request(TINY, chunks, &format!("400\r\n{}\r\n0\r\n\r\n", "a".repeat(1024))),
            413,
            "payload_too_large",
        ),
        (
            request(TINY, chunks, "5\r\nab\r\nrubbish"),
            400,
            "body_incomplete",
        ),
        (request(TINY, bomb, &"[".repeat(900)), 415, "unsupported_type"),
        (request(TINY, &long(20_000), ""), 431, "header_too_large"),
        (
            request(&format!("{TINY}&x={}", "a".repeat(20_000)), "", ""),
            431,
            "header_too_large",
        ),
        (
            request("/v1/tasks?kernels=sha256:1+sha256:x&seed=1", "", ""),
            400,
            "bad_parameter",
        ),
        (request("/v1/tasks?%FF%00=%", "", ""), 400, "bad_parameter"),
        (request("/v1/load", "", ""), 405, "wrong_method"),
        (request("/../../etc/passwd", "", ""), 404, "not_found"),
    ];
    for (bytes, status, code) in cases {
        let what = String::from_utf8_lossy(&bytes[..bytes.len().min(60)]).into_owned();
        let name = |route: &str| {
            format!("hwmeter_http_requests_total{{code=\"{code}\",route=\"{route}\",status=\"{status}\"}}")
        };
        let count = || {
            ["/v1/tasks", "/v1/load", "other"]
                .map(|route| metric(&base, &[], &name(route)))
                .iter()
                .sum::<f64>()
        };
        let before = count();
        let answer =
            read_answer(&mut send(mec.address, &bytes)).unwrap_or_else(|| panic!("no answer to {what}"));
        assert_eq!(answer.error(), (status, code.to_owned()), "{what}");
        assert_eq!(count(), before + 1.0, "{what}");
        is_healthy(mec.address);
    }
    // A JSON bomb is just bytes to a kernel.
    let octets = "content-type: application/octet-stream\r\ncontent-length: 900\r\n";
    let answer = read_answer(&mut send(mec.address, &request(TINY, octets, &"[".repeat(900))));
    assert_eq!(answer.unwrap().status, 200);
}

#[test]
fn what_is_no_http_is_refused_and_counted() {
    if !have("curl", "curl") {
        return;
    }
    let mec = server(ServeConfig::new(Role::Mec));
    let base = format!("http://{}", mec.address);
    let bad_http = || metric(&base, &[], "hwmeter_connections_lost_total{reason=\"bad_http\"}");
    let many = "x: y\r\n".repeat(200);
    let junk = payload(5000);
    // The HTTP library answers these by itself, with a status and no body, or not at all.
    let cases: [(&[u8], Option<u16>); 6] = [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", Some(400)),
        (b"GET\r\n\r\n", Some(400)),
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", Some(400)),
        (&junk, Some(400)),
        (&request(TINY, &many, ""), Some(431)),
        (
            &request(TINY, &format!("x-long: {}\r\n", "a".repeat(100_000)), ""),
            Some(431),
        ),
    ];
    for (bytes, status) in cases {
        let before = bad_http();
        let answer = read_answer(&mut send(mec.address, bytes));
        assert_eq!(
            answer.map(|answer| answer.status),
            status,
            "{:?}",
            &bytes[..bytes.len().min(20)]
        );
        until("it is counted", || bad_http() == before + 1.0);
        is_healthy(mec.address);
    }
    // A truncated payload: there is nobody to be told any more, but it is counted.
    let gone = || {
        metric(&base, &[], "hwmeter_tasks_total{outcome=\"client_gone\"}")
            + metric(&base, &[], "hwmeter_tasks_total{outcome=\"body_incomplete\"}")
    };
    drop(send(
        mec.address,
        &request(TINY, "content-length: 9000\r\n", "only this"),
    ));
    until("it is counted", || gone() == 1.0);
}

#[test]
fn pipelined_requests_are_answered_in_their_order() {
    let mec = server(ServeConfig::new(Role::Mec));
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
    let tasks: String = (0..50)
        .map(|seed| {
            format!("POST /v1/tasks?kernel=sha256&size=1&seed={seed} HTTP/1.1\r\nhost: localhost\r\n\r\n")
        })
        .collect();
    let close = "GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    let all = [get("/nowhere"), get("/healthz"), tasks, close.to_owned()].concat();
    let mut text = String::new();
    send(mec.address, all.as_bytes())
        .read_to_string(&mut text)
        .unwrap();
    let statuses: Vec<_> = text
        .match_indices("HTTP/1.1 ")
        .map(|(at, _)| &text[at + 9..at + 12])
        .collect();
    assert_eq!(statuses.len(), 53, "{text}");
    assert_eq!(statuses[0], "404");
    assert!(
        statuses[1..].iter().all(|&status| status == "200"),
        "{statuses:?}"
    );
}

#[test]
fn clocks_need_not_agree() {
    let mec = server(ServeConfig::new(Role::Mec));
    let task = format!("{TINY}&deadline_s=9");
    for date in [
        "Thu, 01 Jan 1970 00:00:00 GMT",
        "Fri, 31 Dec 2199 23:59:59 GMT",
        "yesterday",
    ] {
        let answer = read_answer(&mut send(
            mec.address,
            &request(&task, &format!("date: {date}\r\n"), ""),
        ));
        assert_eq!(answer.unwrap().status, 200, "{date}");
    }
}

#[test]
fn a_header_that_drips_and_a_connection_that_idles_are_closed() {
    if !have("curl", "curl") {
        return;
    }
    let mut config = ServeConfig::new(Role::Mec);
    config.idle_limit = Duration::from_millis(500);
    let mec = server(config);
    let silent = send(mec.address, b"");
    let dripping = send(mec.address, b"GET /healthz HTTP/1.1\r\nhos");
    let mut used = send(mec.address, b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n");
    assert_eq!(read_answer(&mut used).unwrap().status, 200);
    let began = Instant::now();
    for mut stream in [silent, dripping, used] {
        stream.set_read_timeout(Some(PLENTY)).unwrap();
        assert!(matches!(stream.read(&mut [0; 10]), Ok(0) | Err(_)));
    }
    assert!(began.elapsed() < PLENTY / 2, "{:?}", began.elapsed());
    let base = format!("http://{}", mec.address);
    assert_eq!(
        metric(&base, &[], "hwmeter_connections_lost_total{reason=\"idle\"}"),
        3.0
    );
}

/// Opens so many connections that stay silent.
fn idle(address: SocketAddr, count: usize) -> Vec<TcpStream> {
    (0..count).map(|_| TcpStream::connect(address).unwrap()).collect()
}

#[test]
fn ten_thousand_idle_connections_lock_nobody_out() {
    if !have("curl", "curl") {
        return;
    }
    // This process needs as many files as it opens connections.
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
    let count = usize::try_from(hard.saturating_sub(500))
        .unwrap_or(usize::MAX)
        .min(10_000);
    if count < 10_000 {
        eprintln!("only {count} connections: this process may not have more files (ulimit -Hn)");
    }
    let server = Served::start(&[]);
    let resident_kb = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .unwrap();
        line.trim().trim_end_matches(" kB").parse::<f64>().unwrap()
    };
    let before = resident_kb();
    let held = idle(server.address(), count);
    let open = || metric(&server.base, &[], "hwmeter_connections");
    until("all are accepted", || open() > count as f64);
    is_healthy(server.address());
    let per_connection = (resident_kb() - before) / count as f64;
    assert!(per_connection < 8.0, "{per_connection} kB per idle connection");
    drop(held);
    until("all are gone", || open() < 3.0);
}

#[test]
fn beyond_the_limit_the_idlest_go_and_a_busy_one_stays() {
    if !have("curl", "curl") {
        return;
    }
    let mut config = ServeConfig::new(Role::Mec);
    config.max_connections = 100;
    let mec = server(config);
    let base = format!("http://{}", mec.address);
    let endless = request(super::http::ENDLESS, "", "");
    let busy = send(mec.address, &endless);
    until("it runs", || metric(&base, &[], "hwmeter_tasks_running") == 1.0);
    let held = idle(mec.address, 300);
    is_healthy(mec.address);
    let shed = metric(&base, &[], "hwmeter_connections_lost_total{reason=\"shed\"}");
    assert!(shed >= 200.0, "{shed}");
    assert_eq!(metric(&base, &[], "hwmeter_tasks_running"), 1.0);
    drop((busy, held));

    // All busy: a newcomer is told so.
    let mut config = ServeConfig::new(Role::Mec);
    config.max_connections = 2;
    let mec = server(config);
    let waiting = request(TINY, "content-length: 1\r\nexpect: 100-continue\r\n", "");
    let _busy = [(); 2].map(|()| {
        let mut stream = send(mec.address, &waiting);
        // It asks for the body, so it has the request.
        stream.read_exact(&mut [0; 12]).unwrap();
        stream
    });
    until("a newcomer is refused", || {
        let mut stream = send(mec.address, b"");
        stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        read_answer(&mut stream)
            .is_some_and(|answer| answer.error() == (503, "too_many_connections".to_owned()))
    });
}
