//! Samples of what parsers are given (`hw/tests/corpus/`, one input per file, as fuzzers keep them), and what may become
//! of them on the way: cut, doubled, flipped, spliced, with absurd numbers in them.
//!
//! All samples are made up for this purpose. A new one is a new file; an input that once broke a parser belongs there.

use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::TestRunner;
use std::path::Path;

/// One step away from a sample.
#[derive(Clone, Debug)]
enum Mutation {
    Cut(Index),
    Flip(Index, u8),
    Insert(Index, Vec<u8>),
    Remove(Index, usize),
    Repeat(Index, usize),
    /// Puts this in the place of the number that follows.
    Number(Index, &'static [u8]),
}

/// What parsers of numbers stumble over.
const NUMBERS: [&[u8]; 12] = [
    b"",
    b"-1",
    b"+5",
    b"0",
    b"nan",
    b"inf",
    b"1e999",
    b"0x10",
    b"4294967296",
    b"99999999999999999999999",
    b"1.2.3",
    "٣".as_bytes(), // a digit, though not an ASCII one
];

/// Where a change begins, in a text that may be empty.
fn at(index: &Index, text: &[u8]) -> usize {
    index.index(text.len() + 1)
}

impl Mutation {
    fn apply(&self, text: &mut Vec<u8>) {
        match self {
            Self::Cut(index) => text.truncate(at(index, text)),
            Self::Flip(index, bits) => {
                let i = at(index, text);
                text.iter_mut().skip(i).take(1).for_each(|byte| *byte ^= bits);
            }
            Self::Insert(index, bytes) => {
                let i = at(index, text);
                text.splice(i..i, bytes.iter().copied());
            }
            Self::Remove(index, length) => {
                let i = at(index, text);
                text.drain(i..text.len().min(i + length));
            }
            Self::Repeat(index, length) => {
                let i = at(index, text);
                let part = text[i..text.len().min(i + length)].to_vec();
                text.splice(i..i, part);
            }
            Self::Number(index, number) => {
                let from = at(index, text);
                let is_digit = |byte: &u8| byte.is_ascii_digit();
                let Some(start) = text[from..].iter().position(is_digit) else {
                    return;
                };
                let start = from + start;
                let length = text[start..].iter().take_while(|byte| is_digit(byte)).count();
                text.splice(start..start + length, number.iter().copied());
            }
        }
    }
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let place = any::<Index>;
    prop_oneof![
        place().prop_map(Mutation::Cut),
        (place(), 1u8..).prop_map(|(i, bits)| Mutation::Flip(i, bits)),
        (place(), proptest::collection::vec(any::<u8>(), 1..8)).prop_map(|(i, b)| Mutation::Insert(i, b)),
        (place(), 1usize..20).prop_map(|(i, n)| Mutation::Remove(i, n)),
        (place(), 1usize..40).prop_map(|(i, n)| Mutation::Repeat(i, n)),
        (place(), select(&NUMBERS[..])).prop_map(|(i, number)| Mutation::Number(i, number)),
    ]
}

/// The samples of one parser.
pub fn samples(parser: &str) -> Vec<Vec<u8>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/corpus")
        .join(parser);
    let mut files: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files.iter().map(|file| std::fs::read(file).unwrap()).collect()
}

/// Runs `test` on every sample as it is, and on so many that are not.
pub fn run(parser: &str, cases: u32, test: impl Fn(&[u8]) -> Result<(), TestCaseError>) {
    let samples = samples(parser);
    assert!(samples.len() > 3, "{parser}: {} samples", samples.len());
    for sample in &samples {
        test(sample)
            .unwrap_or_else(|error| panic!("{parser}: {:?}: {error}", String::from_utf8_lossy(sample)));
    }
    let input = (select(samples), proptest::collection::vec(mutation(), 1..5));
    let mut runner = TestRunner::new(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(cases)
    });
    let outcome = runner.run(&input, |(mut text, mutations)| {
        mutations.iter().for_each(|mutation| mutation.apply(&mut text));
        test(&text)
    });
    if let Err(error) = outcome {
        panic!("{parser}: {error}");
    }
}
