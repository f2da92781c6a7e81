//! Who gets in: addresses, tokens, TLS.

use super::common::have;
use super::http::{Served, TINY, curl, metric, read_answer, send, try_curl};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

const TOKEN: &str = "0123456789abcdef0123456789abcdef";
const AUTHORIZATION: &str = "authorization: Bearer 0123456789abcdef0123456789abcdef";

/// A folder with a token file, and a certificate for 127.0.0.1 made by `openssl`.
struct Files {
    dir: TempDir,
}

impl Files {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let files = Self { dir };
        files.write(
            "tokens",
            &format!("# one device\n{TOKEN}\nanother-token-that-is-long\n"),
            0o600,
        );
        files
    }

    fn with_certificate() -> Self {
        let files = Self::new();
        let (key, cert) = (files.path("key.pem"), files.path("cert.pem"));
        // As the README says.
        let made = Command::new("openssl")
            .args([
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
                "-nodes",
            ])
            .args([
                "-days",
                "2",
                "-subj",
                "/CN=edge",
                "-addext",
                "basicConstraints=critical,CA:FALSE",
            ])
            .args(["-addext", "subjectAltName=IP:127.0.0.1", "-keyout"])
            .arg(&key)
            .arg("-out")
            .arg(&cert)
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    fn write(&self, name: &str, text: &str, mode: u32) -> String {
        fs::write(self.path(name), text).unwrap();
        fs::set_permissions(self.path(name), Permissions::from_mode(mode)).unwrap();
        self.text(name)
    }
}

fn fails(args: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_hwmeter"))
        .args(["serve", "--role", "mec"])
        .args(args)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{args:?}: {output:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn nobody_from_elsewhere_gets_in_without_token_and_tls() {
    let files = Files::new();
    let tokens = files.text("tokens");
    let open = files.write("open", &format!("{TOKEN}\n"), 0o644);
    let writable = files.write("writable", &format!("{TOKEN}\n"), 0o602);
    let empty = files.write("empty", "\n", 0o600);
    let junk = files.write("junk.pem", "no certificate", 0o600);
    let cases: [(&[&str], &[&str]); 9] = [
        (&["--listen", "0.0.0.0:0"], &["--token-file"]),
        (&["--listen", "[::]:0"], &["--token-file"]),
        (&["--listen", "192.0.2.1:0", "--behind-proxy"], &["--token-file"]),
        (&["--behind-proxy"], &["127.0.0.1", "--token-file"]),
        (
            &["--listen", "0.0.0.0:0", "--token-file", &tokens],
            &["--tls-cert", "--behind-proxy"],
        ),
        (&["--token-file", &open], &["chmod 600", &open]),
        (&["--token-file", &writable], &["chmod 600", &writable]),
        (&["--token-file", &empty], &["no token", "openssl rand"]),
        (
            &["--token-file", &tokens, "--tls-cert", &junk, "--tls-key", &junk],
            &["junk.pem", "PEM"],
        ),
    ];
    for (args, expected) in cases {
        let error = fails(args);
        for part in expected {
            assert!(error.contains(part), "{args:?}: {error}");
        }
    }
    let error = fails(&[
        "--listen",
        "192.0.2.1:0",
        "--behind-proxy",
        "--token-file",
        &tokens,
    ]);
    assert!(error.contains("no such address"), "{error}");
}

#[test]
fn a_token_lets_in_and_everything_else_is_refused_before_its_body() {
    if !have("curl", "curl") {
        return;
    }
    let files = Files::new();
    let server = Served::start(&["--token-file", &files.text("tokens")]);
    let base = &server.base;
    let (good, other) = (
        ["-H", AUTHORIZATION],
        ["-H", "authorization: bearer another-token-that-is-long"],
    );
    let task = format!("{base}{TINY}");
    for admitted in [good, other] {
        assert_eq!(curl(&["-X", "POST", admitted[0], admitted[1]], &task).status, 200);
    }
    assert_eq!(curl(&[], &format!("{base}/healthz")).status, 200);

    let large = files.path("large");
    fs::write(&large, vec![7; 4 << 20]).unwrap();
    let large = format!("@{}", large.display());
    let wrong: [&[&str]; 4] = [
        &["--data-binary", &large],
        &[
            "-H",
            "authorization: Bearer 0123456789abcdef0123456789abcdeF",
            "--data-binary",
            &large,
        ],
        &["-u", "user:password", "-X", "POST"],
        &["-X", "POST", "-H", "authorization: Bearer"],
    ];
    for args in wrong {
        let refused = curl(args, &task);
        assert_eq!(refused.error(), (401, "unauthorized".to_owned()), "{args:?}");
        assert_eq!(refused.header("www-authenticate"), Some("bearer"), "{refused:?}");
        assert!(!refused.body.contains(TOKEN));
    }
    for path in ["/v1/load", "/metrics", "/openapi.json", "/no/such/path"] {
        assert_eq!(curl(&[], &format!("{base}{path}")).status, 401, "{path}");
    }
    let unauthorized =
        "hwmeter_http_requests_total{code=\"unauthorized\",route=\"/v1/tasks\",status=\"401\"}";
    assert_eq!(metric(base, &good, unauthorized), 4.0);
    assert_eq!(metric(base, &good, "hwmeter_tasks_total{outcome=\"done\"}"), 2.0);
}

/// A browser lets every page send to every server; it says so, and names whom it believes to ask.
#[test]
fn web_pages_cannot_use_a_server_without_tokens() {
    if !have("curl", "curl") {
        return;
    }
    let server = Served::start(&[]);
    let (base, port) = (&server.base, server.address().port());
    let task = format!("{base}{TINY}");
    for origin in ["https://evil.example", "null", base.as_str()] {
        let refused = curl(&["-X", "POST", "-H", &format!("origin: {origin}")], &task);
        assert_eq!(refused.error(), (403, "cross_origin".to_owned()), "{origin}");
    }
    let asked_as = |host: &str| curl(&["-H", &format!("host: {host}")], &format!("{base}/metrics"));
    for host in [
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.evil.example:80",
        "a b",
    ] {
        assert_eq!(asked_as(host).error(), (421, "wrong_host".to_owned()), "{host}");
    }
    for host in [
        "localhost",
        &format!("LOCALHOST:{port}"),
        "[::1]:80",
        "127.0.0.1",
        "10.0.0.7:9000",
    ] {
        assert_eq!(asked_as(host).status, 200, "{host}");
    }
    let get = "GET http://evil.example/metrics HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let answer = read_answer(&mut send(server.address(), get.as_bytes())).unwrap();
    assert_eq!(answer.error(), (421, "wrong_host".to_owned()));

    // Behind tokens every name may lead to it, and its proxy may say where requests come from.
    let files = Files::new();
    let server = Served::start(&["--token-file", &files.text("tokens")]);
    let named = ["-H", "host: edge.example", "-H", "origin: https://edge.example"];
    let post = ["-X", "POST", "-H", AUTHORIZATION];
    assert_eq!(
        curl(&[&named[..], &post].concat(), &format!("{}{TINY}", server.base)).status,
        200
    );
}

#[test]
fn curl_speaks_tls_with_a_server_that_all_machines_reach() {
    if !have("curl", "curl") || !openssl() {
        return;
    }
    let files = Files::with_certificate();
    let [tokens, cert, key] = ["tokens", "cert.pem", "key.pem"].map(|name| files.text(name));
    let tls = ["--tls-cert", &cert, "--tls-key", &key];
    let all = ["--listen", "0.0.0.0:0", "--token-file", &tokens];
    let server = Served::start(&[all.as_slice(), &tls].concat());
    let port = server.address().port();
    let base = format!("https://127.0.0.1:{port}");
    assert!(server.base.starts_with("https://0.0.0.0:"), "{}", server.base);

    let secure = ["--cacert", &cert, "-H", AUTHORIZATION];
    for version in ["--tls-max", "--tlsv1.2"].iter().zip(["1.2", ""]) {
        let version: Vec<&str> = [*version.0, version.1]
            .into_iter()
            .filter(|arg| !arg.is_empty())
            .collect();
        let post = [
            &secure[..],
            &version,
            &[
                "-X",
                "POST",
                "-d",
                "",
                "-H",
                "content-type: application/octet-stream",
            ],
        ];
        assert_eq!(
            curl(&post.concat(), &format!("{base}{TINY}")).status,
            200,
            "{version:?}"
        );
    }
    assert_eq!(curl(&["--cacert", &cert], &format!("{base}/v1/load")).status, 401);
    // A client that does not know the certificate says no by itself.
    assert!(try_curl(&["-H", AUTHORIZATION], &format!("{base}/healthz")).is_none());

    // Plain HTTP at a TLS port, and bytes that are nothing at all.
    let local = ([127, 0, 0, 1], port).into();
    let before = metric(&base, &secure, "hwmeter_connections_lost_total{reason=\"tls\"}");
    assert!(try_curl(&[], &format!("http://127.0.0.1:{port}/healthz")).is_none());
    drop(send(local, &[0xFF; 3000]));
    super::common::until("both are counted", || {
        metric(&base, &secure, "hwmeter_connections_lost_total{reason=\"tls\"}") >= before + 2.0
    });
    assert_eq!(curl(&["--cacert", &cert], &format!("{base}/healthz")).status, 200);

    // A key that everybody may read, and one that is another's.
    fs::set_permissions(Path::new(&key), Permissions::from_mode(0o644)).unwrap();
    let error = fails(&[all.as_slice(), &tls].concat());
    assert!(error.contains("chmod 600"), "{error}");
    fs::set_permissions(Path::new(&key), Permissions::from_mode(0o600)).unwrap();
    let others = Files::with_certificate().text("cert.pem");
    let foreign = Files::with_certificate();
    let error = fails(&["--tls-cert", &foreign.text("cert.pem"), "--tls-key", &key]);
    assert!(
        error.contains("cannot use") && error.contains("key.pem"),
        "{error}"
    );
    drop(others);
}

fn openssl() -> bool {
    // Older ones know `version`, not `--version`.
    Command::new("openssl").arg("version").output().is_ok() || have("openssl", "openssl")
}
