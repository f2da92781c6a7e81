//! Placeholder until the transfer of the wire branch lands.
use super::wire::{Chunk, Content, Manifest};
use bytes::Bytes;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// Split.
pub fn split(content: Content, bytes: Bytes, max_message: usize) -> (Manifest, impl Iterator<Item = Chunk>) {
    let size = max_message.saturating_sub(512).max(256);
    let chunks = bytes.len().div_ceil(size);
    let manifest = Manifest {
        content: content.into(),
        bytes: bytes.len() as u64,
        chunks: chunks as u32,
        sha256: Bytes::copy_from_slice(&Sha256::digest(&bytes)),
    };
    let pieces = (0..chunks).map(move |i| {
        let data = bytes.slice(i * size..((i + 1) * size).min(bytes.len()));
        Chunk {
            index: i as u32,
            crc32: crc32fast::hash(&data),
            data,
        }
    });
    (manifest, pieces)
}

/// How far.
pub enum Progress {
    /// More.
    More,
    /// All.
    Whole(Content, Bytes),
    /// Bad.
    Bad(String),
}

/// One transfer.
pub struct Assembly {
    sequence: u64,
    manifest: Manifest,
    chunks: BTreeMap<u32, Bytes>,
}

impl Assembly {
    /// New.
    pub fn new(sequence: u64, manifest: Manifest, largest: usize) -> Result<Self, String> {
        if manifest.bytes > largest as u64 {
            return Err("large".to_owned());
        }
        Ok(Self {
            sequence,
            manifest,
            chunks: BTreeMap::new(),
        })
    }

    /// One.
    pub fn chunk(&mut self, sequence: u64, chunk: Chunk) -> Progress {
        if sequence != self.sequence
            || chunk.index >= self.manifest.chunks
            || crc32fast::hash(&chunk.data) != chunk.crc32
        {
            return Progress::Bad("chunk".to_owned());
        }
        self.chunks.insert(chunk.index, chunk.data);
        if self.chunks.len() < self.manifest.chunks as usize {
            return Progress::More;
        }
        let bytes: Vec<u8> = self.chunks.values().flat_map(|b| b.iter().copied()).collect();
        if Sha256::digest(&bytes).as_slice() != self.manifest.sha256 {
            return Progress::Bad("hash".to_owned());
        }
        Progress::Whole(self.manifest.content(), bytes.into())
    }
}
