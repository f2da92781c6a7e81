//! Some numbers with a shape, as checkpoints and weights hold them.

use safetensors::Dtype;

/// Numbers in a shape.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    shape: Vec<usize>,
    values: Values,
}

/// Single or double precision.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// Single.
    F32(Vec<f32>),
    /// Double.
    F64(Vec<f64>),
}

impl Tensor {
    /// `None` unless there are as many numbers as the shape has room for.
    pub fn new(shape: Vec<usize>, values: Values) -> Option<Self> {
        let room = shape
            .iter()
            .try_fold(1usize, |product, n| product.checked_mul(*n));
        (room == Some(values.len())).then_some(Self { shape, values })
    }

    /// Rows first; the product is the number of numbers.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The numbers, the last index fastest.
    pub fn values(&self) -> &Values {
        &self.values
    }

    /// Its single-precision numbers, all finite; else what is wrong with it. `name` is for that sentence.
    pub(super) fn f32s(&self, name: &str, shape: &[usize]) -> Result<&[f32], String> {
        self.expect(name, shape)?;
        match &self.values {
            Values::F32(values) if self.values.are_finite() => Ok(values),
            Values::F32(_) => Err(format!("{name} holds a number that is not finite")),
            Values::F64(_) => Err(format!("{name} is of type F64, expected F32")),
        }
    }

    /// Its double-precision numbers, all finite; else what is wrong with it.
    pub(super) fn f64s(&self, name: &str, shape: &[usize]) -> Result<&[f64], String> {
        self.expect(name, shape)?;
        match &self.values {
            Values::F64(values) if self.values.are_finite() => Ok(values),
            Values::F64(_) => Err(format!("{name} holds a number that is not finite")),
            Values::F32(_) => Err(format!("{name} is of type F32, expected F64")),
        }
    }

    /// The whole number that it holds.
    pub(super) fn count(&self, name: &str) -> Result<u64, String> {
        let value = self.f64s(name, &[1])?[0];
        as_count(value).ok_or_else(|| format!("{name} is {value}, expected a count"))
    }

    fn expect(&self, name: &str, shape: &[usize]) -> Result<(), String> {
        match self.shape == shape {
            true => Ok(()),
            false => Err(format!("{name} has shape {:?}, expected {shape:?}", self.shape)),
        }
    }
}

/// A whole number that an f64 holds exactly.
pub(super) fn as_count(value: f64) -> Option<u64> {
    let is_count = value >= 0.0 && value.fract() == 0.0 && value <= 9e15;
    is_count.then_some(value as u64)
}

/// Whether it holds for every number. Blocks are looked at as a whole, without a branch per number.
fn all<T: Copy>(values: &[T], holds: impl Fn(T) -> bool) -> bool {
    let block = |block: &[T]| block.iter().fold(true, |all, v| all & holds(*v));
    values.chunks(1024).all(block)
}

/// The numbers' bytes, one after the other.
fn bytes<T: Copy, const N: usize>(values: &[T], of: impl Fn(T) -> [u8; N]) -> Vec<u8> {
    let mut bytes = vec![0; N * values.len()];
    for (place, value) in bytes.as_chunks_mut().0.iter_mut().zip(values) {
        *place = of(*value);
    }
    bytes
}

impl Values {
    /// How many there are.
    pub fn len(&self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::F64(values) => values.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether all are finite.
    pub(crate) fn are_finite(&self) -> bool {
        match self {
            Self::F32(values) => all(values, |v| v.is_finite()),
            Self::F64(values) => all(values, |v| v.is_finite()),
        }
    }

    /// Little-endian, one after the other.
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::F32(values) => bytes(values, |v| v.to_le_bytes()),
            Self::F64(values) => bytes(values, |v| v.to_le_bytes()),
        }
    }

    /// Their type in a checkpoint.
    pub(super) fn dtype(&self) -> Dtype {
        match self {
            Self::F32(_) => Dtype::F32,
            Self::F64(_) => Dtype::F64,
        }
    }

    /// Back from a checkpoint; `None`: of a type that no learner writes.
    pub(super) fn from_bytes(dtype: Dtype, bytes: &[u8]) -> Option<Self> {
        let (fours, eights) = (bytes.as_chunks().0, bytes.as_chunks().0);
        match dtype {
            Dtype::F32 => Some(Self::F32(fours.iter().map(|b| f32::from_le_bytes(*b)).collect())),
            Dtype::F64 => Some(Self::F64(eights.iter().map(|b| f64::from_le_bytes(*b)).collect())),
            _ => None,
        }
    }
}
