//! The same bytes give the same answer wherever they run.

use super::{MATMUL, MODULE, PAYLOAD, SHA256, checksum, have_curl, post, refusal};
use crate::common::{PLENTY, payload, server, small_mec};
use hwmeter::offload::Client;
use hwmeter::serve::{Role, ServeConfig};
use hwmeter::task::wasm::{Binary, ModuleId};
use hwmeter::task::{self, Program, Speed, Work};

fn work(wasm: &[u8]) -> Work {
    let binary = Binary::new("example.wasm".into(), wasm.to_vec());
    Work {
        program: Program::Module(binary),
        seed: 7,
    }
}

fn here(wasm: &[u8], payload: &[u8]) -> u64 {
    task::run(&work(wasm), payload, Speed::FULL, &|| false).unwrap()
}

#[test]
fn a_server_computes_what_a_device_computes() {
    if !have_curl() {
        return;
    }
    let mec = server(ServeConfig::new(Role::Mec));
    for wasm in [SHA256, MATMUL] {
        for bytes in [0, 1, 100_000] {
            let payload = payload(bytes);
            let body = [wasm, &payload].concat();
            let query = format!("module_bytes={}", wasm.len());
            let there = checksum(&mec, &query, MODULE, &body);
            assert_eq!(there, format!("{:016x}", here(wasm, &payload)), "{bytes} bytes");

            let query = format!("module={}", ModuleId::of(wasm));
            assert_eq!(checksum(&mec, &query, PAYLOAD, &payload), there);
        }
        let whole = checksum(&mec, "", MODULE, wasm);
        assert_eq!(whole, format!("{:016x}", here(wasm, b"")));
    }
}

#[test]
fn a_client_sends_a_module_only_to_a_server_that_lacks_it() {
    let mec = small_mec();
    let mut client = Client::new(mec.url()).unwrap();
    let payload = payload(1000);
    let mut sent = Vec::new();
    for _ in 0..3 {
        let before = client.sent_bytes();
        let done = client.submit(&work(MATMUL), &payload, PLENTY).unwrap();
        assert_eq!(done.checksum, here(MATMUL, &payload));
        sent.push(client.sent_bytes() - before);
    }
    let module = MATMUL.len() as u64;
    assert!(sent[0] > module + 2000, "{sent:?}");
    assert!(sent[1] < 2000 && sent[2] < 2000, "{sent:?}");
}

#[test]
fn what_was_sent_is_what_was_meant() {
    if !have_curl() {
        return;
    }
    let mec = small_mec();
    let id = ModuleId::of(SHA256);
    let unknown = refusal(&mec, &format!("module={id}"), PAYLOAD, b"abc");
    assert_eq!(unknown, (404, "module_unknown".to_owned()));

    let bad = |query: &str, content_type, body: &[u8], says: &str| {
        let (status, answer) = post(&mec, query, content_type, body);
        assert_eq!(
            (status, &answer["code"]),
            (400, &"bad_parameter".into()),
            "{query}"
        );
        assert!(answer["message"].as_str().unwrap().contains(says), "{answer}");
    };
    bad(
        "module_bytes=1275",
        MODULE,
        SHA256,
        "`module_bytes` is 1275, but the body has 1274",
    );
    bad(&format!("module={id}"), MODULE, MATMUL, &id.to_string());
    bad("module=abc", PAYLOAD, b"", "`module`");
    bad("seed=1", MODULE, SHA256, "`seed` cannot stand beside");
    bad(
        "module_bytes=1",
        PAYLOAD,
        b"",
        "`module_bytes` cannot stand beside",
    );

    let query = format!("module={id}&module_bytes={}", SHA256.len());
    let body = [SHA256, b"abc"].concat();
    assert_eq!(checksum(&mec, &query, MODULE, &body), "ba7816bf8f01cfea");
    let typed = checksum(&mec, &query, "Application/Wasm; charset=binary", &body);
    assert_eq!(typed, "ba7816bf8f01cfea");
}
