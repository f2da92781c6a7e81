//! The example modules are what their sources say.

use super::SHA256;
use crate::common::{have, payload};
use hwmeter::task::Speed;
use hwmeter::task::wasm::Engine;
use std::process::Command;

#[test]
fn the_c_example_can_be_rebuilt_and_computes_the_same() {
    if !have("clang", "clang") || !have("wasm-ld", "lld") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/wasm/examples/build.sh");
    let built = Command::new("sh")
        .arg(script)
        .arg(dir.path())
        .arg("sha256")
        .output()
        .unwrap();
    assert!(built.status.success(), "{built:?}");
    // Another version of clang makes other bytes.
    let rebuilt = std::fs::read(dir.path().join("sha256.wasm")).unwrap();

    let engine = Engine::new().unwrap();
    let run = |wasm: &[u8], payload: &[u8]| {
        let module = engine.load(wasm, &|| false).unwrap();
        module
            .run(payload, 16 << 20, Speed::FULL, &|| false)
            .unwrap()
            .result
    };
    for bytes in [0, 55, 56, 63, 64, 65, 10_000] {
        let payload = payload(bytes);
        assert_eq!(run(&rebuilt, &payload), run(SHA256, &payload), "{bytes} bytes");
    }
}

#[test]
fn the_c_example_agrees_with_sha256sum() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("payload");
    let engine = Engine::new().unwrap();
    let module = engine.load(SHA256, &|| false).unwrap();
    for bytes in [0, 1, 55, 56, 64, 100_000] {
        let payload = payload(bytes);
        std::fs::write(&file, &payload).unwrap();
        let sum = Command::new("sha256sum").arg(&file).output().unwrap();
        let done = module.run(&payload, 16 << 20, Speed::FULL, &|| false).unwrap();
        let digits = format!("{:016x}", done.result.cast_unsigned());
        assert_eq!(digits.as_bytes(), &sum.stdout[..16], "{bytes} bytes");
    }
}
