//! The numbers of a tensor, and their bytes in a file.

use safetensors::Dtype;

/// Single or double precision.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    F32(Vec<f32>),
    F64(Vec<f64>),
}

impl Values {
    /// Their type in the file.
    pub fn dtype(&self) -> Dtype {
        match self {
            Self::F32(_) => Dtype::F32,
            Self::F64(_) => Dtype::F64,
        }
    }

    /// As they stand in the file.
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::F32(values) => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
            Self::F64(values) => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        }
    }

    /// Back from there; `None`: of a type that no learner writes.
    pub fn from_bytes(dtype: Dtype, bytes: &[u8]) -> Option<Self> {
        let (fours, eights) = (bytes.as_chunks().0, bytes.as_chunks().0);
        match dtype {
            Dtype::F32 => Some(Self::F32(fours.iter().map(|b| f32::from_le_bytes(*b)).collect())),
            Dtype::F64 => Some(Self::F64(eights.iter().map(|b| f64::from_le_bytes(*b)).collect())),
            _ => None,
        }
    }
}
