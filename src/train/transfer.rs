//! What is too large for one message goes as a manifest and chunks, and is whole or nothing at the other end.

use super::wire::{Chunk, Content, Manifest};
use bytes::{Bytes, BytesMut};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// Room in a message for the envelope around a chunk: two names and a few numbers.
const ENVELOPE: usize = 256;
/// More chunks than anybody needs.
const MAX_CHUNKS: u32 = 1 << 16;

/// The manifest and the chunks, each of which fits into a message of `max_message` bytes.
///
/// # Panics
/// When they would be more than 2^32 chunks.
pub fn split(content: Content, bytes: Bytes, max_message: usize) -> (Manifest, impl Iterator<Item = Chunk>) {
    let size = max_message.saturating_sub(ENVELOPE).max(1);
    let count = bytes.len().div_ceil(size);
    let manifest = Manifest {
        content: content.into(),
        bytes: bytes.len() as u64,
        chunks: u32::try_from(count).expect("fewer than 2^32 chunks"),
        sha256: Sha256::digest(&bytes).to_vec().into(),
    };
    let chunk = move |index: u32| {
        let begin = index as usize * size;
        let data = bytes.slice(begin..bytes.len().min(begin + size));
        let crc32 = crc32fast::hash(&data);
        Chunk { index, crc32, data }
    };
    let chunks = (0..manifest.chunks).map(chunk);
    (manifest, chunks)
}

/// Of which epoch and sequence something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    /// As in the envelope.
    pub epoch: u64,
    /// As in the envelope.
    pub sequence: u64,
}

/// How far a transfer is.
#[derive(Clone, Debug, PartialEq)]
#[must_use]
pub enum Progress {
    /// Chunks are missing.
    More,
    /// All are there and right.
    Whole(Content, Bytes),
    /// This message was not used. It is for the caller to count.
    Bad(Bad),
}

/// Why a manifest or a chunk is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Bad {
    /// More than is taken.
    #[error("a transfer of {bytes} bytes in {chunks} chunks is announced; at most {largest} bytes are taken")]
    TooLarge {
        /// As announced.
        bytes: u64,
        /// As announced.
        chunks: u32,
        /// The limit.
        largest: usize,
    },
    /// A content that this version does not know, or a number of chunks that cannot be.
    #[error("a transfer is announced that cannot be")]
    Manifest,
    /// Nobody announced it, or it came after the transfer had ended.
    #[error("a chunk came that belongs to no transfer")]
    NotAnnounced,
    /// Damaged on the way.
    #[error("chunk {0} is damaged")]
    Crc(u32),
    /// A chunk that does not fit; the transfer is given up.
    #[error("chunk {0} does not fit into its transfer")]
    Size(u32),
    /// All chunks are there, but they are not what was announced; the transfer is given up.
    #[error("the chunks together do not have the SHA-256 that was announced")]
    Hash,
}

/// Puts the chunks of one sender together, in whatever order and how often they come.
#[derive(Debug)]
pub struct Assembly {
    largest: usize,
    current: Option<Transfer>,
}

#[derive(Debug)]
struct Transfer {
    version: Version,
    manifest: Manifest,
    content: Content,
    /// Copies: a slice would keep the whole message it came in.
    chunks: BTreeMap<u32, Bytes>,
    bytes: u64,
}

impl Assembly {
    /// Takes transfers of up to `largest` bytes.
    pub fn new(largest: usize) -> Self {
        Self {
            largest,
            current: None,
        }
    }

    /// Begins a transfer, and gives up the one before. The same once more changes nothing.
    pub fn manifest(&mut self, version: Version, manifest: Manifest) -> Progress {
        let Manifest { bytes, chunks, .. } = manifest;
        if bytes > self.largest as u64 || chunks > MAX_CHUNKS {
            let largest = self.largest;
            return Progress::Bad(Bad::TooLarge {
                bytes,
                chunks,
                largest,
            });
        }
        let Ok(content) = Content::try_from(manifest.content) else {
            return Progress::Bad(Bad::Manifest);
        };
        if u64::from(chunks) > bytes || (chunks == 0) != (bytes == 0) {
            return Progress::Bad(Bad::Manifest);
        }
        let is_same = |transfer: &Transfer| transfer.version == version && transfer.manifest == manifest;
        if !self.current.as_ref().is_some_and(is_same) {
            self.current = Some(Transfer {
                version,
                manifest,
                content,
                chunks: BTreeMap::new(),
                bytes: 0,
            });
        }
        self.finish_if_all_there()
    }

    /// Adds a chunk.
    pub fn chunk(&mut self, version: Version, chunk: &Chunk) -> Progress {
        let Some(transfer) = self.current.as_mut().filter(|t| t.version == version) else {
            return Progress::Bad(Bad::NotAnnounced);
        };
        if crc32fast::hash(&chunk.data) != chunk.crc32 {
            return Progress::Bad(Bad::Crc(chunk.index));
        }
        if transfer.chunks.contains_key(&chunk.index) {
            return Progress::More;
        }
        if !transfer.add(chunk) {
            self.current = None;
            return Progress::Bad(Bad::Size(chunk.index));
        }
        self.finish_if_all_there()
    }

    fn finish_if_all_there(&mut self) -> Progress {
        let Some(transfer) = self
            .current
            .take_if(|t| t.chunks.len() == t.manifest.chunks as usize)
        else {
            return Progress::More;
        };
        let mut whole = BytesMut::with_capacity(transfer.chunks.values().map(Bytes::len).sum());
        transfer
            .chunks
            .values()
            .for_each(|data| whole.extend_from_slice(data));
        let is_right = whole.len() as u64 == transfer.manifest.bytes
            && Sha256::digest(&whole)[..] == transfer.manifest.sha256[..];
        match is_right {
            true => Progress::Whole(transfer.content, whole.freeze()),
            false => Progress::Bad(Bad::Hash),
        }
    }
}

impl Transfer {
    /// False: it cannot be part of this.
    fn add(&mut self, chunk: &Chunk) -> bool {
        self.bytes += chunk.data.len() as u64;
        let fits = self.bytes <= self.manifest.bytes && chunk.index < self.manifest.chunks;
        if fits {
            self.chunks
                .insert(chunk.index, Bytes::copy_from_slice(&chunk.data));
        }
        fits
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const V: Version = Version {
        epoch: 7,
        sequence: 3,
    };
    const LARGEST: usize = 1 << 20;

    fn content(bytes: usize) -> Bytes {
        (0..bytes)
            .map(|n| (n * 31 % 251) as u8)
            .collect::<Vec<_>>()
            .into()
    }

    fn parts(bytes: usize, max_message: usize) -> (Manifest, Vec<Chunk>) {
        let (manifest, chunks) = split(Content::Checkpoint, content(bytes), max_message);
        (manifest, chunks.collect())
    }

    #[test]
    fn chunks_fit_into_messages_and_come_together_again() {
        for bytes in [0, 1, 743, 744, 745, 5000] {
            let (manifest, chunks) = parts(bytes, 1000);
            assert!(chunks.iter().all(|chunk| chunk.data.len() <= 1000 - ENVELOPE));
            let mut assembly = Assembly::new(LARGEST);
            let mut last = assembly.manifest(V, manifest);
            for chunk in &chunks {
                assert_eq!(last, Progress::More);
                last = assembly.chunk(V, chunk);
            }
            assert_eq!(last, Progress::Whole(Content::Checkpoint, content(bytes)));
        }
    }

    #[test]
    fn an_envelope_fits_into_its_room() {
        use crate::train::topic::{MAX_NAME, Pupil};
        use crate::train::wire::{Body, Message};
        let name = "n".repeat(MAX_NAME);
        let (_, chunks) = parts(100_000, 10_000);
        let message = Message {
            pupil: Pupil {
                device: name.parse().unwrap(),
                learner: name.parse().unwrap(),
            },
            epoch: u64::MAX,
            sequence: u64::MAX,
            body: Body::Chunk(chunks[1].clone()),
        };
        assert!(message.encode().len() <= 10_000);
    }

    #[test]
    fn huge_declared_sizes_are_refused_and_nothing_is_allocated() {
        let (good, _) = parts(10, 1000);
        let mut assembly = Assembly::new(LARGEST);
        for (bytes, chunks) in [(u64::MAX, 1), (LARGEST as u64 + 1, 2), (10, u32::MAX)] {
            let manifest = Manifest {
                bytes,
                chunks,
                ..good.clone()
            };
            let refused = assembly.manifest(V, manifest);
            assert!(
                matches!(refused, Progress::Bad(Bad::TooLarge { .. })),
                "{refused:?}"
            );
        }
        for (bytes, chunks) in [(0, 1), (1, 0), (10, 11)] {
            let manifest = Manifest {
                bytes,
                chunks,
                ..good.clone()
            };
            assert_eq!(assembly.manifest(V, manifest), Progress::Bad(Bad::Manifest));
        }
        let unknown = Manifest { content: 9, ..good };
        assert_eq!(assembly.manifest(V, unknown), Progress::Bad(Bad::Manifest));
    }

    #[test]
    fn a_new_manifest_ends_the_one_before_and_the_same_one_does_not() {
        let (manifest, chunks) = parts(1000, 756);
        let newer = Version { sequence: 4, ..V };
        let mut assembly = Assembly::new(LARGEST);
        let chunk = |assembly: &mut Assembly, version, n: usize| assembly.chunk(version, &chunks[n]);
        assert_eq!(assembly.manifest(V, manifest.clone()), Progress::More);
        assert_eq!(chunk(&mut assembly, V, 0), Progress::More);
        assert_eq!(assembly.manifest(V, manifest.clone()), Progress::More);
        assert!(matches!(chunk(&mut assembly, V, 1), Progress::Whole(..)));

        assert_eq!(assembly.manifest(V, manifest.clone()), Progress::More);
        assert_eq!(assembly.manifest(newer, manifest), Progress::More);
        assert_eq!(chunk(&mut assembly, V, 0), Progress::Bad(Bad::NotAnnounced));
        assert_eq!(chunk(&mut assembly, newer, 1), Progress::More);
        assert!(matches!(chunk(&mut assembly, newer, 0), Progress::Whole(..)));
        assert_eq!(chunk(&mut assembly, newer, 0), Progress::Bad(Bad::NotAnnounced));
    }

    #[test]
    fn chunks_of_another_size_or_content_never_become_a_version() {
        let (manifest, chunks) = parts(1000, 756);
        let with = |index: u32, data: Bytes| Chunk {
            index,
            crc32: crc32fast::hash(&data),
            data,
        };
        let mut assembly = Assembly::new(LARGEST);
        assert_eq!(assembly.manifest(V, manifest.clone()), Progress::More);
        assert_eq!(
            assembly.chunk(V, &with(0, content(1001))),
            Progress::Bad(Bad::Size(0))
        );
        assert_eq!(assembly.manifest(V, manifest.clone()), Progress::More);
        assert_eq!(
            assembly.chunk(V, &with(2, content(1))),
            Progress::Bad(Bad::Size(2))
        );
        assert_eq!(assembly.manifest(V, manifest), Progress::More);
        assert_eq!(assembly.chunk(V, &with(0, vec![0; 500].into())), Progress::More);
        assert_eq!(assembly.chunk(V, &chunks[1]), Progress::Bad(Bad::Hash));
    }

    #[derive(Clone, Debug)]
    enum Happening {
        Chunk(prop::sample::Index),
        Flipped(prop::sample::Index, prop::sample::Index, u8),
        Cut(prop::sample::Index),
        Foreign(u32, Vec<u8>),
        Manifest,
    }

    fn happening() -> impl Strategy<Value = Happening> {
        prop_oneof![
            6 => any::<prop::sample::Index>().prop_map(Happening::Chunk),
            1 => any::<(prop::sample::Index, prop::sample::Index, u8)>()
                .prop_map(|(chunk, byte, mask)| Happening::Flipped(chunk, byte, mask | 1)),
            1 => any::<prop::sample::Index>().prop_map(Happening::Cut),
            1 => any::<(u32, Vec<u8>)>().prop_map(|(index, data)| Happening::Foreign(index % 12, data)),
            1 => Just(Happening::Manifest),
        ]
    }

    proptest! {
        /// Lost, doubled, reordered, damaged, from elsewhere: what comes out whole is what was sent.
        #[test]
        fn what_is_whole_is_right(what in prop::collection::vec(happening(), 0..80)) {
            let (manifest, chunks) = parts(1000, 356);
            let mut assembly = Assembly::new(LARGEST);
            let _ = assembly.manifest(V, manifest.clone());
            for happening in what {
                let progress = match happening {
                    Happening::Chunk(n) => assembly.chunk(V, n.get(&chunks)),
                    Happening::Flipped(n, byte, mask) => {
                        let mut chunk = n.get(&chunks).clone();
                        let mut data = chunk.data.to_vec();
                        let at = byte.index(data.len());
                        data[at] ^= mask;
                        chunk.data = data.into();
                        assembly.chunk(V, &chunk)
                    }
                    Happening::Cut(n) => {
                        let chunk = n.get(&chunks);
                        let data = chunk.data.slice(1..);
                        assembly.chunk(V, &Chunk { data, ..chunk.clone() })
                    }
                    Happening::Foreign(index, data) => {
                        let crc32 = crc32fast::hash(&data);
                        assembly.chunk(V, &Chunk { index, crc32, data: data.into() })
                    }
                    Happening::Manifest => assembly.manifest(V, manifest.clone()),
                };
                if let Progress::Whole(what, bytes) = progress {
                    prop_assert_eq!((what, bytes), (Content::Checkpoint, content(1000)));
                }
            }
        }

        #[test]
        fn in_any_order_and_twice_it_comes_together(order in Just((0..10_usize).collect::<Vec<_>>()).prop_shuffle()) {
            let (manifest, chunks) = parts(1000, 356);
            let mut assembly = Assembly::new(LARGEST);
            let _ = assembly.manifest(V, manifest);
            let mut wholes = 0;
            for n in order {
                let first = assembly.chunk(V, &chunks[n]);
                wholes += usize::from(matches!(first, Progress::Whole(..)));
                let _ = assembly.chunk(V, &chunks[n]);
            }
            prop_assert_eq!(wholes, 1);
        }
    }
}
