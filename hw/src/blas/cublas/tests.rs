//! cuBLAS against libraries of our own that stand in for it and for the CUDA runtime.

use super::*;
use crate::blas::stub::Stub;

/// A stub of both; `how` is how they misbehave, empty for well. None, with a note, without a C compiler.
fn stub(how: &str) -> Option<Stub> {
    let stub = Stub::empty();
    let source = include_str!("../stubs/cuda.c");
    let built = stub.compile("libcudart.so", source, &["CUDART", how])
        && stub.compile("libcublas.so", source, &["CUBLAS", how]);
    built.then_some(stub)
}

fn file(stub: &Stub, name: &str) -> Vec<String> {
    vec![stub.path(name).to_str().unwrap().to_owned()]
}

fn pairs(stub: &Stub) -> [Pair; 1] {
    [Pair {
        cublas: file(stub, "libcublas.so"),
        cudart: file(stub, "libcudart.so"),
    }]
}

/// The message of a stub that misbehaves so.
fn told(how: &str) -> Option<String> {
    let stub = stub(how)?;
    Some(load_from(&pairs(&stub)).map(drop).unwrap_err().to_string())
}

/// The calls that `work` makes.
fn calls(stub: &Stub, work: impl FnOnce()) -> Vec<String> {
    std::fs::write(stub.path("calls"), "").unwrap();
    work();
    stub.last_call().lines().map(str::to_owned).collect()
}

#[test]
fn a_product_swaps_the_operands_and_frees_what_it_took() {
    let Some(stub) = stub("") else { return };
    let engine = load_from(&pairs(&stub)).unwrap();
    assert_eq!(engine.name(), "cuBLAS 11.6.3 (Stub Orin)");
    let mut c = [0.0; 4];
    let made = calls(&stub, || {
        engine
            .sgemm(2, &[1.0, 2.0, 3.0, 4.0], &[5.0, 6.0, 7.0, 8.0], &mut c, 4)
            .unwrap();
    });
    assert_eq!(c, [19.0, 22.0, 43.0, 50.0]);
    assert_eq!(
        made,
        [
            "malloc 16",
            "copy 1 16",
            "malloc 16",
            "copy 1 16",
            "malloc 16",
            "cublasSgemm_v2 handle 0 0 2 2 2 2 2 2 1 0",
            "copy 2 16",
            "free",
            "free",
            "free"
        ]
    );
    let made = calls(&stub, || {
        engine.dgemm(1, &[3.0], &[4.0], &mut [0.0], 1).unwrap();
    });
    assert_eq!(made[5], "cublasDgemm_v2 handle 0 0 1 1 1 1 1 1 1 0");
    assert_eq!(calls(&stub, || drop(engine)), ["destroy"]);
}

#[test]
fn repeated_products_are_timed_by_events_and_move_nothing() {
    let Some(stub) = stub("") else { return };
    let engine = load_from(&pairs(&stub)).unwrap();
    let (a, b) = (vec![1.0; 9], vec![2.0; 9]);
    let mut repeat = engine.repeat_dgemm(3, &a, &b, 1).unwrap();
    let made = calls(&stub, || {
        assert_eq!(repeat(3).unwrap(), Duration::from_micros(2500));
    });
    let product = "cublasDgemm_v2 handle 0 0 3 3 3 3 3 3 1 0";
    assert_eq!(made, ["record", product, product, product, "record"]);
    assert_eq!(calls(&stub, || drop(repeat)), ["free", "free", "free"]);
    assert!(engine.repeat_sgemm(3, &[0.0; 8], &[0.0; 9], 1).is_err());
}

#[test]
fn what_fails_is_told() {
    for (how, words) in [
        ("NO_DEVICE", "no CUDA device"),
        ("OLD_DRIVER", "driver is for CUDA 10.2, older"),
        ("OUT_OF_MEMORY", "out of memory"),
        ("NO_HANDLE", "status 1"),
        ("WRONG_ARCH", "does not support this GPU"),
        ("WRONG", "is wrong"),
        ("CRASH", "crashed"),
    ] {
        let Some(message) = told(how) else { return };
        assert!(message.contains(words), "{how}: {message}");
    }
}

#[test]
fn without_a_runtime_its_name_is_told() {
    let Some(stub) = stub("") else { return };
    let pair = Pair {
        cublas: file(&stub, "libcublas.so"),
        cudart: vec!["libcudart.so.99".to_owned()],
    };
    let message = load_from(&[pair]).map(drop).unwrap_err().to_string();
    assert!(
        message.starts_with("the CUDA runtime: not installed (no libcudart.so.99)"),
        "{message}"
    );
}

#[test]
fn a_broken_file_says_more_than_one_that_is_not_there() {
    let broken = Stub::empty();
    std::fs::write(broken.path("libcublas.so"), "not a library at all").unwrap();
    let pair = |name: String| Pair {
        cublas: vec![name],
        cudart: Vec::new(),
    };
    let broken = file(&broken, "libcublas.so").remove(0);
    let pairs = [
        pair("libcublas.so.98".to_owned()),
        pair(broken),
        pair("libcublas.so.97".to_owned()),
    ];
    let message = load_from(&pairs).map(drop).unwrap_err().to_string();
    assert!(
        message.contains("broken") && message.contains("nvidia"),
        "{message}"
    );
}
