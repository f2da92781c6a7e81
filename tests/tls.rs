//! https and tokens: what works, and what is said when it does not.
#![allow(clippy::unwrap_used)]

#[path = "common/certificates.rs"]
mod certificates;
mod common;

use certificates::Authority;
use common::child::started;
use common::{Listening, PLENTY, SMALL, have, payload, server, small_mec, until};
use hwmeter::offload::wire::payload_hash;
use hwmeter::offload::{Access, Client, OffloadError, Url};
use hwmeter::serve::{Role, ServeConfig, TlsFiles};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{HandshakeKind, ServerConfig, ServerConnection, StreamOwned};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::channel;

fn https(signed: TlsFiles, token_file: Option<&Path>) -> Listening {
    let mut config = ServeConfig::new(Role::Mec);
    config.token_file = token_file.map(Path::to_owned);
    config.tls = Some(signed);
    server(config)
}

fn url(scheme: &str, host: &str, address: SocketAddr) -> Url {
    format!("{scheme}://{host}:{}", address.port()).parse().unwrap()
}

fn client(url: Url, ca: &Path, token_file: Option<&Path>) -> Client {
    let access = Access::to(&[&url], Some(ca), token_file).unwrap();
    Client::with_access(url, &access).unwrap()
}

fn submit(client: &mut Client) -> Result<(), OffloadError> {
    let sent = payload(200_000);
    let done = client.submit(&SMALL, &sent, PLENTY)?;
    let parts = done.connect_s.unwrap_or(0.0) + done.send_s + done.wait_s + done.answer_s;
    assert!(
        parts <= done.elapsed_s && done.elapsed_s - parts < 0.05 + 0.5 * done.elapsed_s,
        "{done:?}"
    );
    Ok(())
}

#[test]
fn a_task_goes_through_tls_with_a_token_and_connects_once() {
    let authority = Authority::new();
    let token = authority.token("0123456789abcdef0123456789abcdef");
    let mec = https(authority.sign("localhost"), Some(&token));
    let mut client = client(
        url("https", "localhost", mec.address),
        &authority.file(),
        Some(&token),
    );
    submit(&mut client).unwrap();
    let again = client.submit(&SMALL, b"abc", PLENTY).unwrap();
    assert_eq!(again.connect_s, None, "the connection is kept");
    // It is known a moment after the start.
    until("the load is known", || client.load(PLENTY).is_ok());
}

#[test]
fn a_wrong_token_and_none_are_told_apart() {
    let authority = Authority::new();
    let (right, wrong) = (
        authority.token("0123456789abcdef"),
        authority.token("fedcba9876543210f"),
    );
    let mec = https(authority.sign("127.0.0.1"), Some(&right));
    let url = || url("https", "127.0.0.1", mec.address);
    for (token, advice) in [
        (None, "give its token with --token-file FILE"),
        (
            Some(wrong.as_path()),
            "check that --token-file holds the token of that server",
        ),
    ] {
        let error = submit(&mut client(url(), &authority.file(), token)).unwrap_err();
        assert!(matches!(error, OffloadError::Unauthorized { .. }), "{error}");
        assert!(error.to_string().contains(advice), "{error}");
    }
    submit(&mut client(url(), &authority.file(), Some(&right))).unwrap();
}

#[test]
fn a_server_that_cannot_be_trusted_is_told_with_what_to_do() {
    let authority = Authority::new();
    let (stranger, namesake) = (Authority::named("A stranger"), Authority::new());
    let cases = [
        (
            authority.sign_between("127.0.0.1", 2020, 2021),
            vec![
                "expired at 2021-01-01T00:00:00Z",
                "this board's clock says 20",
                "renew",
            ],
        ),
        (
            authority.sign_between("127.0.0.1", 2090, 2100),
            vec![
                "not valid before 2090-01-01T00:00:00Z",
                "the clock is probably wrong",
            ],
        ),
        (
            authority.sign("mec.example"),
            vec!["mec.example", "not for 127.0.0.1"],
        ),
        (namesake.sign("127.0.0.1"), vec!["not signed by it", "--ca FILE"]),
        (
            stranger.sign("127.0.0.1"),
            vec!["nobody this board trusts", "--ca FILE"],
        ),
        (authority.sign_itself("127.0.0.1"), vec!["--ca FILE"]),
    ];
    for (signed, expected) in cases {
        let mec = https(signed, None);
        let error = submit(&mut client(
            url("https", "127.0.0.1", mec.address),
            &authority.file(),
            None,
        ));
        let error = error.unwrap_err();
        assert!(matches!(error, OffloadError::Tls { .. }), "{error:?}");
        let text = error.to_string();
        for word in expected {
            assert!(text.contains(word), "{word:?} is not in: {text}");
        }
    }
    // A server that uses the authority's own certificate, which is trusted: still not for a server to use.
    let itself = authority.sign_itself("127.0.0.1");
    let mec = https(itself.clone(), None);
    let error = submit(&mut client(
        url("https", "127.0.0.1", mec.address),
        &itself.cert,
        None,
    ))
    .unwrap_err();
    assert!(
        error.to_string().contains("which a server must not use"),
        "{error}"
    );
}

#[test]
fn the_wrong_scheme_is_told() {
    let authority = Authority::new();
    let plain = small_mec();
    let error = submit(&mut client(
        url("https", "127.0.0.1", plain.address),
        &authority.file(),
        None,
    ));
    let text = error.unwrap_err().to_string();
    assert!(text.contains("write http://"), "{text}");

    let encrypted = https(authority.sign("127.0.0.1"), None);
    let text = submit(&mut Client::new(encrypted.url()).unwrap())
        .unwrap_err()
        .to_string();
    assert!(
        text.contains("write https://") || text.contains("closed"),
        "{text}"
    );
}

/// A server of rustls alone that closes after every answer, and tells how each handshake was.
#[test]
fn a_new_connection_resumes_the_session_and_asks_for_http_1_1() {
    let authority = Authority::new();
    let signed = authority.sign("127.0.0.1");
    let certs = CertificateDer::pem_file_iter(&signed.cert)
        .unwrap()
        .map(Result::unwrap);
    let key = PrivateKeyDer::from_pem_file(&signed.key).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let mut config = builder
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(certs.collect(), key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, told) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let tls = ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut stream = StreamOwned::new(tls, stream.unwrap());
            let mut seen = Vec::new();
            let mut buffer = [0; 4096];
            while !seen.ends_with(b"\r\n\r\nabc") {
                let n = stream.read(&mut buffer).unwrap();
                seen.extend_from_slice(&buffer[..n]);
            }
            let body = format!(
                "{{\"checksum\":\"{:016x}\",\"payload_hash\":\"{:016x}\",\"receive_s\":0,\"receive_bytes\":0,\
                 \"queue_s\":0,\"execute_s\":0}}",
                170,
                payload_hash(b"abc")
            );
            let length = body.len();
            write!(
                stream,
                "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
            )
            .unwrap();
            tell.send((
                stream.conn.handshake_kind(),
                stream.conn.alpn_protocol().map(<[u8]>::to_vec),
            ))
            .unwrap();
            stream.conn.send_close_notify();
            let _ = stream.flush();
        }
    });
    let mut client = client(url("https", "127.0.0.1", address), &authority.file(), None);
    for expected in [
        HandshakeKind::Full,
        HandshakeKind::Resumed,
        HandshakeKind::Resumed,
    ] {
        let done = client.submit(&SMALL, b"abc", PLENTY).unwrap();
        assert!(done.connect_s.is_some() && done.checksum == 170);
        assert_eq!(
            told.recv_timeout(PLENTY).unwrap(),
            (Some(expected), Some(b"http/1.1".to_vec()))
        );
    }
}

/// Python's TLS is OpenSSL's: another implementation than ours.
#[test]
fn an_independent_server_is_understood() {
    if !have("python3", "python3") {
        return;
    }
    const SCRIPT: &str = r#"
import http.server, ssl, sys
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        ok = self.headers["Authorization"] == "Bearer 0123456789abcdef" and self.path == "/healthz"
        body = b'{"status":"ok","role":"mec","version":"' + self.connection.version().encode() + b'"}' if ok else b"{}"
        self.send_response(200 if ok else 401)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args): pass
server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1], sys.argv[2])
if sys.argv[3] == "1.2": context.maximum_version = ssl.TLSVersion.TLSv1_2
server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_port, flush=True)
server.serve_forever()
"#;
    let authority = Authority::new();
    let signed = authority.sign("localhost");
    let token = authority.token("0123456789abcdef");
    for version in ["1.2", "1.3"] {
        let mut python = Command::new("python3");
        python
            .args(["-c", SCRIPT])
            .args([&signed.cert, &signed.key])
            .arg(version);
        let mut python = started(python.stdout(Stdio::piped()));
        let mut port = String::new();
        BufReader::new(python.stdout.take().unwrap())
            .read_line(&mut port)
            .unwrap();
        let url: Url = format!("https://localhost:{}", port.trim()).parse().unwrap();
        let mut client = client(url, &authority.file(), Some(&token));
        assert_eq!(client.health(PLENTY).unwrap().version, format!("TLSv{version}"));
        assert!(client.health(PLENTY).is_ok());
    }
}

#[test]
fn run_agent_says_what_is_wrong_with_its_files_before_it_begins() {
    let authority = Authority::new();
    let dir = tempfile::tempdir().unwrap();
    let (open, out) = (dir.path().join("token"), dir.path().join("run"));
    std::fs::write(&open, "0123456789abcdef\n").unwrap();
    let open = open.to_str().unwrap();
    let ca = authority.file();
    for (args, words) in [
        (["--token-file", open], [open, "chmod 600"]),
        (["--token-file", "/no/token"], ["/no/token", "No such file"]),
        (["--ca", "/no/ca"], ["/no/ca", "No such file"]),
        (["--ca", open], [open, "BEGIN CERTIFICATE"]),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_hwmeter"))
            .args([
                "run-agent",
                "--mec",
                "https://127.0.0.1:9",
                "--cloud",
                "https://127.0.0.1:9",
                "--out",
            ])
            .arg(&out)
            .args(if args[0] == "--ca" {
                vec![]
            } else {
                vec!["--ca", ca.to_str().unwrap()]
            })
            .args(args)
            .output()
            .unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        for word in words {
            assert!(stderr.contains(word), "{word:?} is not in: {stderr}");
        }
        assert!(!out.exists(), "nothing is begun");
    }
}

/// Without `--ca` the system's own authorities count; OpenSSL's variable says where they are.
#[test]
fn a_run_trusts_what_the_system_trusts() {
    let authority = Authority::new();
    let token = authority.token("0123456789abcdef");
    let mec = https(authority.sign("localhost"), Some(&token));
    let url = format!("https://localhost:{}", mec.address.port());
    let dir = tempfile::tempdir().unwrap();
    let run = |roots: &Path, out: &str| {
        Command::new(env!("CARGO_BIN_EXE_hwmeter"))
            .args([
                "run-agent",
                "--sensor",
                "cpu-model",
                "--learner",
                "mec",
                "--tasks",
                "2",
                "--mec",
                &url,
            ])
            .args(["--cloud", &url, "--token-file"])
            .arg(&token)
            .arg("--out")
            .arg(dir.path().join(out))
            .env("SSL_CERT_FILE", roots)
            .env_remove("SSL_CERT_DIR")
            .output()
            .unwrap()
    };
    let output = run(&authority.file(), "good");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let manifest = std::fs::read(dir.path().join("good/run.json")).unwrap();
    let network = &serde_json::from_slice::<serde_json::Value>(&manifest).unwrap()["network"];
    assert_eq!(network["mec"]["circuit_opened"], 0, "{network}");
    assert!(
        network["mec"]["exchanges"]["tasks"].as_u64().unwrap() > 0,
        "{network}"
    );
    assert!(
        network["cloud"]["probes"]["count"].as_u64().unwrap() > 0,
        "{network}"
    );

    let empty = dir.path().join("empty.pem");
    std::fs::write(&empty, "").unwrap();
    let output = run(&empty, "bad");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("ca-certificates") && said.contains("--ca FILE"),
        "{said}"
    );
}
