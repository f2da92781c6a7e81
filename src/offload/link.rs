//! A link emulator: a TCP proxy that is as slow as the network it stands for.
//!
//! ```text
//! client <-> [ take in -> bottleneck (shared, bits per second) -> cable (one way) -> give out ] <-> server
//! ```
//!
//! Each direction is a bottleneck that serves all connections in turn, followed by a cable of fixed delay. What
//! is on the cable does not hold up what follows, so latency costs no bandwidth. A connection may have only so
//! much under way; then its sender is no longer read from, and feels the rate.

use super::precise_timer::PreciseTimer;
use crate::serve::{ServeError, listen};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How a link behaves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LinkConfig {
    /// Where clients connect; port 0 picks a free one.
    pub listen: SocketAddr,
    /// The server behind the link.
    pub to: SocketAddr,
    /// Delay of each direction. A new connection also waits one round trip, like the handshake it stands for.
    pub one_way: Duration,
    /// Bits per second of each direction, shared by all connections.
    pub rate_bps: f64,
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
        let up = Direction::new(&self.config);
        let down = Direction::new(&self.config);
        let accept = async {
            loop {
                match self.listener.accept().await {
                    Ok((client, _)) => {
                        tokio::spawn(carry(client, self.config, up.clone(), down.clone()));
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

/// One way of the link, shared by all its connections.
#[derive(Clone)]
struct Direction {
    one_way: Duration,
    seconds_per_byte: f64,
    /// The bottleneck is busy until then.
    busy_until: Arc<Mutex<Option<Instant>>>,
    chunk: usize,
    window: usize,
}

/// The largest piece handled at once.
const LARGEST_CHUNK: f64 = 16_384.0;
/// The smallest: one Ethernet frame.
const SMALLEST_CHUNK: f64 = 1_500.0;
/// What a connection may have waiting at the bottleneck, besides what is on the cable: at least these bytes, ...
const SMALLEST_QUEUE: f64 = 65_536.0;
/// ... and at least these seconds of the link, so that it does not run dry while a busy machine lets us wait.
const QUEUE_S: f64 = 10e-3;
/// Bytes under way on one connection are bounded even on a long fat link.
const LARGEST_WINDOW: f64 = 64e6;

impl Direction {
    fn new(config: &LinkConfig) -> Self {
        let bytes_per_second = config.rate_bps / 8.0;
        let queue = (bytes_per_second * QUEUE_S).max(SMALLEST_QUEUE);
        let on_the_cable = bytes_per_second * config.one_way.as_secs_f64();
        Self {
            one_way: config.one_way,
            seconds_per_byte: 1.0 / bytes_per_second,
            busy_until: Arc::default(),
            // About a millisecond of the link: fine enough to look like a stream, coarse enough to be cheap.
            chunk: (bytes_per_second * 1e-3).clamp(SMALLEST_CHUNK, LARGEST_CHUNK) as usize,
            window: (queue + on_the_cable).min(LARGEST_WINDOW) as usize,
        }
    }

    /// When `bytes` that came in at `now` come out at the far end. The last one has passed the bottleneck then.
    fn due(&self, now: Instant, bytes: usize) -> Instant {
        let mut busy_until = self.busy_until.lock().unwrap_or_else(PoisonError::into_inner);
        let begin = busy_until.map_or(now, |busy| busy.max(now));
        let passed = begin + Duration::from_secs_f64(bytes as f64 * self.seconds_per_byte);
        *busy_until = Some(passed);
        passed + self.one_way
    }
}

/// A piece under way; an empty one is the end of the stream.
struct Chunk {
    bytes: Vec<u8>,
    due: Instant,
    /// Its share of the connection's window, free again once it is given out.
    _room: OwnedSemaphorePermit,
}

async fn carry(client: TcpStream, config: LinkConfig, up: Direction, down: Direction) {
    let accepted = Instant::now();
    let result: io::Result<()> = async {
        let server = TcpStream::connect(config.to).await?;
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        let connected = accepted + 2 * config.one_way;
        tokio::try_join!(
            pump(from_client, to_server, up, connected),
            pump(from_server, to_client, down, connected)
        )?;
        Ok(())
    }
    .await;
    if let Err(e) = result {
        tracing::warn!("a connection to {} failed: {e}", config.to);
    }
}

/// Carries one direction of one connection, from `begin` on.
async fn pump(
    from: OwnedReadHalf,
    to: OwnedWriteHalf,
    direction: Direction,
    begin: Instant,
) -> io::Result<()> {
    let mut timer = PreciseTimer::new()?;
    timer.sleep_until(begin).await?;
    let (sender, receiver) = unbounded_channel();
    let taking_in = async {
        take_in(from, sender, direction).await;
        std::future::pending::<()>().await;
    };
    // What was taken in last is given out last; if giving fails, there is nothing left to take in for.
    tokio::select! {
        given = give_out(receiver, to, timer) => given,
        () = taking_in => Ok(()),
    }
}

async fn take_in(mut from: OwnedReadHalf, sender: UnboundedSender<Chunk>, direction: Direction) {
    let window = Arc::new(Semaphore::new(direction.window));
    let mut buffer = vec![0; direction.chunk];
    loop {
        let full_chunk = direction.chunk as u32;
        let Ok(mut room) = Arc::clone(&window).acquire_many_owned(full_chunk).await else {
            return;
        };
        // A connection that broke ends for the other side as one that was closed.
        let read = from.read(&mut buffer).await.unwrap_or(0);
        drop(room.split(direction.chunk - read));
        let due = direction.due(Instant::now(), read);
        let chunk = Chunk {
            bytes: buffer[..read].to_vec(),
            due,
            _room: room,
        };
        if sender.send(chunk).is_err() || read == 0 {
            return;
        }
    }
}

async fn give_out(
    mut receiver: UnboundedReceiver<Chunk>,
    mut to: OwnedWriteHalf,
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn direction(one_way_ms: u64, rate_bps: f64) -> Direction {
        let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let one_way = Duration::from_millis(one_way_ms);
        Direction::new(&LinkConfig {
            listen: anywhere,
            to: anywhere,
            one_way,
            rate_bps,
        })
    }

    #[test]
    fn the_bottleneck_is_shared_and_the_cable_is_not() {
        let now = Instant::now();
        let link = direction(20, 8e6);
        let other_connection = link.clone();
        // 1000 bytes take 1 ms at 8 Mbit/s. The second chunk waits for the first, but not for its delay.
        assert_eq!(link.due(now, 1000), now + Duration::from_millis(21));
        assert_eq!(other_connection.due(now, 1000), now + Duration::from_millis(22));
        // An idle link saves nothing up.
        let later = now + Duration::from_secs(1);
        assert_eq!(link.due(later, 1000), later + Duration::from_millis(21));
    }

    #[test]
    fn the_window_covers_cable_and_queue() {
        let link = direction(5, 200e6);
        assert_eq!(link.window, 250_000 + 125_000);
        assert_eq!(link.chunk, 16_384);
        assert!(direction(0, 1e3).chunk <= direction(0, 1e3).window);
        assert_eq!(direction(10_000, 1e12).window, 64_000_000);
    }
}
