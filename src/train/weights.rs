//! A learner's weights as a `Tensors` message of `proto/train.proto`, and the SHA-256 by which they are compared.
//!
//! The message has the tensors in the order of their names and every number as it is, so the same weights always give
//! the same bytes. Other codecs change what is sent, never what is hashed here.

use super::wire::{Tensor, Tensors, Type};
use crate::learn::{self, Values, Weights};
use prost::Message as _;
use sha2::{Digest, Sha256};

/// Why a `Tensors` message is not the weights of any learner.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TensorsError {
    /// Another type than single and double precision.
    #[error("tensor {name:?} has numbers of type {number}, which this program does not know here")]
    Type {
        /// The tensor.
        name: String,
        /// Its type.
        number: i32,
    },
    /// The bytes are not as many as the shape says.
    #[error("tensor {name:?} has {bytes} bytes, which is not what its shape {shape:?} says")]
    Size {
        /// The tensor.
        name: String,
        /// How many there are.
        bytes: usize,
        /// What it says.
        shape: Vec<u64>,
    },
    /// One name, two tensors.
    #[error("there are two tensors {name:?}")]
    Twice {
        /// Their name.
        name: String,
    },
}

/// The message, numbers as they are.
pub fn tensors(weights: &Weights) -> Tensors {
    let one = |(name, tensor): (&str, &learn::Tensor)| {
        let number = match tensor.values() {
            Values::F32(_) => Type::F32,
            Values::F64(_) => Type::F64,
        };
        Tensor {
            name: name.to_owned(),
            shape: tensor.shape().iter().map(|n| *n as u64).collect(),
            r#type: number.into(),
            data: tensor.values().to_bytes().into(),
        }
    };
    Tensors {
        tensors: weights.iter().map(one).collect(),
    }
}

/// Back from there, in whatever order. Whether they fit a learner, and are finite, is for
/// [`Learner::set_weights`](learn::Learner::set_weights) to say.
pub fn from_tensors(tensors: &Tensors) -> Result<Weights, TensorsError> {
    let mut weights = Weights::default();
    for tensor in &tensors.tensors {
        let name = tensor.name.clone();
        if weights.get(&name).is_some() {
            return Err(TensorsError::Twice { name });
        }
        weights.insert(name, numbers(tensor)?);
    }
    Ok(weights)
}

/// SHA-256 of [`tensors`], encoded.
pub fn sha256(weights: &Weights) -> [u8; 32] {
    Sha256::digest(tensors(weights).encode_to_vec()).into()
}

/// A hash, or other bytes that are printed: lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn numbers(tensor: &Tensor) -> Result<learn::Tensor, TensorsError> {
    let name = || tensor.name.clone();
    let size_error = || TensorsError::Size {
        name: name(),
        bytes: tensor.data.len(),
        shape: tensor.shape.clone(),
    };
    let (values, rest) = match Type::try_from(tensor.r#type) {
        Ok(Type::F32) => {
            let (numbers, rest) = tensor.data.as_chunks();
            let numbers = numbers.iter().map(|bytes| f32::from_le_bytes(*bytes));
            (Values::F32(numbers.collect()), rest)
        }
        Ok(Type::F64) => {
            let (numbers, rest) = tensor.data.as_chunks();
            let numbers = numbers.iter().map(|bytes| f64::from_le_bytes(*bytes));
            (Values::F64(numbers.collect()), rest)
        }
        Ok(Type::F16) | Err(_) => {
            let number = tensor.r#type;
            return Err(TensorsError::Type { name: name(), number });
        }
    };
    let shape: Result<Vec<usize>, _> = tensor.shape.iter().map(|n| usize::try_from(*n)).collect();
    let shape = shape.ok().filter(|_| rest.is_empty()).ok_or_else(size_error)?;
    learn::Tensor::new(shape, values).ok_or_else(size_error)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::learn::environment::tasks;
    use crate::learn::tests::run;
    use crate::learn::{LearnerName, Settings, build};
    use clap::ValueEnum;

    fn weights(name: LearnerName) -> Weights {
        let mut learner = build(name, 1, &Settings::default()).unwrap();
        run(&mut *learner, &tasks(20, 1)).unwrap();
        learner.weights()
    }

    #[test]
    fn weights_come_back_bit_for_bit_in_the_order_of_their_names() {
        for name in LearnerName::value_variants() {
            let weights = weights(*name);
            let message = tensors(&weights);
            assert!(message.tensors.is_sorted_by(|a, b| a.name < b.name), "{name}");
            let decoded = Tensors::decode(message.encode_to_vec().as_slice()).unwrap();
            assert_eq!(from_tensors(&decoded).unwrap(), weights, "{name}");
        }
    }

    #[test]
    fn the_hash_is_of_the_bytes_that_the_protocol_says() {
        let mut weights = Weights::default();
        let one = learn::Tensor::new(vec![1, 2], Values::F32(vec![1.0, -2.0])).unwrap();
        let other = learn::Tensor::new(vec![1], Values::F64(vec![3.0])).unwrap();
        weights.insert("b".to_owned(), one);
        weights.insert("a".to_owned(), other);
        // Written out by hand: field 1 of Tensors; then name, shape (packed), type, data of Tensor.
        let a = [
            b"\x0a\x12\x0a\x01a\x12\x01\x01\x18\x02\x22\x08",
            &3f64.to_le_bytes()[..],
        ]
        .concat();
        let b = b"\x0a\x11\x0a\x01b\x12\x02\x01\x02\x22\x08\x00\x00\x80\x3f\x00\x00\x00\xc0";
        let bytes = [&a[..], b].concat();
        assert_eq!(hex(&tensors(&weights).encode_to_vec()), hex(&bytes));
        assert_eq!(sha256(&weights)[..], Sha256::digest(&bytes)[..]);
    }

    #[test]
    fn another_number_is_another_hash() {
        let before = weights(LearnerName::Greedy);
        let mut after = before.clone();
        let updates = learn::Tensor::new(vec![1], Values::F64(vec![0.0])).unwrap();
        after.insert("updates".to_owned(), updates);
        assert_ne!(sha256(&before), sha256(&after));
    }

    #[test]
    fn what_cannot_be_weights_is_told() {
        let tensor = |shape: &[u64], number: i32, bytes: usize| Tensor {
            name: "q".to_owned(),
            shape: shape.to_vec(),
            r#type: number,
            data: vec![0; bytes].into(),
        };
        let refuse = |all: Vec<Tensor>, what: &str| {
            let error = from_tensors(&Tensors { tensors: all }).unwrap_err().to_string();
            assert!(error.contains(what) && error.contains("\"q\""), "{error}");
        };
        refuse(vec![tensor(&[1], 1, 2)], "type 1");
        refuse(vec![tensor(&[1], 9, 4)], "type 9");
        refuse(vec![tensor(&[2], 0, 4)], "4 bytes");
        refuse(vec![tensor(&[1], 0, 5)], "5 bytes");
        refuse(vec![tensor(&[u64::MAX, 2], 0, 8)], "8 bytes");
        refuse(vec![tensor(&[1], 0, 4), tensor(&[1], 0, 4)], "two tensors");
    }

    #[test]
    fn any_flipped_byte_is_either_refused_or_harmless() {
        let mut settings = Settings::default();
        settings.ac.hidden = vec![6; 2];
        let state = tasks(1, 0)[0].state;
        let mut learner = build(LearnerName::Ac, 1, &settings).unwrap();
        let (good, mut refused) = (learner.weights(), 0);
        let bytes = tensors(&good).encode_to_vec();
        for at in 0..bytes.len() {
            let mut bytes = bytes.clone();
            bytes[at] ^= 0x41;
            let read = Tensors::decode(bytes.as_slice())
                .ok()
                .and_then(|t| from_tensors(&t).ok());
            match read.map(|weights| learner.set_weights(&weights)) {
                Some(Ok(())) => {
                    learner.decide(&state).unwrap();
                    learner.set_weights(&good).unwrap();
                }
                _ => refused += 1,
            }
            assert_eq!(learner.weights(), good, "byte {at}");
        }
        assert!(refused > 200, "names, types, shapes and sizes: {refused}");
    }
}
