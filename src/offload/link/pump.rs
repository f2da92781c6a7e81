//! One direction of one connection: reads, holds as long as the model says, writes.

use super::Shared;
use super::conditions::Conditions;
use super::model;
use super::profile::{Profile, Way};
use crate::offload::precise_timer::PreciseTimer;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A piece under way; an empty one is the end of the stream.
struct Chunk {
    bytes: Vec<u8>,
    due: Instant,
    /// Its share of the connection's window, free again once it is given out.
    _room: OwnedSemaphorePermit,
}

/// Carries one direction of one connection, from `begin_s` on.
pub(super) async fn pump(
    from: ReadHalf<'_>,
    to: WriteHalf<'_>,
    shared: &Shared,
    way: Way,
    connection: u64,
    begin_s: f64,
) -> io::Result<()> {
    let mut timer = PreciseTimer::new()?;
    timer.sleep_until(shared.instant(begin_s)).await?;
    let (sender, receiver) = unbounded_channel();
    let taking_in = async {
        take_in(from, sender, shared, way, connection).await;
        std::future::pending::<()>().await;
    };
    // What was taken in last is given out last; if giving fails, there is nothing left to take in for.
    tokio::select! {
        given = give_out(receiver, to, timer) => given,
        () = taking_in => Ok(()),
    }
}

async fn take_in(
    mut from: ReadHalf<'_>,
    sender: UnboundedSender<Chunk>,
    shared: &Shared,
    way: Way,
    connection: u64,
) {
    let mut direction = shared.direction(way, connection);
    let window = Arc::new(Semaphore::new(window_bytes(&shared.profile, way)));
    let mut buffer = vec![0; LARGEST_CHUNK];
    loop {
        let all_room = Arc::clone(&window).acquire_many_owned(LARGEST_CHUNK as u32);
        let Ok(mut room) = all_room.await else {
            return;
        };
        let pace = Pace::at(&shared.profile.at(shared.now_s(), way));
        // A connection that broke ends for the other side as one that was closed.
        let read = from.read(&mut buffer[..pace.chunk_bytes]).await.unwrap_or(0);
        drop(room.split(LARGEST_CHUNK - read));
        let now_s = shared.now_s();
        let chunk = Chunk {
            bytes: buffer[..read].to_vec(),
            due: shared.instant(direction.due_s(now_s, read)),
            _room: room,
        };
        if sender.send(chunk).is_err() || read == 0 {
            return;
        }
        let wait_s = shared.bottleneck(way).busy_until_s() - pace.queue_s - now_s;
        if wait_s > 0.0 {
            tokio::time::sleep(Duration::from_secs_f64(wait_s)).await;
        }
    }
}

async fn give_out(
    mut receiver: UnboundedReceiver<Chunk>,
    mut to: WriteHalf<'_>,
    mut timer: PreciseTimer,
) -> io::Result<()> {
    while let Some(chunk) = receiver.recv().await {
        timer.sleep_until(chunk.due).await?;
        if chunk.bytes.is_empty() {
            break;
        }
        // The receiver may have gone.
        if to.write_all(&chunk.bytes).await.is_err() {
            break;
        }
    }
    // It may be gone already, and then there is nobody to tell.
    let _ = to.shutdown().await;
    Ok(())
}

/// The largest piece handled at once, in bytes.
const LARGEST_CHUNK: usize = 16_384;
/// What waits at the bottleneck before senders are no longer read from: at least these seconds, so that it does not run
/// dry while a busy machine lets us wait.
const QUEUE_S: f64 = 10e-3;
/// Bytes that one connection may have under way: at least these, ...
const SMALLEST_WINDOW: f64 = 131_072.0;
/// ... and at most these, even on a long fat link.
const LARGEST_WINDOW: f64 = 64e6;

/// How a connection is read from.
struct Pace {
    chunk_bytes: usize,
    queue_s: f64,
}

impl Pace {
    fn at(conditions: &Conditions) -> Self {
        let bytes_per_second = conditions.rate_bps / 8.0;
        // About a millisecond of the link: fine enough to look like a stream, coarse enough to be cheap.
        let chunk = (bytes_per_second * 1e-3).clamp(model::SEGMENT_BYTES as f64, LARGEST_CHUNK as f64);
        Self {
            chunk_bytes: chunk as usize,
            queue_s: QUEUE_S.max(2.0 * chunk / bytes_per_second),
        }
    }
}

/// What is on the cable, and in the queue before it. A receiver that does not read is felt by the sender beyond it.
fn window_bytes(profile: &Profile, way: Way) -> usize {
    let flight = profile.largest_flight_bytes(way);
    (SMALLEST_WINDOW + 2.0 * flight).min(LARGEST_WINDOW) as usize
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_a_millisecond_of_the_link() {
        let at = |rate_bps| {
            Pace::at(&Conditions {
                rate_bps,
                ..Conditions::IDEAL
            })
        };
        assert_eq!(at(50e6).chunk_bytes, 6250);
        assert_eq!(at(1e12).chunk_bytes, LARGEST_CHUNK);
        assert_eq!(at(50e6).queue_s, 10e-3);
        // On a slow link two packets wait, and not more.
        assert_eq!(at(64e3).chunk_bytes, 1448);
        assert_eq!(at(64e3).queue_s, 2.0 * 8.0 * 1448.0 / 64e3);
    }

    #[test]
    fn the_window_covers_cable_and_queue_and_has_a_bound() {
        let window = |latency_s, rate_bps| {
            let conditions = Conditions {
                latency_s,
                rate_bps,
                ..Conditions::IDEAL
            };
            window_bytes(&Profile::constant(conditions).unwrap(), Way::Up)
        };
        assert_eq!(window(0.005, 200e6), 131_072 + 2 * 3 * 125_000);
        assert!(window(0.0, 1e3) >= LARGEST_CHUNK);
        assert_eq!(window(10.0, 1e12), 64_000_000);
    }
}
