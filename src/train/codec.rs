//! Placeholder until the codec of the wire branch lands: F32 only.
use super::weights::{from_tensors, tensors};
use super::wire::{Codec, Tensors};
use bytes::Bytes;
use prost::Message;
use sha2::{Digest, Sha256};

/// Encoded.
pub struct EncodedTensors {
    /// Bytes.
    pub bytes: Bytes,
    /// Hash.
    pub sha256: [u8; 32],
}

/// To the wire.
pub fn to_wire(weights: &crate::learn::Weights, _codec: Codec) -> EncodedTensors {
    let bytes: Bytes = tensors(weights).encode_to_vec().into();
    let sha256 = Sha256::digest(&bytes).into();
    EncodedTensors { bytes, sha256 }
}

/// From the wire.
pub fn from_wire(
    bytes: &Bytes,
    _codec: Codec,
    sha256: &[u8],
    _largest: usize,
) -> Result<crate::learn::Weights, String> {
    if Sha256::digest(bytes).as_slice() != sha256 {
        return Err("hash".to_owned());
    }
    let tensors = Tensors::decode(bytes.clone()).map_err(|e| e.to_string())?;
    from_tensors(&tensors).map_err(|e| e.to_string())
}
