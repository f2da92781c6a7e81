//! A link emulator: a TCP proxy that is as slow as the network it stands for.
//!
//! ```text
//! client <-> [ take in -> model: bottleneck, cable -> give out ] <-> server
//! ```
//!
//! [`model`] says when what came in goes out; here it is read, held and written. What is on the cable does not hold up
//! what follows, so latency costs no bandwidth. While the bottleneck has enough to do, senders are not read from:
//! they feel the rate, and take turns.
//!
//! How a link is described by a file stands in [`profile_file`], the formulas in [`model`].

pub mod conditions;
pub mod model;
pub mod netem;
pub mod presets;
pub mod profile;
pub mod profile_file;
mod pump;

use super::precise_timer::PreciseTimer;
use crate::file_limit::raise_file_limit;
use crate::serve::{ServeError, listen};
use model::{Bottleneck, Direction};
use profile::{Profile, Way};
use pump::pump;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};

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
    // Two for each connection.
    raise_file_limit();
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
