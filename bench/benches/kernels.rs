//! What a round of each kernel costs, and how fast payloads are made.
#![allow(missing_docs)] // criterion_group! makes an undocumented public function.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use hwmeter::task::set::payload;
use hwmeter::task::{self, Content, Kernel, Speed, Task, Work};
use std::hint::black_box;

/// Rounds in one measurement: enough to make the cost of starting a kernel small.
const ROUNDS: u64 = 100;

fn rounds(c: &mut Criterion) {
    let mut group = c.benchmark_group("round");
    group.throughput(Throughput::Elements(ROUNDS));
    for &kernel in Kernel::ALL {
        let work = Work::one(kernel, ROUNDS, 1);
        group.bench_function(kernel.name(), |b| {
            b.iter(|| task::run(black_box(&work), b"payload", Speed::FULL, &|| false));
        });
    }
    group.finish();
}

fn payloads(c: &mut Criterion) {
    let payload_bytes = 1_000_000;
    let task = Task {
        id: 0,
        content: Content::Fill(Kernel::Fft),
        cycles: 1,
        seed: 1,
        payload_bytes,
        deadline_s: 1.0,
    };
    let bytes = payload(&task);
    let no_rounds = Work::one(Kernel::Sha256, 0, 1);

    let mut group = c.benchmark_group("payload");
    group.throughput(Throughput::Bytes(payload_bytes));
    group.bench_function("make", |b| b.iter(|| payload(black_box(&task))));
    group.bench_function("hash", |b| {
        b.iter(|| task::run(&no_rounds, black_box(&bytes), Speed::FULL, &|| false));
    });
    group.finish();
}

criterion_group!(benches, rounds, payloads);
criterion_main!(benches);
