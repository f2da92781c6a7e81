//! A learner as one object: the format of `proto/store.proto`.

use crate::train::wire::proto::Record;
use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;
use twox_hash::XxHash3_64;

/// What every object begins with: the format and its version.
const MAGIC: &[u8; 8] = b"hwmeter1";
const HEADER: usize = MAGIC.len() + size_of::<u64>();

/// The bytes of an object.
pub(super) fn encode(record: &Record) -> Bytes {
    let mut bytes = BytesMut::with_capacity(HEADER + record.encoded_len());
    bytes.put_slice(MAGIC);
    bytes.put_u64_le(0);
    // The buffer has room for all of it.
    let _ = record.encode(&mut bytes);
    let hash = XxHash3_64::oneshot(&bytes[HEADER..]);
    bytes[MAGIC.len()..HEADER].copy_from_slice(&hash.to_le_bytes());
    bytes.freeze()
}

/// The record in the bytes of an object, or what is wrong with them.
pub(super) fn decode(bytes: Bytes) -> Result<Record, String> {
    if bytes.len() < HEADER {
        return Err(format!("it is cut short after {} bytes", bytes.len()));
    }
    if !bytes.starts_with(MAGIC) {
        return Err("it is no learner of this version of hwmeter".to_owned());
    }
    let content = bytes.slice(HEADER..);
    if bytes[MAGIC.len()..HEADER] != XxHash3_64::oneshot(&content).to_le_bytes() {
        return Err("it is damaged: its checksum is of other bytes".to_owned());
    }
    Record::decode(content).map_err(|error| format!("it is damaged: {error}"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn record() -> Record {
        Record {
            epoch: 1_764_000_000_000,
            applied: 17,
            checkpoint: Bytes::from_static(b"a learner"),
            ..Record::default()
        }
    }

    #[test]
    fn a_record_comes_back_as_it_was() {
        assert_eq!(decode(encode(&record())).unwrap(), record());
    }

    #[test]
    fn any_changed_bit_and_any_missing_byte_is_noticed() {
        let whole = encode(&record());
        for at in 0..whole.len() {
            assert!(decode(whole.slice(..at)).is_err(), "cut after {at} bytes");
            let mut changed = whole.to_vec();
            changed[at] ^= 1;
            assert!(decode(changed.into()).is_err(), "byte {at} changed");
        }
    }
}
