//! A link emulator: a TCP proxy that is as slow as the network it stands for.
//!
//! ```text
//! client <-> [ take in -> model: bottleneck, cable -> give out ] <-> server
//! ```
//!
//! [`model`] says when what came in goes out; here it is read, held and written. What is on the cable does not hold up
//! what follows, so latency costs no bandwidth. While the bottleneck has enough to do, senders are not read from:
//! they feel the rate, and take turns.

pub mod conditions;
pub mod model;
pub mod netem;
pub mod presets;
pub mod profile;

use super::precise_timer::PreciseTimer;
use crate::serve::{ServeError, listen};
use conditions::Conditions;
use model::{Bottleneck, Direction};
use profile::{Profile, Way};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How a link behaves.
#[derive(Clone, Debug, PartialEq)]
pub struct LinkConfig {
    /// Where clients connect; port 0 picks a free one.
    pub listen: SocketAddr,
    /// The server behind the link.
    pub to: SocketAddr,
    /// How it is over time, which counts from the first connection. A new connection also waits one round trip, like
    /// the handshake it stands for.
    pub profile: Profile,
    /// The same seed gives the n-th connection the same sequence of delays and losses.
    pub seed: u64,
}

/// A link that listens.
pub struct Link {
    listener: TcpListener,
    config: LinkConfig,
    address: SocketAddr,
}

impl Link {
    /// Begins to listen.
    pub async fn bind(config: LinkConfig) -> Result<Self, ServeError> {
        let listener = listen(config.listen)?;
        let address = listener.local_addr()?;
        Ok(Self {
            listener,
            config,
            address,
        })
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Carries connections until `stop` completes.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let shared = Arc::new(Shared::new(&self.config));
        let accept = async {
            let mut connection = 0;
            loop {
                match self.listener.accept().await {
                    Ok((client, _)) => {
                        tokio::spawn(carry(client, self.config.to, Arc::clone(&shared), connection));
                        connection += 1;
                    }
                    Err(e) => {
                        // Out of file descriptors, most likely: some connections must end first.
                        tracing::warn!("cannot accept a connection: {e}");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                }
            }
        };
        tokio::select! {
            () = accept => {}
            () = stop => {}
        }
    }
}

/// Runs a link on the calling thread until `stop` completes. `ready` gets the address as soon as clients can
/// connect.
pub fn run(
    config: LinkConfig,
    ready: impl FnOnce(SocketAddr),
    stop: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    // One thread: the bytes of a link are few, and a wake-up on another core would cost more than the copy.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let link = Link::bind(config).await?;
        ready(link.address());
        link.run(stop).await;
        Ok(())
    })
}

/// What all connections share.
struct Shared {
    profile: Arc<Profile>,
    up: Arc<Bottleneck>,
    down: Arc<Bottleneck>,
    seed: u64,
    /// When the profile's time began.
    began: OnceLock<Instant>,
}

impl Shared {
    fn new(config: &LinkConfig) -> Self {
        Self {
            profile: Arc::new(config.profile.clone()),
            up: Arc::default(),
            down: Arc::default(),
            seed: config.seed,
            began: OnceLock::new(),
        }
    }

    fn now_s(&self) -> f64 {
        self.began.get_or_init(Instant::now).elapsed().as_secs_f64()
    }

    fn instant(&self, t_s: f64) -> Instant {
        *self.began.get_or_init(Instant::now) + Duration::from_secs_f64(t_s)
    }

    fn direction(&self, way: Way, connection: u64) -> Direction {
        let bottleneck = Arc::clone(self.bottleneck(way));
        Direction::new(Arc::clone(&self.profile), way, bottleneck, self.seed, connection)
    }

    fn bottleneck(&self, way: Way) -> &Arc<Bottleneck> {
        match way {
            Way::Up => &self.up,
            Way::Down => &self.down,
        }
    }
}

async fn carry(client: TcpStream, to: SocketAddr, shared: Arc<Shared>, connection: u64) {
    if let Err(e) = carry_on(client, to, &shared, connection).await {
        tracing::warn!("a connection to {to} failed: {e}");
    }
}

async fn carry_on(mut client: TcpStream, to: SocketAddr, shared: &Shared, connection: u64) -> io::Result<()> {
    let accepted_s = shared.now_s();
    let round_trip_s = shared.profile.round_trip_s(accepted_s);
    let connected_s = shared.profile.after_outage(accepted_s + round_trip_s);
    let mut server = TcpStream::connect(to).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let is_reset = {
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        let pump = |from, to, way| pump(from, to, shared, way, connection, connected_s);
        let both_ways = async {
            let up = pump(from_client, to_server, Way::Up);
            tokio::try_join!(up, pump(from_server, to_client, Way::Down))
        };
        tokio::select! {
            ended = both_ways => { ended?; false }
            waited = until_reset(shared, accepted_s) => { waited?; true }
        }
    };
    if is_reset {
        client.set_zero_linger()?;
        server.set_zero_linger()?;
    }
    Ok(())
}

async fn until_reset(shared: &Shared, from_s: f64) -> io::Result<()> {
    match shared.profile.next_reset(from_s) {
        Some(t_s) => PreciseTimer::new()?.sleep_until(shared.instant(t_s)).await,
        None => std::future::pending().await,
    }
}

/// A piece under way; an empty one is the end of the stream.
struct Chunk {
    bytes: Vec<u8>,
    due: Instant,
    /// Its share of the connection's window, free again once it is given out.
    _room: OwnedSemaphorePermit,
}

/// Carries one direction of one connection, from `begin_s` on.
async fn pump(
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
