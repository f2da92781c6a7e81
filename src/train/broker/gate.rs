//! What every connection passes before `rmqtt` sees it, and every byte of it after that.

use super::counts::{Count, Counters};
use super::packets::{HELLO_BYTES, Hello, Packets, hello};
use super::rate::Bucket;
use super::users::Role;
use super::{Limits, STRANGER_TIME};
use crate::train::lock;
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

/// Connections at once of which it is not known yet who they are.
const STRANGERS: usize = 256;
/// The largest packet of a stranger: a CONNECT with a last will.
const STRANGER_BYTES: u32 = 64 << 10;
/// What is read at once from a connection on which little happens, and on which much does.
const READ_BYTES: [usize; 2] = [4 << 10, 64 << 10];
/// How long a connection may take to say its last words after its client has closed it.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// How long to wait for files to become free.
const OUT_OF_FILES: Duration = Duration::from_millis(20);
/// CONNACK: this version of the protocol is not spoken here (MQTT 3.1.1, 3.2.2.3).
const WRONG_VERSION: [u8; 4] = [0x20, 2, 0, 1];

/// Those that are open, by the port from which the gate speaks to `rmqtt` for them.
pub(super) type Connections = Arc<Mutex<HashMap<u16, Arc<Connection>>>>;

/// What gate and hooks know of one connection.
#[derive(Debug)]
pub(super) struct Connection {
    /// Where its client is.
    pub peer: SocketAddr,
    /// It came to the port of the trainer in this process, where nobody else is let in.
    pub is_own: bool,
    role: OnceLock<Role>,
    /// Given back when its client has shown its password.
    stranger: Mutex<Option<OwnedSemaphorePermit>>,
}

impl Connection {
    /// It is known now who this is.
    pub fn admit(&self, role: Role) {
        let _ = self.role.set(role);
        drop(lock(&self.stranger).take());
    }
}

/// The gate.
pub(super) struct Gate {
    outer: TcpListener,
    /// Where the trainer in this process connects if `outer` speaks TLS: it could not check a certificate that names
    /// this machine as others see it.
    own: Option<TcpListener>,
    shared: Arc<Shared>,
}

struct Shared {
    inner: SocketAddr,
    tls: Option<TlsAcceptor>,
    limits: Limits,
    counters: Arc<Counters>,
    places: Arc<Semaphore>,
    strangers: Arc<Semaphore>,
    connections: Connections,
}

impl Gate {
    /// Call it inside the runtime on which the gate will run.
    pub fn new(
        outer: std::net::TcpListener,
        own: Option<std::net::TcpListener>,
        inner: SocketAddr,
        tls: Option<TlsAcceptor>,
        limits: &Limits,
        counters: Arc<Counters>,
    ) -> io::Result<Self> {
        let shared = Shared {
            inner,
            tls,
            limits: *limits,
            counters,
            places: Arc::new(Semaphore::new(limits.connections)),
            strangers: Arc::new(Semaphore::new(STRANGERS)),
            connections: Connections::default(),
        };
        Ok(Self {
            outer: TcpListener::from_std(outer)?,
            own: own.map(TcpListener::from_std).transpose()?,
            shared: Arc::new(shared),
        })
    }

    /// Where it passes connections on to.
    pub fn inner(&self) -> SocketAddr {
        self.shared.inner
    }

    /// The open connections, for the hooks.
    pub fn connections(&self) -> Connections {
        Arc::clone(&self.shared.connections)
    }

    /// Accepts connections for ever.
    pub async fn run(self) {
        let shared = self.shared;
        loop {
            let Ok(stranger) = Arc::clone(&shared.strangers).acquire_owned().await else {
                return;
            };
            let (accepted, is_own) = tokio::select! {
                accepted = self.outer.accept() => (accepted, false),
                accepted = accept_own(self.own.as_ref()) => (accepted, true),
            };
            match accepted {
                Ok((stream, peer)) => begin(
                    &shared,
                    stream,
                    Caller {
                        peer,
                        is_own,
                        stranger,
                    },
                ),
                Err(e) => {
                    tracing::warn!("cannot accept an MQTT connection: {e}");
                    sleep(OUT_OF_FILES).await;
                }
            }
        }
    }
}

async fn accept_own(own: Option<&TcpListener>) -> io::Result<(TcpStream, SocketAddr)> {
    match own {
        Some(own) => own.accept().await,
        None => std::future::pending().await,
    }
}

/// Who it is that calls, as far as that is known.
struct Caller {
    peer: SocketAddr,
    is_own: bool,
    stranger: OwnedSemaphorePermit,
}

fn begin(shared: &Arc<Shared>, stream: TcpStream, caller: Caller) {
    let peer = caller.peer;
    shared.counters.add(Count::Connections);
    let Ok(place) = Arc::clone(&shared.places).try_acquire_owned() else {
        shared.counters.add(Count::NoPlace);
        return;
    };
    let shared = Arc::clone(shared);
    tokio::spawn(async move {
        if let Err(e) = serve(&shared, stream, caller).await {
            tracing::debug!("MQTT connection from {peer}: {e}");
        }
        drop(place);
    });
}

async fn serve(shared: &Shared, stream: TcpStream, caller: Caller) -> io::Result<()> {
    // Nagle's algorithm would hold back small messages for up to 40 ms.
    stream.set_nodelay(true)?;
    match shared.tls.as_ref().filter(|_| !caller.is_own) {
        None => Box::pin(speak(shared, stream, caller)).await,
        Some(tls) => match timeout(STRANGER_TIME, tls.accept(stream)).await {
            Ok(Ok(stream)) => Box::pin(speak(shared, stream, caller)).await,
            Ok(Err(e)) => refuse(shared, Count::Tls, e.to_string()),
            Err(_) => refuse(shared, Count::TooSlow, "it did not agree on TLS in time"),
        },
    }
}

fn refuse(shared: &Shared, count: Count, why: impl Into<String>) -> io::Result<()> {
    shared.counters.add(count);
    Err(io::Error::other(why.into()))
}

async fn speak<S>(shared: &Shared, mut client: S, caller: Caller) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut first = Vec::with_capacity(HELLO_BYTES);
    match timeout(STRANGER_TIME, read_hello(&mut client, &mut first)).await {
        Err(_) => return refuse(shared, Count::TooSlow, "it did not say in time what it is"),
        // With TLS 1.3 a client says only here that it does not trust the certificate.
        Ok(Err(e)) if shared.tls.is_some() => return refuse(shared, Count::Tls, e.to_string()),
        Ok(Err(e)) => return refuse(shared, Count::Foreign, e.to_string()),
        Ok(Ok(Hello::Mqtt311)) => {}
        Ok(Ok(Hello::OtherVersion)) => {
            client.write_all(&WRONG_VERSION).await?;
            client.shutdown().await?;
            return refuse(shared, Count::OtherVersion, "only MQTT 3.1.1 is spoken here");
        }
        Ok(Ok(Hello::More | Hello::Foreign)) => {
            return refuse(shared, Count::Foreign, "that is not MQTT");
        }
    }
    let mut inner = TcpStream::connect(shared.inner).await?;
    inner.set_nodelay(true)?;
    let connection = Arc::new(Connection {
        peer: caller.peer,
        is_own: caller.is_own,
        role: OnceLock::new(),
        stranger: Mutex::new(Some(caller.stranger)),
    });
    // Before the first byte: the hooks look for it when they get the CONNECT.
    let _entry = Entry::new(shared, inner.local_addr()?.port(), Arc::clone(&connection));
    let mut flow = Flow::new(shared, connection);
    flow.check(&first)?;
    inner.write_all(&first).await?;
    pass_on(client, inner, flow).await
}

/// Reads as much as it takes to know what this is, and no more than [`HELLO_BYTES`].
async fn read_hello<S: AsyncRead + Unpin>(client: &mut S, first: &mut Vec<u8>) -> io::Result<Hello> {
    loop {
        let found = hello(first);
        let room = HELLO_BYTES - first.len();
        if found != Hello::More || room == 0 {
            return Ok(found);
        }
        let read = client.take(room as u64).read_buf(first).await?;
        if read == 0 {
            return Ok(Hello::Foreign);
        }
    }
}

/// A connection in the list, until it is dropped.
struct Entry<'a> {
    shared: &'a Shared,
    port: u16,
}

impl<'a> Entry<'a> {
    fn new(shared: &'a Shared, port: u16, connection: Arc<Connection>) -> Self {
        lock(&shared.connections).insert(port, connection);
        Self { shared, port }
    }
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        lock(&self.shared.connections).remove(&self.port);
    }
}

/// What comes from one client.
struct Flow<'a> {
    shared: &'a Shared,
    connection: Arc<Connection>,
    packets: Packets,
    bytes: Bucket,
    messages: Bucket,
}

impl<'a> Flow<'a> {
    fn new(shared: &'a Shared, connection: Arc<Connection>) -> Self {
        let now = Instant::now();
        Self {
            connection,
            packets: Packets::new(STRANGER_BYTES),
            bytes: Bucket::new(shared.limits.bytes_per_s, now),
            messages: Bucket::new(shared.limits.messages_per_s, now),
            shared,
        }
    }

    /// May these bytes pass, and what comes next?
    fn check(&mut self, bytes: &[u8]) -> io::Result<Next> {
        let role = self.connection.role.get();
        if role.is_some() {
            self.packets.allow(self.shared.limits.message_bytes);
        }
        let begun = self.packets.pass(bytes).map_err(|e| {
            self.shared.counters.add(Count::TooLarge);
            tracing::warn!("closing the MQTT connection from {}: {e}", self.connection.peer);
            io::Error::other(e)
        })?;
        if self.packets.has_ended() {
            return Ok(Next::End);
        }
        if role != Some(&Role::Device) {
            return Ok(Next::After(Duration::ZERO));
        }
        let now = Instant::now();
        let wait = self.bytes.take(bytes.len() as f64, now);
        let wait = wait.max(self.messages.take(f64::from(begun), now));
        Ok(Next::After(wait))
    }
}

/// What follows the bytes that have just passed.
enum Next {
    /// More, but not before this time has passed.
    After(Duration),
    /// Nothing: the client has said goodbye, and the connection is to be closed (MQTT 3.1.1, 3.14.4).
    End,
}

/// Both directions, until one side ends.
async fn pass_on<S>(client: S, inner: TcpStream, mut flow: Flow<'_>) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (mut from_client, mut to_client) = tokio::io::split(client);
    let (mut from_inner, mut to_inner) = inner.into_split();
    let counters = &flow.shared.counters;
    let down = async {
        copy(
            &mut from_inner,
            &mut to_client,
            |_| Ok(Next::After(Duration::ZERO)),
            counters,
        )
        .await?;
        to_client.shutdown().await
    };
    let up = async {
        let outcome = copy(
            &mut from_client,
            &mut to_inner,
            |bytes| flow.check(bytes),
            counters,
        )
        .await;
        // What it has said before it closed is heard, unless it was thrown out.
        if outcome.is_ok() {
            to_inner.shutdown().await?;
        }
        outcome
    };
    tokio::pin!(down);
    tokio::select! {
        ended = &mut down => ended,
        ended = up => {
            ended?;
            timeout(LAST_WORDS, down).await.unwrap_or(Ok(()))
        }
    }
}

/// Copies until the end, each piece as `check` says. Connections on which little happens have small buffers.
async fn copy<R, W>(
    from: &mut R,
    to: &mut W,
    mut check: impl FnMut(&[u8]) -> io::Result<Next>,
    counters: &Counters,
) -> io::Result<()>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let [small, large] = READ_BYTES;
    let mut buffer = vec![0; small];
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            return Ok(());
        }
        let next = check(&buffer[..read])?;
        to.write_all(&buffer[..read]).await?;
        // TLS keeps bytes back otherwise.
        to.flush().await?;
        let Next::After(wait) = next else {
            return Ok(());
        };
        if !wait.is_zero() {
            counters.add(Count::SlowedDown);
            sleep(wait).await;
        }
        let wanted = if read == buffer.len() {
            large
        } else if read < small / 2 {
            small
        } else {
            continue;
        };
        if wanted != buffer.len() {
            buffer = vec![0; wanted];
        }
    }
}
