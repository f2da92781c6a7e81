//! Good modules give their result; hostile ones get their own error, and the engine goes on.
#![allow(clippy::unwrap_used)]

use super::check::{MAX_ARITY, MAX_FUNCTION_BYTES, MAX_FUNCTIONS, MAX_LOOP_DEPTH, MAX_MODULE_BYTES, check};
use super::*;
use crate::task::pacer::{Speed, thread_cpu_time};
use std::cell::Cell;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

static ENGINE: LazyLock<Engine> = LazyLock::new(|| Engine::new().unwrap());

const MEMORY_BYTES: usize = 16 << 20;
const SHA256: &[u8] = include_bytes!("../../../tests/wasm/examples/sha256.wasm");
const MATMUL: &[u8] = include_bytes!("../../../tests/wasm/examples/matmul.wasm");

/// A module that exports a page of memory as `memory`, besides what `rest` holds.
fn module(rest: &str) -> Vec<u8> {
    wat::parse_str(format!("(module (memory (export \"memory\") 1) {rest})")).unwrap()
}

/// One whose `run` is `body`.
fn body(body: &str) -> Vec<u8> {
    module(&format!(
        "(func (export \"run\") (param $ptr i32) (param $len i32) (result i64) {body})"
    ))
}

fn never() -> bool {
    false
}

fn run(wasm: &[u8], payload: &[u8]) -> Result<Done, WasmError> {
    run_until(wasm, payload, &never)
}

fn run_until(wasm: &[u8], payload: &[u8], stop: &dyn Fn() -> bool) -> Result<Done, WasmError> {
    let module = ENGINE.load(wasm, &never)?;
    module.run(payload, MEMORY_BYTES, Speed::FULL, stop)
}

fn result(wasm: &[u8], payload: &[u8]) -> i64 {
    run(wasm, payload).unwrap().result
}

#[track_caller]
fn fails(wasm: &[u8], code: &str, says: &str) {
    // An endless loop that nothing else stops would hang the test.
    let give_up = Instant::now() + Duration::from_secs(20);
    let error = run_until(wasm, b"payload", &|| Instant::now() > give_up).unwrap_err();
    assert_eq!(error.code(), code, "{error}");
    assert!(error.to_string().contains(says), "{error}");
}

#[test]
fn the_c_example_agrees_with_sha256sum() {
    // FIPS 180-4: "abc", nothing, and 448 bits; then a million times "a".
    let cases: [(&[u8], u64); 4] = [
        (b"abc", 0xba78_16bf_8f01_cfea),
        (b"", 0xe3b0_c442_98fc_1c14),
        (
            b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
            0x248d_6a61_d206_38b8,
        ),
        (&[b'a'; 1_000_000], 0xcdc7_6e5c_9914_fb92),
    ];
    for (payload, digest) in cases {
        assert_eq!(result(SHA256, payload).cast_unsigned(), digest);
    }
}

#[path = "../../../tests/wasm/examples/multiply.rs"]
mod multiply;

#[test]
fn the_rust_example_agrees_with_the_same_source_made_native() {
    for payload in [&b""[..], b"x", b"hwmeter", &[255; 100_000]] {
        assert_eq!(result(MATMUL, payload).cast_unsigned(), multiply::task(payload));
    }
}

#[test]
fn a_payload_without_alloc_stands_on_pages_of_its_own() {
    let ptr = body("(i64.extend_i32_u (local.get $ptr))");
    assert_eq!(result(&ptr, b""), 65536);
    assert_eq!(result(&ptr, b"x"), 65536);
    let pages = body("(i64.extend_i32_u (memory.size))");
    for (bytes, expected) in [(0, 1), (1, 2), (65536, 2), (65537, 3)] {
        assert_eq!(result(&pages, &vec![0; bytes]), expected, "{bytes} bytes");
    }
    let last = body("(i64.load8_u (i32.sub (i32.add (local.get $ptr) (local.get $len)) (i32.const 1)))");
    assert_eq!(result(&last, b"abc"), i64::from(b'c'));
}

#[test]
fn start_initialize_alloc_and_run_come_in_this_order() {
    let steps = r#"
        (global $steps (mut i64) (i64.const 0))
        (func $step (param i64)
            (global.set $steps (i64.add (i64.mul (global.get $steps) (i64.const 10)) (local.get 0))))
        (func $start (call $step (i64.const 1)))
        (start $start)
        (func (export "_initialize") (call $step (i64.const 2)))
        (func (export "alloc") (param i32) (result i32) (call $step (i64.const 3)) (i32.const 512))
        (func (export "run") (param i32 i32) (result i64)
            (i64.add (i64.mul (global.get $steps) (i64.const 1000)) (i64.load8_u (local.get 0))))"#;
    assert_eq!(result(&module(steps), &[7]), 123_007);
    assert_eq!(
        result(&module(steps), &[7]),
        123_007,
        "no run sees another's globals"
    );
}

#[test]
fn an_alloc_without_room_is_told() {
    let alloc = |at: &str| {
        module(&format!(
            "(func (export \"alloc\") (param i32) (result i32) (i32.const {at}))
             (func (export \"run\") (param i32 i32) (result i64) (i64.const 0))"
        ))
    };
    fails(&alloc("0"), "payload_no_room", "`alloc(7)` returned 0");
    fails(&alloc("65530"), "payload_no_room", "0xfffa, beyond its end");
    fails(&alloc("-1"), "payload_no_room", "0xffffffff, beyond its end");
    assert!(run(&alloc("65529"), b"payload").is_ok());
    assert!(run(&alloc("0"), b"").is_ok());
    let full = wat::parse_str(
        "(module (memory (export \"memory\") 1 1) (func (export \"run\") (param i32 i32) (result i64) (i64.const 0)))",
    );
    fails(&full.unwrap(), "payload_no_room", "7 bytes");
}

#[test]
fn what_is_no_module_or_no_task_is_refused() {
    fails(b"", "module_invalid", "");
    fails(b"\x7fELF", "module_invalid", "");
    fails(&SHA256[..SHA256.len() - 3], "module_invalid", "");
    for at in [8, 20, 60] {
        let mut damaged = SHA256.to_vec();
        damaged[at] ^= 0xff;
        assert!(run(&damaged, b"").is_err(), "byte {at}");
    }
    let run = "(func (export \"run\") (param i32 i32) (result i64) (i64.const 0))";
    let no_memory = wat::parse_str(format!("(module {run})")).unwrap();
    fails(&no_memory, "module_export", "`memory`");
    let wrong_memory = wat::parse_str(format!(
        "(module (global (export \"memory\") i32 (i32.const 0)) {run})"
    ));
    fails(&wrong_memory.unwrap(), "module_export", "`memory`");
    fails(&module(""), "module_export", "`run(ptr: i32, len: i32) -> i64`");
    let narrow = module("(func (export \"run\") (param i32 i32) (result i32) (i32.const 0))");
    fails(&narrow, "module_export", "`run`");
    let alloc = module(&format!(
        "{run} (func (export \"alloc\") (result i32) (i32.const 0))"
    ));
    fails(&alloc, "module_export", "`alloc(len: i32) -> i32`");
    let initialize = module(&format!("{run} (func (export \"_initialize\") (param i32))"));
    fails(&initialize, "module_export", "`_initialize()`");
}

#[test]
fn only_wasi_may_be_imported() {
    let importing = |import: &str| {
        wat::parse_str(format!(
            "(module {import} (memory (export \"memory\") 1)
                (func (export \"run\") (param i32 i32) (result i64) (i64.const 0)))"
        ))
        .unwrap()
    };
    let cases = [
        "(import \"env\" \"system\" (func (param i32) (result i32)))",
        "(import \"wasi_snapshot_preview1\" \"fd_write\" (func (param i64)))",
        "(import \"wasi_snapshot_preview1\" \"made_up\" (func))",
        "(import \"wasi_snapshot_preview1\" \"fd_write\" (global i32))",
        "(import \"wasi_unstable\" \"fd_write\" (func (param i32 i32 i32 i32) (result i32)))",
    ];
    for import in cases {
        fails(&importing(import), "module_import", "may not import");
    }
    let memory = wat::parse_str(
        "(module (import \"env\" \"memory\" (memory 1)) (export \"memory\" (memory 0))
            (func (export \"run\") (param i32 i32) (result i64) (i64.const 0)))",
    );
    fails(&memory.unwrap(), "module_import", "`memory` from `env`");
    let escape = "(import \"\\1b[31m\" \"\\1b[2J\" (func))";
    let error = run(&importing(escape), b"").unwrap_err().to_string();
    assert!(!error.contains('\x1b'), "{error:?}");
}

#[test]
fn switched_off_proposals_are_invalid() {
    let cases = [
        "(module (memory (export \"memory\") 1 1 shared))",
        "(module (memory (export \"memory\") i64 1))",
        "(module (memory (export \"memory\") 1) (memory 1))",
        "(module (func (param v128 v128) (result v128) (i8x16.relaxed_swizzle (local.get 0) (local.get 1))))",
        "(module (type (struct)))",
    ];
    for text in cases {
        fails(&wat::parse_str(text).unwrap(), "module_invalid", "");
    }
}

#[test]
fn endless_loops_are_stopped_wherever_they_are() {
    let run = "(func (export \"run\") (param i32 i32) (result i64) (i64.const 0))";
    let spin = "(loop (br 0))";
    let cases = [
        body("(loop (br 0)) (i64.const 0)"),
        module(&format!("{run} (func $s {spin}) (start $s)")),
        module(&format!("{run} (func (export \"_initialize\") {spin})")),
        module(&format!(
            "{run} (func (export \"alloc\") (param i32) (result i32) {spin} (i32.const 0))"
        )),
        // Calls without a loop: each doubles what is under it.
        module(
            "(func $f (param i32) (if (local.get 0) (then
                (call $f (i32.sub (local.get 0) (i32.const 1)))
                (call $f (i32.sub (local.get 0) (i32.const 1))))))
             (func (export \"run\") (param i32 i32) (result i64) (call $f (i32.const 60)) (i64.const 0))",
        ),
    ];
    for wasm in cases {
        let asked = Cell::new(0);
        let stop = || {
            asked.set(asked.get() + 1);
            asked.get() > 5
        };
        assert_eq!(run_until(&wasm, b"x", &stop), Err(WasmError::Stopped));
    }
}

#[test]
fn stop_is_asked_about_every_millisecond() {
    let spin = body("(loop (br 0)) (i64.const 0)");
    let asked = Cell::new(0u32);
    let began = thread_cpu_time();
    let stop = || {
        asked.set(asked.get() + 1);
        thread_cpu_time() - began > Duration::from_millis(80)
    };
    assert_eq!(run_until(&spin, b"", &stop), Err(WasmError::Stopped));
    // The thread that ticks shares the machine with all the other tests.
    assert!(asked.get() >= 16, "asked {} times", asked.get());
}

#[test]
fn a_task_already_stopped_does_not_begin() {
    assert_eq!(run_until(SHA256, b"", &|| true), Err(WasmError::Stopped));
}

#[test]
fn speed_changes_the_time_and_not_the_result() {
    let payload = vec![3; 2_000_000];
    let module = ENGINE.load(SHA256, &never).unwrap();
    let cpu = thread_cpu_time();
    let wall = Instant::now();
    let slow = module.run(&payload, MEMORY_BYTES, Speed::new(0.25).unwrap(), &never);
    let (cpu, wall) = (thread_cpu_time() - cpu, wall.elapsed());
    assert_eq!(slow, run(SHA256, &payload));
    assert!(wall >= cpu.mul_f64(3.5), "{wall:?} for {cpu:?} of CPU time");
}

#[test]
fn memory_bombs_end_at_the_limit() {
    let grow = body("(loop (drop (memory.grow (i32.const 16))) (br 0)) (i64.const 0)");
    fails(&grow, "memory_limit", "16777216");
    let at_once = body("(drop (memory.grow (i32.const 65000))) (i64.const 0)");
    fails(&at_once, "memory_limit", "it may have 16777216");
    // No 32-bit memory has so much, on any machine: the answer is the specification's.
    let beyond_32_bits = body("(i64.extend_i32_s (memory.grow (i32.const -1)))");
    assert_eq!(result(&beyond_32_bits, b""), -1);
    let large = wat::parse_str(
        "(module (memory (export \"memory\") 60000) (func (export \"run\") (param i32 i32) (result i64) (i64.const 0)))",
    );
    fails(&large.unwrap(), "memory_limit", "3932160000");
    let table =
        module("(table 3000000 funcref) (func (export \"run\") (param i32 i32) (result i64) (i64.const 0))");
    fails(&table, "memory_limit", "24065536");
    let tables = module(
        "(table 0 funcref) (func (export \"run\") (param i32 i32) (result i64)
            (loop (drop (table.grow (ref.null func) (i32.const 10000))) (br 0)) (i64.const 0))",
    );
    fails(&tables, "memory_limit", "");
}

#[test]
fn a_payload_counts_as_memory() {
    let payload = vec![0; MEMORY_BYTES];
    let error = run(SHA256, &payload).unwrap_err();
    assert_eq!(error.code(), "memory_limit");
    assert!(run(SHA256, &payload[..MEMORY_BYTES - (1 << 20)]).is_ok());
}

#[test]
fn a_maximum_of_its_own_is_an_answer_and_no_error() {
    let grow = wat::parse_str(
        "(module (memory (export \"memory\") 1 3)
            (func (export \"run\") (param i32 i32) (result i64) (i64.extend_i32_s (memory.grow (i32.const 5)))))",
    );
    assert_eq!(result(&grow.unwrap(), b""), -1);
    let done = run(&body("(i64.extend_i32_s (memory.grow (i32.const 5)))"), b"").unwrap();
    assert_eq!((done.result, done.memory_bytes), (1, 6 << 16));
}

#[test]
fn stack_bombs_end_at_the_limit() {
    let recursion = module(
        "(func $f (param i64) (result i64) (i64.add (call $f (local.get 0)) (i64.const 1)))
         (func (export \"run\") (param i32 i32) (result i64) (call $f (i64.const 0)))",
    );
    fails(&recursion, "stack_limit", "524288");
    let indirect = module(
        "(type $t (func)) (table 1 funcref) (elem (i32.const 0) $f) (func $f (call_indirect (type $t) (i32.const 0)))
         (func (export \"run\") (param i32 i32) (result i64) (call $f) (i64.const 0))",
    );
    fails(&indirect, "stack_limit", "524288");
}

#[test]
fn traps_are_told_by_their_kind() {
    fails(&body("unreachable"), "task_trapped", "unreachable");
    fails(
        &body("(i64.load (i32.const -8))"),
        "task_trapped",
        "out of bounds memory",
    );
    fails(
        &body("(i64.div_u (i64.const 1) (i64.const 0))"),
        "task_trapped",
        "divide by zero",
    );
    fails(
        &body("(i64.trunc_f64_s (f64.const nan))"),
        "task_trapped",
        "integer",
    );
    let run = "(func (export \"run\") (param i32 i32) (result i64) (i64.const 0))";
    let data = module(&format!("{run} (data (i32.const 65530) \"beyond the end\")"));
    fails(&data, "task_trapped", "out of bounds memory");
    let elements = module(&format!(
        "{run} (table 1 funcref) (func $f) (elem (i32.const 1) $f)"
    ));
    fails(&elements, "task_trapped", "out of bounds table");
    let null = module(
        "(type $t (func)) (table 1 funcref)
         (func (export \"run\") (param i32 i32) (result i64) (call_indirect (type $t) (i32.const 0)) (i64.const 0))",
    );
    fails(&null, "task_trapped", "uninitialized element");
}

#[test]
fn the_engine_outlives_all_of_them() {
    let bombs = [
        body("unreachable"),
        body("(loop (drop (memory.grow (i32.const 16))) (br 0)) (i64.const 0)"),
        module(
            "(func $f (export \"run\") (param i32 i32) (result i64) (call $f (i32.const 0) (i32.const 0)))",
        ),
    ];
    let expected = result(SHA256, b"abc");
    for bomb in bombs.iter().cycle().take(60) {
        assert!(run(bomb, b"").is_err());
        assert_eq!(result(SHA256, b"abc"), expected);
    }
}

#[test]
fn modules_that_would_take_too_long_to_compile_are_refused() {
    let mut long = body("(i64.const 0)");
    // A custom section fills it up.
    let bytes = MAX_MODULE_BYTES - long.len();
    long.push(0);
    long.extend([0x80 | (bytes & 0x7f) as u8, 0x80 | (bytes >> 7 & 0x7f) as u8]);
    long.extend([0x80 | (bytes >> 14 & 0x7f) as u8, (bytes >> 21) as u8]);
    long.resize(long.len() + bytes, 0);
    fails(&long, "module_too_large", "4194304");

    let nops = "nop ".repeat(MAX_FUNCTION_BYTES as usize);
    fails(
        &body(&format!("{nops} (i64.const 0)")),
        "module_too_complex",
        "bytes in one function",
    );
    let many = module(&"(func)".repeat(MAX_FUNCTIONS as usize + 1));
    fails(&many, "module_too_complex", "20001 functions");
    let params = module(&format!("(func (param{}))", " i64".repeat(MAX_ARITY + 1)));
    fails(&params, "module_too_complex", "33 parameters or results");
    let loops = |depth| {
        let (begin, end) = ("loop ".repeat(depth), "end ".repeat(depth));
        body(&format!("{begin} {end} {begin} {end} i64.const 0"))
    };
    assert!(check(&loops(MAX_LOOP_DEPTH)).is_ok());
    fails(
        &loops(MAX_LOOP_DEPTH + 1),
        "module_too_complex",
        "25 loops within each other",
    );

    let function =
        |locals: usize| format!("(func (local{}) {})", " i64".repeat(locals), &nops[..4 * 100_000]);
    assert!(check(&module(&function(60))).is_ok());
    fails(
        &module(&function(70)),
        "module_too_complex",
        "work in one function",
    );
    fails(
        &module(&function(60).repeat(9)),
        "module_too_complex",
        "over all functions",
    );
}

/// Each was found to take seconds or gigabytes: 16 kB of the first took 3.9 GB.
#[test]
fn what_makes_the_compiler_quadratic_is_refused_at_once() {
    let many = |count: usize, what: &str| what.repeat(count);
    let (i32s, gets) = (" i32".repeat(32), many(32, "local.get 0 "));
    let returning = |what: String| body(&format!("{what} i64.const 0"));
    let multi = |block: &str| {
        let unit = format!("{block} (param{i32s}) (result{i32s}) local.get 1 br_if 0 end ");
        returning(gets.clone() + &many(2000, &unit) + &many(32, "drop "))
    };
    let table = |count, depth| {
        let targets: String = (0..count).map(|i| format!("{} ", i % depth)).collect();
        let table = format!("local.get 0 br_table {targets}");
        returning(many(depth, "block ") + &table + &many(depth, "end "))
    };
    let calls = |count| {
        module(&format!(
            "(func $f (param{i32s}) (result{i32s}) unreachable)
             (func (export \"run\") (param i32 i32) (result i64) {gets} {} {} i64.const 0)",
            many(count, "call $f "),
            many(32, "drop "),
        ))
    };
    let loops = |count| returning(many(count, "loop local.get 1 br_if 0 end "));
    let results = |count| {
        returning(many(
            count,
            "local.get 1 if (result i32) local.get 1 else local.get 0 end drop ",
        ))
    };
    let deep = |count| {
        returning(many(count, "block (result i32) ") + "local.get 0 " + &many(count, "end ") + "drop ")
    };
    let stack =
        |height| returning(many(height, "local.get 0 ") + &many(2000, "block end ") + &many(height, "drop "));
    let began = Instant::now();
    for (what, wasm) in [
        ("blocks of 32 values", multi("block")),
        ("loops of 32 values", multi("loop")),
        ("a table of many ways", table(20_000, 100)),
        ("a table of more ways than the engine takes", table(130_000, 100)),
        ("calls of 32 values", calls(10_000)),
        ("loops one after the other", loops(4000)),
        ("results one after the other", results(5000)),
        ("results within each other", deep(10_000)),
        ("values that wait while much happens", stack(3000)),
    ] {
        let refused = check(&wasm).map_err(|error| error.code());
        assert_eq!(refused, Err("module_too_complex"), "{what}");
    }
    let took = began.elapsed();
    assert!(took < Duration::from_secs(5), "{took:?}");
    // What a compiler may well make is taken.
    for wasm in [
        table(1000, 100),
        calls(300),
        loops(400),
        results(1000),
        deep(500),
        stack(100),
    ] {
        assert!(check(&wasm).is_ok());
    }
}

/// A program that calls one WASI function and returns its error number, or `then` if there was none.
fn wasi(name: &str, params: &str, call: &str, then: &str) -> Vec<u8> {
    wat::parse_str(format!(
        "(module
            (import \"wasi_snapshot_preview1\" \"{name}\" (func $call (param {params}) (result i32)))
            (memory (export \"memory\") 1)
            (data (i32.const 16) \"\\20\\00\\00\\00\\05\\00\\00\\00\\40\\00\\00\\00\\03\\00\\00\\00\")
            (data (i32.const 32) \"hello\")
            (data (i32.const 64) \" x\\n\")
            (func (export \"run\") (param i32 i32) (result i64)
                (local $errno i32)
                (local.set $errno (call $call {call}))
                (if (result i64) (local.get $errno)
                    (then (i64.sub (i64.const 0) (i64.extend_i32_u (local.get $errno))))
                    (else {then}))))"
    ))
    .unwrap()
}

#[test]
fn output_is_kept_up_to_its_limit() {
    let write = |fd: &str| {
        wasi(
            "fd_write",
            "i32 i32 i32 i32",
            &format!("(i32.const {fd}) (i32.const 16) (i32.const 2) (i32.const 0)"),
            "(i64.load32_u (i32.const 0))",
        )
    };
    for fd in ["1", "2"] {
        let done = run(&write(fd), b"").unwrap();
        assert_eq!(done.result, 8);
        assert_eq!(done.output.kept, b"hello x\n");
        assert_eq!(done.output.dropped, 0);
    }
    assert_eq!(result(&write("3"), b""), -8, "EBADF");

    let much = wasi(
        "fd_write",
        "i32 i32 i32 i32",
        // The one buffer that stands in the payload: 60,000 bytes from address 0.
        "(i32.const 1) (local.get 0) (i32.const 2) (i32.const 0)",
        "(i64.load32_u (i32.const 0))",
    );
    let buffer = [0_u32.to_le_bytes(), 60_000_u32.to_le_bytes()].concat().repeat(2);
    let done = run(&much, &buffer).unwrap();
    assert_eq!(done.result, 120_000);
    assert_eq!(done.output.kept.len(), wasi::OUTPUT_BYTES);
    assert_eq!(done.output.dropped, 120_000 - wasi::OUTPUT_BYTES as u64);
    let beyond = [4_u32.to_le_bytes(), u32::MAX.to_le_bytes()].concat().repeat(2);
    assert_eq!(result(&much, &beyond), -21, "EFAULT");
}

#[test]
fn bad_pointers_and_counts_are_error_numbers() {
    let cases = [
        (
            "fd_write",
            "i32 i32 i32 i32",
            "(i32.const 1) (i32.const -4) (i32.const 2) (i32.const 0)",
            21,
        ),
        (
            "fd_write",
            "i32 i32 i32 i32",
            "(i32.const 1) (i32.const 0) (i32.const -1) (i32.const 0)",
            28,
        ),
        (
            "fd_write",
            "i32 i32 i32 i32",
            "(i32.const 1) (i32.const 16) (i32.const 2) (i32.const -1)",
            21,
        ),
        ("random_get", "i32 i32", "(i32.const 65535) (i32.const 2)", 21),
        ("random_get", "i32 i32", "(i32.const 0) (i32.const -1)", 28),
        (
            "clock_time_get",
            "i32 i64 i32",
            "(i32.const 0) (i64.const 0) (i32.const 65529)",
            21,
        ),
        ("fd_fdstat_get", "i32 i32", "(i32.const 9) (i32.const 0)", 8),
        ("fd_prestat_get", "i32 i32", "(i32.const 3) (i32.const 0)", 8),
        (
            "fd_seek",
            "i32 i64 i32 i32",
            "(i32.const 1) (i64.const 0) (i32.const 0) (i32.const 0)",
            70,
        ),
        (
            "path_open",
            "i32 i32 i32 i32 i32 i64 i64 i32 i32",
            "(i32.const 3) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i64.const 0) (i64.const 0) (i32.const 0) (i32.const 0)",
            52,
        ),
        (
            "sock_accept",
            "i32 i32 i32",
            "(i32.const 3) (i32.const 0) (i32.const 0)",
            52,
        ),
        (
            "poll_oneoff",
            "i32 i32 i32 i32",
            "(i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)",
            52,
        ),
    ];
    for (name, params, call, errno) in cases {
        assert_eq!(
            result(&wasi(name, params, call, "(i64.const 0)"), b""),
            -errno,
            "{name} {call}"
        );
    }
}

#[test]
fn clocks_and_random_numbers_come_from_the_payload_alone() {
    let time = wasi(
        "clock_time_get",
        "i32 i64 i32",
        "(i32.const 1) (i64.const 0) (i32.const 0)",
        "(drop (call $call (i32.const 0) (i64.const 0) (i32.const 8)))
         (i64.sub (i64.load (i32.const 8)) (i64.load (i32.const 0)))",
    );
    assert_eq!(result(&time, b""), 1000);
    let random = wasi(
        "random_get",
        "i32 i32",
        "(i32.const 0) (i32.const 8)",
        "(i64.load (i32.const 0))",
    );
    assert_eq!(result(&random, b"a"), result(&random, b"a"));
    assert_ne!(result(&random, b"a"), result(&random, b"b"));
    let none = wasi(
        "args_sizes_get",
        "i32 i32",
        "(i32.const 16) (i32.const 20)",
        "(i64.load (i32.const 16))",
    );
    assert_eq!(result(&none, b""), 0);
}

#[test]
fn proc_exit_ends_a_task_without_a_result() {
    let exit = wat::parse_str(
        "(module (import \"wasi_snapshot_preview1\" \"proc_exit\" (func $exit (param i32))) (memory (export \"memory\") 1)
            (func (export \"run\") (param i32 i32) (result i64) (call $exit (i32.const 3)) (i64.const 0)))",
    );
    assert_eq!(run(&exit.unwrap(), b""), Err(WasmError::Exited(3)));
}

#[test]
fn a_nan_has_one_bit_pattern() {
    for operation in ["f64.div", "f64.sub"] {
        let nan = body(&format!(
            "(i64.reinterpret_f64 ({operation} (f64.mul (f64.const inf) (f64.const 0)) (f64.const -nan:0x123456)))"
        ));
        assert_eq!(result(&nan, b""), 0x7ff8_0000_0000_0000);
    }
}

#[test]
fn a_module_is_compiled_once() {
    let engine = Engine::new().unwrap();
    let id = ModuleId::of(SHA256);
    assert!(engine.cached(id).is_none());
    let loaded: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| engine.load(SHA256, &never).unwrap()))
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    for module in &loaded {
        assert!(Arc::ptr_eq(module, &loaded[0]));
    }
    assert!(Arc::ptr_eq(&engine.cached(id).unwrap(), &loaded[0]));
    assert_eq!(loaded[0].id(), id);
}

#[test]
fn the_cache_is_bounded_by_bytes() {
    let one = ENGINE.load(&body("(i64.const -1)"), &never).unwrap().kept_bytes() as u64;
    let many = ENGINE
        .load(
            &module(&format!(
                "{} (func (export \"run\") (param i32 i32) (result i64) (i64.const 0))",
                "(func)".repeat(5000)
            )),
            &never,
        )
        .unwrap();
    let beside = many.kept_bytes() - many.compiled_bytes();
    assert!(
        beside >= 5000 * 32,
        "what is kept of each function beside its code: {beside}"
    );
    let engine = Engine::with_cache(4 * one).unwrap();
    let ids: Vec<_> = (0..12)
        .map(|i| {
            let wasm = body(&format!("(i64.const {i})"));
            engine.load(&wasm, &never).unwrap().id()
        })
        .collect();
    let kept = ids.iter().filter(|id| engine.cached(**id).is_some()).count();
    assert!((1..=4).contains(&kept), "{kept} kept");
    // One that is larger than all of the cache runs all the same.
    let engine = Engine::with_cache(1).unwrap();
    let module = engine.load(SHA256, &never).unwrap();
    assert!(engine.cached(module.id()).is_none());
    assert!(module.run(b"abc", MEMORY_BYTES, Speed::FULL, &never).is_ok());
}
