//! Takes in a payload, bounded in size, and times its arrival.

use super::api_error::{ApiError, Code};
use super::executor::MOST_PERMITS;
use http_body_util::BodyExt;
use hyper::body::{Body, Bytes, Frame, Incoming};
use std::hash::Hasher as _;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use twox_hash::XxHash3_64;

/// What is to become of the bytes of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keep {
    /// They are needed.
    Bytes,
    /// Their hash is all that is needed: a copy of them would cost more time than the hash.
    Hash,
}

/// Memory for the bodies that are kept, all of them together. A body takes it piece by piece as it arrives: one that
/// drips holds what has come of it, not what it claims to be.
pub(super) struct Room {
    pieces: Arc<Semaphore>,
}

/// What a body holds of it, until dropped.
#[derive(Default)]
pub(super) struct Held {
    pieces: Option<OwnedSemaphorePermit>,
}

impl Held {
    fn bytes(&self) -> usize {
        let pieces = self.pieces.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        pieces * PIECE_BYTES
    }
}

/// Memory is given out in pieces of so many bytes.
const PIECE_BYTES: usize = 64 << 10;

impl Room {
    /// For `bodies` of at most `limit` bytes.
    pub fn new(bodies: usize, limit: usize) -> Self {
        let pieces = bodies.saturating_mul(limit.div_ceil(PIECE_BYTES));
        Self {
            pieces: Arc::new(Semaphore::new(pieces.min(MOST_PERMITS))),
        }
    }

    /// Has `held` reach to so many bytes.
    fn extend(&self, held: &mut Held, bytes: usize) -> Result<(), ApiError> {
        let more = bytes.saturating_sub(held.bytes()).div_ceil(PIECE_BYTES);
        if more == 0 {
            return Ok(());
        }
        let full = || {
            Code::QueueFull.error("the payloads that are arriving fill the memory for them; try again later")
        };
        let more_pieces = u32::try_from(more).map_err(|_| full())?;
        let permit = Arc::clone(&self.pieces)
            .try_acquire_many_owned(more_pieces)
            .map_err(|_| full())?;
        match &mut held.pieces {
            Some(pieces) => pieces.merge(permit),
            none => *none = Some(permit),
        }
        Ok(())
    }
}

/// A payload as it arrived.
pub(super) struct Received {
    /// The bytes, or none where only their hash is needed.
    pub payload: Vec<u8>,
    /// The memory of these.
    pub held: Held,
    /// As [`crate::offload::wire::payload_hash`] makes it.
    pub hash: u64,
    /// From the first to the last read.
    pub took: Duration,
    /// Bytes of the reads after the first.
    pub later_bytes: u64,
}

/// A sender that is silent for so long within its payload does not hold its place any longer.
const STALL_LIMIT: Duration = Duration::from_secs(10);

/// A body thrown away goes on for at most this long, and ...
const DISCARD_TIME: Duration = Duration::from_secs(2);
/// ... at most this far, so that nobody keeps the server busy with nothing.
const DISCARD_BYTES: usize = 64 << 20;

/// Is the body's declared length beyond `limit`? A body of unknown length is found out while it is read.
pub(super) fn declared_too_large(body: &Incoming, limit: usize) -> bool {
    body.size_hint().lower() > limit as u64
}

/// Reads the whole body.
pub(super) async fn receive(
    mut body: Incoming,
    limit: usize,
    keep: Keep,
    room: &Room,
) -> Result<Received, ApiError> {
    // Not as long as it claims to be: nobody reserves memory for a claim.
    let (mut payload, mut held) = (Vec::new(), Held::default());
    let mut length = 0;
    let mut hash = XxHash3_64::new();
    let mut first: Option<(Instant, usize)> = None;
    let mut last = None;
    while let Some(frame) = next(&mut body).await? {
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if length + data.len() > limit {
            discard(body);
            return Err(too_large(limit));
        }
        // Hashed now, while it is in the cache: a second way through memory would cost as much as the first.
        hash.write(&data);
        length += data.len();
        if keep == Keep::Bytes {
            if let Err(full) = room.extend(&mut held, length) {
                discard(body);
                return Err(full);
            }
            payload.extend_from_slice(&data);
        }
        let now = Instant::now();
        first.get_or_insert((now, data.len()));
        last = Some(now);
    }
    let (took, later_bytes) = match (first, last) {
        (Some((first, first_bytes)), Some(last)) => (last - first, (length - first_bytes) as u64),
        _ => (Duration::ZERO, 0),
    };
    Ok(Received {
        payload,
        held,
        hash: hash.finish(),
        took,
        later_bytes,
    })
}

async fn next(body: &mut Incoming) -> Result<Option<Frame<Bytes>>, ApiError> {
    let frame = timeout(STALL_LIMIT, body.frame()).await.map_err(|_| {
        let message = format!("nothing of the payload arrived for {} s", STALL_LIMIT.as_secs());
        Code::BodyTooSlow.error(message)
    })?;
    frame
        .transpose()
        .map_err(|e| Code::BodyIncomplete.error(format!("the payload did not arrive whole: {e}")))
}

/// The payload has more bytes than it may have.
pub(super) fn too_large(limit: usize) -> ApiError {
    Code::PayloadTooLarge.error(format!(
        "the payload is larger than the {limit} bytes this server takes"
    ))
}

/// Reads on in the background and forgets what comes. A connection closed while the client is still sending is
/// reset, and the client may lose the very answer that says why.
pub(super) fn discard(mut body: Incoming) {
    if body.is_end_stream() {
        return;
    }
    tokio::spawn(timeout(DISCARD_TIME, async move {
        let mut seen = 0;
        while let Some(Ok(frame)) = body.frame().await {
            seen += frame.data_ref().map_or(0, |data| data.len());
            if seen > DISCARD_BYTES {
                break;
            }
        }
    }));
}
