//! The embedded MQTT 3.1.1 broker: the crate `rmqtt` behind a gate of our own.
//!
//! ```text
//! client -> gate: a place, TLS, is it MQTT 3.1.1?, sizes and rates of packets
//!             -> rmqtt, on a loopback port that only the gate is let in by
//!                  -> hooks: password, client id, topics, memory
//!                  -> sessions, queues, retained messages, last wills
//! ```
//!
//! `rmqtt` takes connections from a TCP listener of its own only, and its TLS would bring a second cryptographic
//! library. So the gate ends TLS itself and hands the bytes on over loopback. It tells the hooks the port from which
//! it does so, before the first byte: a connection to the inner port from anywhere else is refused.
//!
//! # Who gets in
//!
//! On a loopback address without a users file everybody on this machine, with every right: the client id says which
//! device it is, and nothing checks it. Any other address needs TLS and a users file ([`Users`]). A device then uses
//! its name as client id, or begins it with its name and a slash, so that no device can take over the session of
//! another; it may publish and subscribe below `client/ITS NAME/` only. Trainers may do everything.
//!
//! # What is bounded
//!
//! | what | by | beyond it |
//! |---|---|---|
//! | connections | `connections` | closed at once |
//! | connections that have shown no password yet | 256 | wait to be accepted |
//! | time until the password is shown | 10 s | closed |
//! | a packet | `message_bytes`; 64 KiB until the password is shown | closed |
//! | packets and bytes from a device | `messages_per_s`, `bytes_per_s` | read more slowly |
//! | sessions | `sessions`, 8 of one device | refused |
//! | messages that wait in a session | `queue_messages` | the newest is dropped |
//! | messages that are held, retained ones among them | `memory_bytes`, an eighth of it from one device | dropped |
//! | retained messages | `retained` | not retained |
//! | a session without its client | 2 h | forgotten |
//!
//! Every refused or dropped thing is counted ([`Counts`]).

mod counts;
mod error;
mod gate;
mod held;
mod hooks;
mod packets;
mod rate;
mod retained;
mod users;

pub use counts::Counts;
pub use error::BrokerError;
pub use users::{Account, Users, UsersError};

use super::link::{Credentials, LinkConfig};
use crate::serve::{TlsFiles, take_port, tls};
use counts::Counters;
use gate::Gate;
use hooks::Hooks;
use retained::Retained;
use rmqtt::context::ServerContext;
use rmqtt::net::{Builder, Listener};
use rmqtt::server::MqttServer;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU16;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use users::Access;

/// Any free port of this machine.
const ANY_PORT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
/// How long a client may take until it has shown its password.
const STRANGER_TIME: Duration = Duration::from_secs(10);
/// How long a session is kept without its client, and a message for it.
const SESSION_TIME: Duration = Duration::from_secs(2 * 60 * 60);
/// Connections may take so long to be let go when the broker ends.
const STOP_TIME: Duration = Duration::from_secs(1);
/// Messages on their way to one client that it has not acknowledged.
const IN_FLIGHT: NonZeroU16 = NonZeroU16::new(64).expect("not zero");
/// No topic of ours has more levels than `trainer/T/learner/D/M/v1`.
const MAX_TOPIC_LEVELS: usize = 8;
/// Subscriptions of one session.
const MAX_SUBSCRIPTIONS: usize = 20_000;
/// The longest client id.
const MAX_CLIENT_ID: usize = 256;

/// How much the broker takes on.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at once.
    pub connections: usize,
    /// Sessions, of clients that are away among them.
    pub sessions: usize,
    /// Bytes of the largest packet.
    pub message_bytes: u32,
    /// Packets per second from one device.
    pub messages_per_s: u32,
    /// Bytes per second from one device.
    pub bytes_per_s: u32,
    /// Messages that may wait in one session.
    pub queue_messages: usize,
    /// Bytes of all messages that wait, are under way or are retained.
    pub memory_bytes: usize,
    /// Retained messages.
    pub retained: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 16_384,
            sessions: 32_768,
            message_bytes: 4 << 20,
            messages_per_s: 2_000,
            bytes_per_s: 64 << 20,
            queue_messages: 4_096,
            memory_bytes: 512 << 20,
            retained: 131_072,
        }
    }
}

/// How a broker is set up.
#[derive(Clone, Debug)]
pub struct BrokerConfig {
    /// Where to listen; port 0 picks a free one.
    pub listen: SocketAddr,
    /// Certificate and key; plain TCP without them.
    pub tls: Option<TlsFiles>,
    /// Who may use the broker ([`Users`]). Without it, only this machine can be served, and everybody on it is.
    pub users: Option<PathBuf>,
    /// How trainers on this machine get in beside the users; one that nobody else knows where there is none.
    pub account: Option<Account>,
    /// With TLS: where they connect without it.
    pub own_listen: SocketAddr,
    /// How much it takes on.
    pub limits: Limits,
}

impl BrokerConfig {
    /// Plain TCP for everybody on this machine, on any free port.
    pub fn new() -> Self {
        Self {
            listen: ANY_PORT,
            tls: None,
            users: None,
            account: None,
            own_listen: ANY_PORT,
            limits: Limits::default(),
        }
    }

    /// Whoever can be reached from elsewhere must ask who comes, and be overheard by nobody.
    fn check(&self) -> Result<(), BrokerError> {
        let is_local = self.listen.ip().is_loopback();
        if !is_local && self.users.is_none() {
            return Err(BrokerError::NoUsers(self.listen));
        }
        if !is_local && self.tls.is_none() {
            return Err(BrokerError::NoTls(self.listen));
        }
        Ok(())
    }
}

impl Default for BrokerConfig {
    fn default() -> Self {
        Self::new()
    }
}

/// A broker that has read its files and taken its ports, and serves nobody yet. No thread has been started: between
/// this and [`Bound::start`] the process can give up its privileges.
pub struct Bound {
    runtime: Runtime,
    gate: Gate,
    inner: Listener,
    hooks: Hooks,
    limits: Limits,
    address: SocketAddr,
    own_address: SocketAddr,
    account: Account,
    counters: Arc<Counters>,
}

/// Reads certificates and users and takes the ports.
pub fn bind(config: &BrokerConfig) -> Result<Bound, BrokerError> {
    config.check()?;
    let tls = config
        .tls
        .as_ref()
        .map(|files| tls::acceptor(files, &[b"mqtt"]))
        .transpose()?;
    let users = config.users.as_deref().map(Users::read).transpose()?;
    let account = config.account.clone().unwrap_or_else(Account::random);
    let access = Access::new(users, account.clone());
    let outer = listen(config.listen)?;
    let address = outer.local_addr()?;
    let own = tls.is_some().then(|| listen(config.own_listen)).transpose()?;
    let own_address = own
        .as_ref()
        .map_or(Ok(address), std::net::TcpListener::local_addr)?;

    // One thread for all of it: most of what happens is one client's message on its way to one other, which would
    // otherwise wait to be passed between threads four times.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let counters = Arc::new(Counters::default());
    let entered = runtime.enter();
    let (inner, inner_address) = inner_listener(&config.limits).map_err(io::Error::other)?;
    let gate = Gate::new(
        outer,
        own,
        inner_address,
        tls,
        &config.limits,
        Arc::clone(&counters),
    )?;
    drop(entered);
    let hooks = Hooks::new(access, gate.connections(), &config.limits, Arc::clone(&counters));
    Ok(Bound {
        runtime,
        gate,
        inner,
        hooks,
        limits: config.limits,
        address,
        own_address,
        account,
        counters,
    })
}

impl Bound {
    /// Where clients will connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The ports to which this process itself connects: that for its trainer, and the one behind the gate.
    pub fn ports(&self) -> [u16; 2] {
        [self.own_address.port(), self.gate.inner().port()]
    }

    /// Begins to serve, on a thread of its own.
    pub fn start(self) -> Result<Broker, BrokerError> {
        let (stop, stopped) = oneshot::channel::<()>();
        let Self {
            runtime,
            gate,
            inner,
            hooks,
            limits,
            ..
        } = self;
        let thread = std::thread::Builder::new()
            .name("hwmeter-broker".to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    tokio::select! {
                        ended = serve(inner, hooks, &limits) => tracing::error!("the broker ended by itself: {ended:?}"),
                        () = gate.run() => {}
                        _ = stopped => {}
                    }
                });
                runtime.shutdown_timeout(STOP_TIME);
            })?;
        Ok(Broker {
            address: self.address,
            own_address: self.own_address,
            account: self.account,
            message_bytes: limits.message_bytes,
            counters: self.counters,
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

/// A running broker. It ends when dropped.
#[derive(Debug)]
pub struct Broker {
    address: SocketAddr,
    own_address: SocketAddr,
    account: Account,
    message_bytes: u32,
    counters: Arc<Counters>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Broker {
    /// [`bind`] and [`Bound::start`] in one.
    pub fn start(config: &BrokerConfig) -> Result<Self, BrokerError> {
        bind(config)?.start()
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where the trainers of [`Self::account`] connect, without TLS; nobody else is let in there if others use TLS.
    pub fn own_address(&self) -> SocketAddr {
        self.own_address
    }

    /// Name and password of the trainer in this process, and of others on this machine. They stand in no file.
    pub fn account(&self) -> &Account {
        &self.account
    }

    /// The link of the trainer in this process.
    pub fn own_link(&self) -> LinkConfig {
        let Account { name, password } = &self.account;
        let mut link = LinkConfig::new(self.own_address.into(), name);
        link.credentials = Some(Credentials::new(name, password));
        // The broker ends with this process, and so would a session.
        link.clean = true;
        link.max_message = self.message_bytes as usize;
        link
    }

    /// What was refused, dropped and slowed down so far.
    pub fn counts(&self) -> Counts {
        self.counters.get()
    }

    /// Closes all connections and frees the port.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // That it panicked would have been printed already.
            let _ = thread.join();
        }
    }
}

fn listen(address: SocketAddr) -> Result<std::net::TcpListener, BrokerError> {
    take_port(address).map_err(|cause| BrokerError::Listen { address, cause })
}

/// What `rmqtt` accepts connections by: any free port of this machine, where the gate alone is let in.
fn inner_listener(limits: &Limits) -> rmqtt::net::Result<(Listener, SocketAddr)> {
    let listener = Builder::new()
        .name("hwmeter")
        .laddr(SocketAddr::from(([127, 0, 0, 1], 0)))
        .nodelay(true)
        // Else nobody would be asked for a password who sends no name.
        .allow_anonymous(false)
        .max_connections(limits.connections)
        .max_packet_size(limits.message_bytes)
        .handshake_timeout(STRANGER_TIME)
        .max_clientid_len(MAX_CLIENT_ID)
        .max_topic_levels(MAX_TOPIC_LEVELS)
        .max_subscriptions(MAX_SUBSCRIPTIONS)
        .max_inflight(IN_FLIGHT)
        .max_mqueue_len(limits.queue_messages)
        .session_expiry_interval(SESSION_TIME)
        .message_expiry_interval(SESSION_TIME)
        .bind()?
        .tcp()?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

/// Runs `rmqtt` for ever.
async fn serve(inner: Listener, hooks: Hooks, limits: &Limits) -> rmqtt::Result<()> {
    let context = ServerContext::new()
        // How busy the machine is with other things is no reason to refuse a device.
        .busy_check_enable(false)
        .mqtt_max_sessions(isize::try_from(limits.sessions).unwrap_or(isize::MAX))
        .build()
        .await;
    *context.extends.retain_mut().await = Box::new(Retained::new(limits.retained, hooks.counters()));
    hooks.register(&context).await;
    let server = MqttServer::new(context).listener_by_id(inner, 1).build();
    server.run().await
}
