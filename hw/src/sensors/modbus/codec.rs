//! Registers to watts, and which registers to ask for.
//!
//! A register is 16 bits, big-endian on the wire (Modbus application protocol 1.1b3). How two of them make a 32-bit
//! value is each maker's choice.

use super::meters::{Field, Format};

/// The function code a register is read with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Function {
    /// 3: holding registers.
    Holding,
    /// 4: input registers.
    Input,
}

/// Width and type of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Number {
    /// Unsigned, one register.
    U16,
    /// Signed, one register.
    I16,
    /// Unsigned, two registers.
    U32,
    /// Signed, two registers.
    I32,
    /// IEEE 754 single precision, two registers.
    F32,
}

impl Number {
    /// How many registers it takes.
    pub fn words(self) -> u16 {
        match self {
            Self::U16 | Self::I16 => 1,
            Self::U32 | Self::I32 | Self::F32 => 2,
        }
    }
}

/// Which half of a 32-bit value comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WordOrder {
    /// The more significant one.
    HighFirst,
    /// The less significant one.
    LowFirst,
}

/// The value in `words`, in watts; `None` if their number does not fit the type.
pub fn watts(words: &[u16], format: Format) -> Option<f64> {
    let raw = match (format.number, words) {
        (Number::U16, &[word]) => f64::from(word),
        (Number::I16, &[word]) => f64::from(word as i16),
        (Number::U32, &[a, b]) => f64::from(join(a, b, format.words)),
        (Number::I32, &[a, b]) => f64::from(join(a, b, format.words) as i32),
        (Number::F32, &[a, b]) => f64::from(f32::from_bits(join(a, b, format.words))),
        _ => return None,
    };
    Some(raw * format.scale)
}

fn join(first: u16, second: u16, order: WordOrder) -> u32 {
    let (high, low) = match order {
        WordOrder::HighFirst => (first, second),
        WordOrder::LowFirst => (second, first),
    };
    u32::from(high) << 16 | u32::from(low)
}

/// Whether a meter can have meant this: finite, and within `max_w` in either direction (negative is export).
/// Meters are known to send phantom values now and then; one such spike would outweigh hours of a small board.
pub fn is_plausible(watts: f64, max_w: f64) -> bool {
    watts.is_finite() && watts.abs() <= max_w
}

/// One read request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// First register.
    pub start: u16,
    /// Number of registers.
    pub count: u16,
}

/// The requests that cover all fields: the block where the meter wants one, else one per run of adjacent fields.
/// Registers in between are not asked for, because some meters refuse a range with a hole in it.
pub fn requests(fields: &[Field], number: Number, block: Option<(u16, u16)>) -> Vec<Request> {
    if let Some((start, count)) = block {
        return vec![Request { start, count }];
    }
    let mut starts: Vec<u16> = fields.iter().map(|field| field.register).collect();
    starts.sort_unstable();
    let mut requests: Vec<Request> = Vec::new();
    for start in starts {
        match requests.last_mut() {
            Some(last) if u32::from(last.start) + u32::from(last.count) == u32::from(start) => {
                last.count += number.words();
            }
            _ => requests.push(Request {
                start,
                count: number.words(),
            }),
        }
    }
    requests
}

/// The words of one field among the answer to `request`.
pub fn cut<'a>(request: Request, answer: &'a [u16], field: &Field, number: Number) -> Option<&'a [u16]> {
    let from = usize::from(field.register.checked_sub(request.start)?);
    answer.get(from..from + usize::from(number.words()))
}

#[cfg(test)]
mod tests {
    use super::super::meters::{METERS, find};
    use super::*;
    use proptest::prelude::*;

    fn format(number: Number, words: WordOrder) -> Format {
        Format {
            function: Function::Input,
            number,
            words,
            scale: 1.0,
        }
    }

    #[test]
    fn the_example_reply_of_the_pzem_data_sheet_is_220_watts() {
        let answer = [0x0898, 0x03E8, 0, 0x0898, 0, 0, 0, 0x01F4, 0x0064, 0];
        let meter = find("pzem-016").unwrap();
        let request = requests(meter.fields, meter.format.number, meter.block)[0];
        assert_eq!(request, Request { start: 0, count: 10 });
        let words = cut(request, &answer, &meter.fields[0], meter.format.number).unwrap();
        assert!((watts(words, meter.format).unwrap() - 220.0).abs() < 1e-9);
    }

    #[test]
    fn adjacent_fields_share_a_request_and_holes_are_not_asked_for() {
        let fields = find("sdm630").unwrap().fields;
        let asked = requests(fields, Number::F32, None);
        assert_eq!(
            asked,
            [
                Request {
                    start: 0x0C,
                    count: 6
                },
                Request {
                    start: 0x34,
                    count: 2
                }
            ]
        );
        assert_eq!(
            cut(asked[0], &[1, 2, 3, 4, 5, 6], &fields[2], Number::F32),
            Some(&[3, 4][..])
        );
        assert_eq!(cut(asked[0], &[1, 2, 3], &fields[2], Number::F32), None);
        assert_eq!(cut(asked[1], &[1, 2], &fields[1], Number::F32), None);
    }

    #[test]
    fn no_request_exceeds_the_fifty_registers_every_meter_grants() {
        for meter in METERS {
            for request in requests(meter.fields, meter.format.number, meter.block) {
                assert!(request.count <= 50, "{meter:?}");
            }
        }
    }

    #[test]
    fn phantoms_are_implausible_and_export_is_not() {
        assert!(is_plausible(-1500.0, 3000.0) && is_plausible(0.0, 3000.0));
        for phantom in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 3000.1, -1e30] {
            assert!(!is_plausible(phantom, 3000.0), "{phantom}");
        }
    }

    proptest! {
        #[test]
        fn values_survive_in_either_word_order(bits: u32, word: u16) {
            let bytes = bits.to_be_bytes();
            let high = u16::from_be_bytes([bytes[0], bytes[1]]);
            let low = u16::from_be_bytes([bytes[2], bytes[3]]);
            for (pair, order) in [([high, low], WordOrder::HighFirst), ([low, high], WordOrder::LowFirst)] {
                let value = |number| watts(&pair, format(number, order)).unwrap();
                prop_assert_eq!(value(Number::U32), f64::from(u32::from_be_bytes(bytes)));
                prop_assert_eq!(value(Number::I32), f64::from(i32::from_be_bytes(bytes)));
                let float = f32::from_be_bytes(bytes);
                prop_assert!(value(Number::F32) == f64::from(float) || float.is_nan());
            }
            prop_assert_eq!(watts(&[word], format(Number::U16, WordOrder::HighFirst)), Some(f64::from(word)));
            let signed = f64::from(i16::from_be_bytes(word.to_be_bytes()));
            prop_assert_eq!(watts(&[word], format(Number::I16, WordOrder::LowFirst)), Some(signed));
        }

        #[test]
        fn an_answer_of_another_length_is_no_value(
            words in proptest::collection::vec(any::<u16>(), 0..130), start: u16, count in 1u16..130, register: u16,
        ) {
            for number in [Number::U16, Number::I16, Number::U32, Number::I32, Number::F32] {
                let value = watts(&words, format(number, WordOrder::HighFirst));
                prop_assert_eq!(value.is_some(), words.len() == usize::from(number.words()));
                let field = Field { rail: "x", register };
                let cut = cut(Request { start, count }, &words, &field, number);
                prop_assert!(cut.is_none_or(|cut| cut.len() == usize::from(number.words())));
            }
        }

        #[test]
        fn requests_cover_every_field(registers in proptest::collection::btree_set(0u16..500, 1..10)) {
            let fields: Vec<Field> =
                registers.iter().map(|r| Field { rail: "x", register: r * 2 }).collect();
            let asked = requests(&fields, Number::F32, None);
            let count: u16 = asked.iter().map(|r| r.count).sum();
            prop_assert_eq!(usize::from(count), 2 * fields.len());
            for field in &fields {
                let answers = |r: &&Request| cut(**r, &vec![0; usize::from(r.count)], field, Number::F32).is_some();
                prop_assert_eq!(asked.iter().filter(answers).count(), 1);
            }
        }
    }
}
