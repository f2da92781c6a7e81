//! Weights in the bytes of a `Weights` message: as they are, in half precision, or compressed.

use super::weights::{self, TensorsError};
use super::wire::{Codec, Tensor, Tensors, Type};
use crate::learn;
use bytes::Bytes;
use half::f16;
use prost::Message as _;
use sha2::{Digest, Sha256};
use std::io::{self, Read as _};

/// Fast; more takes longer and gains little on the noise in the lower bytes.
const ZSTD_LEVEL: i32 = 1;

/// The fields of a `Weights` message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodedTensors {
    /// A `Tensors` message, as the codec says.
    pub bytes: Bytes,
    /// SHA-256 of them.
    pub sha256: [u8; 32],
}

/// Why bytes are not the weights they should be. Nothing of them is used.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CodecError {
    /// More than is taken, perhaps only once decompressed.
    #[error("the weights are larger than {0} bytes")]
    TooLarge(usize),
    /// Not what was sent.
    #[error("the weights do not have the SHA-256 that came with them")]
    Hash,
    /// Not Zstandard.
    #[error("the weights cannot be decompressed: {0}")]
    Compression(String),
    /// Not protobuf.
    #[error("the weights are damaged: {0}")]
    Damaged(#[from] prost::DecodeError),
    /// Tensors that cannot be.
    #[error(transparent)]
    Tensors(#[from] TensorsError),
    /// A learner that diverged, or damage.
    #[error("tensor {0:?} holds a number that is not finite")]
    NotFinite(String),
}

/// The weights as they are sent.
pub fn to_wire(weights: &learn::Weights, codec: Codec) -> EncodedTensors {
    let mut message = weights::tensors(weights);
    let bytes = match codec {
        Codec::F32 => message.encode_to_vec(),
        Codec::F16 => {
            message.tensors.iter_mut().for_each(halve);
            message.encode_to_vec()
        }
        Codec::F32Zstd => {
            message.tensors.iter_mut().for_each(sort_bytes);
            let sorted = message.encode_to_vec();
            // Fails only without memory.
            zstd::bulk::compress(&sorted, ZSTD_LEVEL).expect("memory to compress in")
        }
    };
    let sha256 = Sha256::digest(&bytes).into();
    let bytes = bytes.into();
    EncodedTensors { bytes, sha256 }
}

/// Back from there, checked: hash, sizes, names, and that every number is finite. `largest` bounds what is taken, before
/// and after decompression.
pub fn from_wire(
    bytes: &Bytes,
    codec: Codec,
    sha256: &[u8],
    largest: usize,
) -> Result<learn::Weights, CodecError> {
    if bytes.len() > largest {
        return Err(CodecError::TooLarge(largest));
    }
    if Sha256::digest(bytes)[..] != *sha256 {
        return Err(CodecError::Hash);
    }
    let mut message = match codec {
        Codec::F32 | Codec::F16 => Tensors::decode(bytes.clone())?,
        Codec::F32Zstd => Tensors::decode(decompressed(bytes, largest)?)?,
    };
    match codec {
        Codec::F32 => {}
        Codec::F16 => message.tensors.iter_mut().for_each(double),
        Codec::F32Zstd => message.tensors.iter_mut().for_each(unsort_bytes),
    }
    let weights = weights::from_tensors(&message)?;
    let strange = weights.iter().find(|(_, tensor)| !tensor.values().are_finite());
    match strange.map(|(name, _)| name.to_owned()) {
        Some(name) => Err(CodecError::NotFinite(name)),
        None => Ok(weights),
    }
}

fn decompressed(bytes: &Bytes, largest: usize) -> Result<Bytes, CodecError> {
    let failed = |error: io::Error| CodecError::Compression(error.to_string());
    let decoder = zstd::stream::read::Decoder::with_buffer(bytes.as_ref()).map_err(failed)?;
    let mut plain = Vec::new();
    // One byte more, to tell what just fits from what does not. What is said about the size is not believed.
    let limit = (largest as u64).saturating_add(1);
    decoder.take(limit).read_to_end(&mut plain).map_err(failed)?;
    match plain.len() > largest {
        true => Err(CodecError::TooLarge(largest)),
        false => Ok(plain.into()),
    }
}

/// Single precision to half; a tensor with a number too large for that stays as it is.
fn halve(tensor: &mut Tensor) {
    if tensor.r#type() != Type::F32 {
        return;
    }
    let numbers = tensor.data.as_chunks().0.iter();
    let halves: Vec<f16> = numbers.map(|b| f16::from_f32(f32::from_le_bytes(*b))).collect();
    if halves.iter().all(|half| half.is_finite()) {
        tensor.set_type(Type::F16);
        tensor.data = halves.iter().flat_map(|half| half.to_le_bytes()).collect();
    }
}

fn double(tensor: &mut Tensor) {
    let (numbers, rest) = tensor.data.as_chunks();
    // An odd number of bytes is left as it is, and refused later.
    if tensor.r#type != i32::from(Type::F16) || !rest.is_empty() {
        return;
    }
    let singles = numbers.iter().map(|b| f16::from_le_bytes(*b).to_f32());
    tensor.data = singles.flat_map(f32::to_le_bytes).collect();
    tensor.set_type(Type::F32);
}

/// First the lowest bytes of all numbers, at the end the highest, which are alike and compress well.
fn sort_bytes(tensor: &mut Tensor) {
    let (bytes, width) = (&tensor.data, width(tensor));
    let plane = |n: usize| bytes.iter().skip(n).step_by(width).copied();
    tensor.data = (0..width).flat_map(plane).collect();
}

fn unsort_bytes(tensor: &mut Tensor) {
    let (bytes, width) = (&tensor.data, width(tensor));
    // No whole number of numbers: left as it is, and refused later.
    if bytes.len() % width != 0 {
        return;
    }
    let count = bytes.len() / width;
    let number = |n: usize| bytes.iter().skip(n).step_by(count).copied();
    tensor.data = (0..count).flat_map(number).collect();
}

/// Bytes of one number.
fn width(tensor: &Tensor) -> usize {
    match tensor.r#type() {
        Type::F32 => 4,
        Type::F16 => 2,
        Type::F64 => 8,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::learn::{LearnerName, Settings, Values, Weights, build};
    use proptest::prelude::*;

    const CODECS: [Codec; 3] = [Codec::F32, Codec::F16, Codec::F32Zstd];
    const LARGEST: usize = 4 << 20;

    fn dqn() -> Weights {
        build(LearnerName::Dqn, 1, &Settings::default())
            .unwrap()
            .weights()
    }

    fn one(values: Values) -> Weights {
        let mut weights = Weights::default();
        let tensor = learn::Tensor::new(vec![values.len()], values).unwrap();
        weights.insert("w".to_owned(), tensor);
        weights
    }

    fn back(weights: &Weights, codec: Codec) -> Result<Weights, CodecError> {
        let EncodedTensors { bytes, sha256 } = to_wire(weights, codec);
        from_wire(&bytes, codec, &sha256, LARGEST)
    }

    #[test]
    fn exact_codecs_are_exact_and_the_others_smaller() {
        let weights = dqn();
        assert_eq!(back(&weights, Codec::F32).unwrap(), weights);
        assert_eq!(back(&weights, Codec::F32Zstd).unwrap(), weights);
        let size = |codec| to_wire(&weights, codec).bytes.len() as f64;
        assert!(size(Codec::F16) < 0.55 * size(Codec::F32));
        assert!(size(Codec::F32Zstd) < 0.95 * size(Codec::F32));
        assert_eq!(to_wire(&weights, Codec::F32).sha256, weights::sha256(&weights));
    }

    #[test]
    fn half_precision_keeps_11_bits_double_precision_and_what_is_too_large() {
        let fine = back(&one(Values::F32(vec![1.0 / 3.0, -2.5])), Codec::F16).unwrap();
        let Values::F32(values) = fine.get("w").unwrap().values() else {
            panic!("they were single")
        };
        assert!(
            (values[0] - 1.0 / 3.0).abs() < 2e-4 && values[1] == -2.5,
            "{values:?}"
        );
        for exact in [Values::F32(vec![1e6, 0.1]), Values::F64(vec![0.1])] {
            assert_eq!(back(&one(exact.clone()), Codec::F16).unwrap(), one(exact));
        }
    }

    #[test]
    fn what_is_not_finite_too_large_or_not_what_was_sent_is_refused() {
        for codec in CODECS {
            let error = back(&one(Values::F32(vec![1.0, f32::NAN])), codec).unwrap_err();
            assert_eq!(error, CodecError::NotFinite("w".to_owned()), "{codec:?}");
            let EncodedTensors { bytes, sha256 } = to_wire(&dqn(), codec);
            let too_large = from_wire(&bytes, codec, &sha256, bytes.len() - 1);
            assert!(matches!(too_large, Err(CodecError::TooLarge(_))), "{codec:?}");
            let wrong = from_wire(&bytes, codec, &[0; 32], LARGEST);
            assert_eq!(wrong, Err(CodecError::Hash), "{codec:?}");
            assert_eq!(from_wire(&bytes, codec, &[], LARGEST), Err(CodecError::Hash));
        }
    }

    #[test]
    fn a_few_bytes_that_decompress_to_many_are_refused() {
        let bomb: Bytes = zstd::bulk::compress(&vec![0; 64 << 20], 1).unwrap().into();
        assert!(bomb.len() < 10_000);
        let refused = from_wire(&bomb, Codec::F32Zstd, &Sha256::digest(&bomb), 1 << 20);
        assert_eq!(refused, Err(CodecError::TooLarge(1 << 20)));
    }

    /// As from a sender that hashes whatever it sends.
    fn taken(bytes: Vec<u8>, codec: Codec) -> Result<Weights, CodecError> {
        let sha256 = Sha256::digest(&bytes);
        from_wire(&bytes.into(), codec, &sha256, 1 << 16)
    }

    proptest! {
        #[test]
        fn any_numbers_come_back(singles: Vec<f32>, doubles: Vec<f64>) {
            let mut weights = one(Values::F32(singles.into_iter().filter(|v| v.is_finite()).collect()));
            let doubles: Vec<f64> = doubles.into_iter().filter(|v| v.is_finite()).collect();
            let doubles = learn::Tensor::new(vec![doubles.len(), 1], Values::F64(doubles)).unwrap();
            weights.insert("d".to_owned(), doubles);
            for codec in [Codec::F32, Codec::F32Zstd] {
                prop_assert_eq!(back(&weights, codec).unwrap(), weights.clone());
            }
            prop_assert!(back(&weights, Codec::F16).is_ok());
        }

        #[test]
        fn random_bytes_never_panic(bytes: Vec<u8>) {
            for codec in CODECS {
                let _ = taken(bytes.clone(), codec);
            }
        }

        #[test]
        fn damaged_weights_never_panic_and_are_finite(at: prop::sample::Index, bit in 0..8_u8, cut: bool) {
            let weights = one(Values::F32((0..50).map(|n| n as f32 / 7.0).collect()));
            for codec in CODECS {
                let mut bytes = to_wire(&weights, codec).bytes.to_vec();
                let at = at.index(bytes.len());
                match cut {
                    true => bytes.truncate(at),
                    false => bytes[at] ^= 1u8 << bit,
                }
                if let Ok(weights) = taken(bytes, codec) {
                    prop_assert!(weights.iter().all(|(_, tensor)| tensor.values().are_finite()));
                }
            }
        }
    }
}
