//! The REST server of the MEC and the cloud.
//!
//! ```text
//! accept: a place (connections), TLS, HTTP
//!   -> routes: header, token, path, method (route) -> room in the queue (executor)
//!        -> body, bounded in size and time (receive)
//!        -> ticket, worker, bounded in time and CPU (executor) -> TaskResult
//!        -> where learners are trained (training)
//!        -> /proc/stat (load) -> Load        counters (metrics) -> /metrics        openapi -> /openapi.json
//!        -> otherwise an error with code and sentence (api_error)
//! ```
//!
//! What goes over the wire stands in [`crate::offload::wire`].
//!
//! # Who gets in
//!
//! On a loopback address everybody on this machine, but no web page: what carries an `Origin`, or asks for a name other
//! than `localhost`, is refused (403, 421). Any other address needs a token file and TLS (or a proxy
//! that does it); every route but `/healthz` then asks for a bearer token. The order of the checks is such that
//! a stranger costs nothing but a small header: place, header size, token, path, method, parameters, declared
//! size, room in the executor, and only then the body.
//!
//! # What is bounded
//!
//! | what | by | beyond it |
//! |---|---|---|
//! | connections | `max_connections`, the files of the process | the idlest is closed; 503 if all are busy |
//! | a connection that does nothing, a header that drips | `idle_limit`, 30 s | closed |
//! | header | 16 KiB, 100 fields | 431 (without a body beyond 64 KiB or 100 fields) |
//! | payload | `max_payload`, `limits.memory_bytes` | 413, before it is read if its length is declared |
//! | a payload that stalls | 10 s | 408 |
//! | a payload that drips | its deadline; `limits.wall` | 504; 408 |
//! | payloads that arrive | only hashed, or for modules `workers` + `queue` times `max_payload` in all | 429 |
//! | tasks at once, tasks waiting | `workers`, `queue` | 429 |
//! | a task | its deadline; `limits.wall`, `limits.cpu` | 504; 503 |
//!
//! A payload that arrives slowly holds its connection and what has come of it, no place among the tasks: it takes that
//! once it is there. A task that does not stop when told, as while its module is compiled, keeps its worker, and its
//! client is answered without it.
//!
//! Every error that the server itself answers is JSON. What is no HTTP, or has a header that cannot be read, is answered by
//! the HTTP library below it: a status (400, 414, 431) without a body, and the connection is closed.
//!
//! Deadlines are times left, not times of day: clocks need not agree.

mod accept;
mod answer;
mod api_error;
mod config;
mod connections;
mod counted_io;
mod error;
mod executor;
mod job;
mod load;
mod metrics;
mod openapi;
mod receive;
mod route;
mod routes;
pub mod sandbox;
pub(crate) mod secret_file;
mod stress;
pub(crate) mod tls;
mod tokens;
mod training;
mod web_page;

pub use config::{
    DEFAULT_IDLE_LIMIT, DEFAULT_MAX_CONNECTIONS, DEFAULT_MAX_PAYLOAD, DEFAULT_QUEUE, Role, ServeConfig,
};
pub use error::ServeError;
pub(crate) use error::advice as listen_advice;
pub use secret_file::SecretFileError;
pub use stress::{InvalidProfile, Profile as StressProfile};
pub use tls::{TlsError, TlsFiles};
pub use tokens::{TokenError, Tokens};
pub use training::Trainer;

use crate::task::wasm::Engine;
use accept::{Shared, accept};
use connections::Connections;
use executor::Executor;
use load::LoadWatch;
use metrics::Metrics;
use nix::sys::socket::Backlog;
use receive::Room;
use routes::App;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use stress::Stress;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

/// How long running tasks may go on after the server was asked to stop.
pub const STOP_GRACE: Duration = Duration::from_secs(5);
/// How long tasks then may take to stop, and answers to go out.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// Binds `address`; errors say what to do.
pub(crate) fn listen(address: SocketAddr) -> Result<TcpListener, ServeError> {
    Ok(TcpListener::from_std(take_port_of_server(address)?)?)
}

fn take_port_of_server(address: SocketAddr) -> Result<std::net::TcpListener, ServeError> {
    take_port(address).map_err(|cause| ServeError::Listen { address, cause })
}

/// Binds `address` for a runtime that will be there later.
pub(crate) fn take_port(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let listener = std::net::TcpListener::bind(address)?;
    // As many connections may wait to be accepted as the kernel allows (`net.core.somaxconn`, 4096 by default).
    nix::sys::socket::listen(&listener, Backlog::MAXCONN)?;
    // Tokio needs it so.
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// A server that has all it needs from the outside, its port among it, and has not begun to serve.
pub struct Server {
    config: ServeConfig,
    tokens: Option<Tokens>,
    tls: Option<TlsAcceptor>,
    metrics: Arc<Metrics>,
    connections: Arc<Connections>,
    listener: std::net::TcpListener,
}

/// Reads tokens and certificates and takes the port. Starts no thread: between this and [`Server::run`] the process
/// can give up its privileges ([`sandbox::enter`]).
pub fn bind(config: ServeConfig) -> Result<Server, ServeError> {
    config.check()?;
    let metrics = Arc::new(Metrics::new(config.role).map_err(io::Error::other)?);
    Ok(Server {
        tokens: config.token_file.as_deref().map(Tokens::read).transpose()?,
        tls: config
            .tls
            .as_ref()
            .map(|files| tls::acceptor(files, &[b"http/1.1"]))
            .transpose()?,
        connections: Arc::new(Connections::new(
            config.max_connections,
            config.idle_limit,
            Arc::clone(&metrics),
        )),
        metrics,
        listener: take_port_of_server(config.listen)?,
        config,
    })
}

impl Server {
    /// The same server with a trainer beside it.
    pub fn with_trainer(mut self, trainer: Option<Trainer>) -> Self {
        self.config.trainer = trainer;
        self
    }

    /// Serves on the calling thread until `stop` completes, and then until its running tasks are done, at most
    /// [`STOP_GRACE`]. `ready` gets the address as soon as clients can connect.
    pub fn run(
        self,
        ready: impl FnOnce(SocketAddr),
        stop: impl Future<Output = ()>,
    ) -> Result<(), ServeError> {
        let workers = self.config.workers.get();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            // These threads only move bytes; the tasks run on the blocking threads, one per worker.
            .worker_threads(workers.min(2))
            .max_blocking_threads(workers)
            .thread_name("hwmeter-serve")
            .enable_all()
            .build()?;
        let result = runtime.block_on(serve(self, ready, stop));
        // A task that ignores its stop flag must not keep the server from ending.
        runtime.shutdown_background();
        result
    }
}

/// [`bind`] and [`Server::run`] in one.
pub fn run(
    config: ServeConfig,
    ready: impl FnOnce(SocketAddr),
    stop: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    bind(config)?.run(ready, stop)
}

async fn serve(
    server: Server,
    ready: impl FnOnce(SocketAddr),
    stop: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let config = server.config;
    let executor = Executor::new(config.workers, config.queue, config.limits);
    let counted = executor.clone();
    let load = LoadWatch::start(&config.root, move || counted.counts().waiting)?;
    let stress = config.stress.as_ref().map(Stress::start).transpose()?;
    let listener = TcpListener::from_std(server.listener)?;
    let address = listener.local_addr()?;
    let wasm = Engine::new();
    if let Err(why) = &wasm {
        tracing::warn!("no WebAssembly tasks: {why}");
    }
    let app = App {
        openapi: openapi::document(&config).to_string().into(),
        tokens: server.tokens,
        executor: executor.clone(),
        room: Room::new(
            config.workers.get().saturating_add(config.queue),
            config.payload_limit(),
        ),
        config,
        load,
        metrics: server.metrics,
        wasm,
    };
    let (end, ending) = watch::channel(false);
    let shared = Shared {
        app: Arc::new(app),
        connections: Arc::clone(&server.connections),
        tls: server.tls,
        ending,
    };
    ready(address);
    tokio::select! {
        () = accept(listener, shared) => {}
        () = async {
            stop.await;
            // What still runs can end sooner.
            drop(stress);
            finish(&executor).await;
            // Every connection ends after its present answer.
            end.send_replace(true);
            if timeout(LAST_ANSWERS, all_gone(&server.connections)).await.is_err() {
                tracing::warn!("gave up waiting for clients to take their last answers");
            }
        } => {}
    }
    Ok(())
}

/// Lets tasks end by themselves, and stops those that do not. Meanwhile new ones are told that the server is
/// stopping.
async fn finish(executor: &Executor) {
    executor.close();
    let seconds = STOP_GRACE.as_secs();
    tracing::info!("stopping; running tasks have {seconds} s to finish");
    if timeout(STOP_GRACE, executor.all_done()).await.is_ok() {
        return;
    }
    let tasks = executor.counts();
    executor.stop_all();
    tracing::warn!(
        "stopped {} running and {} waiting tasks that were not done within {seconds} s; their clients are told",
        tasks.running,
        tasks.waiting
    );
    if timeout(LAST_ANSWERS, executor.all_done()).await.is_err() {
        tracing::warn!("a task ignores that it must stop");
    }
}

async fn all_gone(connections: &Connections) {
    while !connections.is_empty() {
        sleep(Duration::from_millis(2)).await;
    }
}
