//! What a WebAssembly task costs beyond its kernel: the start of a cached module, and the kernel beside the same
//! Rust source compiled for this machine.
//!
//! The goals: a start under 100 µs, and a kernel within 1.5 times native.

use hwmeter::task::Speed;
use hwmeter::task::wasm::{Engine, Module};
use hwmeter_bench::median;
use hwmeter_bench::timing::{Quantiles, micros};
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

#[path = "../../tests/wasm/examples/multiply.rs"]
mod multiply;

const SHA256: &[u8] = include_bytes!("../../tests/wasm/examples/sha256.wasm");
const MATMUL: &[u8] = include_bytes!("../../tests/wasm/examples/matmul.wasm");
const MEMORY_BYTES: usize = 256 << 20;
const PAYLOAD: &[u8] = b"payload of a task";

fn main() {
    let is_test = std::env::args().any(|argument| argument == "--test");
    let calls = if is_test { 20 } else { 5000 };
    let engine = Engine::new().expect("an engine");
    compiled(calls / 20);
    let sha256 = load(&engine, SHA256);
    started(&engine, &sha256, calls);
    copied(&sha256, calls / 10);
    beside_native(&load(&engine, MATMUL), calls / 5);
}

fn load(engine: &Engine, wasm: &[u8]) -> Arc<Module> {
    engine.load(wasm, &|| false).expect("a valid module")
}

fn run(module: &Module, payload: &[u8]) -> i64 {
    let done = module.run(payload, MEMORY_BYTES, Speed::FULL, &|| false);
    done.expect("a result").result
}

/// The first time: checked, compiled, linked. Each engine is a new one.
fn compiled(calls: usize) {
    for (name, wasm) in [("sha256.wasm", SHA256), ("matmul.wasm", MATMUL)] {
        let time = Quantiles::of(calls.max(3), || {
            let engine = Engine::new().expect("an engine");
            black_box(load(&engine, wasm));
        });
        println!(
            "compile {name:12} ({:5} bytes)       median {:7.1} µs, p99 {:7.1} µs",
            wasm.len(),
            micros(time.median),
            micros(time.p99)
        );
    }
}

/// From the bytes' hash to the result of a task that computes next to nothing.
fn started(engine: &Engine, module: &Module, calls: usize) {
    let id = module.id();
    let time = Quantiles::of(calls, || {
        let module = engine.cached(id).expect("cached");
        black_box(run(&module, black_box(b"")));
    });
    println!(
        "start a cached module, empty payload      median {:7.1} µs, p90 {:7.1} µs, p99 {:7.1} µs (goal: 100 µs)",
        micros(time.median),
        micros(time.p90),
        micros(time.p99)
    );
}

/// What a payload of 1 MB costs on top: SHA-256 of it in WebAssembly.
fn copied(module: &Module, calls: usize) {
    let payload = vec![7; 1_000_000];
    let time = Quantiles::of(calls.max(3), || {
        black_box(run(module, black_box(&payload)));
    });
    println!(
        "sha256.wasm on 1 MB                       median {:7.1} µs, {:.0} MB/s",
        micros(time.median),
        1e6 / micros(time.median)
    );
}

/// One call of each in turn, so that both meet the same machine.
fn beside_native(module: &Module, calls: usize) {
    assert_eq!(
        run(module, PAYLOAD).cast_unsigned(),
        multiply::task(PAYLOAD),
        "both compute the same"
    );
    let (mut in_wasm, mut in_native) = (Vec::new(), Vec::new());
    for _ in 0..calls {
        in_wasm.push(seconds(|| run(module, black_box(PAYLOAD)).cast_unsigned()));
        in_native.push(seconds(|| multiply::task(black_box(PAYLOAD))));
    }
    let (wasm, native) = (median(in_wasm), median(in_native));
    println!(
        "matmul: wasm {:.1} µs, native {:.1} µs, ratio {:.2} (goal: 1.5)",
        1e6 * wasm,
        1e6 * native,
        wasm / native
    );
}

fn seconds(task: impl FnOnce() -> u64) -> f64 {
    let began = Instant::now();
    black_box(task());
    began.elapsed().as_secs_f64()
}
