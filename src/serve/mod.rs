//! The REST server of the MEC and the cloud.
//!
//! ```text
//! accept: a place (connections), TLS, HTTP
//!   -> routes: header, token, path, method (route) -> ticket (executor)
//!        -> body, bounded in size and time (receive) -> worker, bounded in time and CPU (executor) -> TaskResult
//!        -> /proc/stat (load) -> Load        counters (metrics) -> /metrics        openapi -> /openapi.json
//!        -> otherwise an error with code and sentence (api_error)
//! ```
//!
//! What goes over the wire stands in [`crate::offload::wire`].
//!
//! # Who gets in
//!
//! On a loopback address everybody on this machine. Any other address needs a token file and TLS (or a proxy
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
//! | tasks at once, tasks waiting | `workers`, `queue` | 429 |
//! | a task | its deadline; `limits.wall`, `limits.cpu` | 504; 503 |
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
mod load;
mod metrics;
mod openapi;
mod receive;
mod route;
mod routes;
mod secret_file;
mod tls;
mod tokens;

pub use config::{
    DEFAULT_IDLE_LIMIT, DEFAULT_MAX_CONNECTIONS, DEFAULT_MAX_PAYLOAD, DEFAULT_QUEUE, Role, ServeConfig,
};
pub use error::ServeError;
pub use secret_file::SecretFileError;
pub use tls::{TlsError, TlsFiles};
pub use tokens::{TokenError, Tokens};

use accept::{Shared, accept};
use connections::Connections;
use executor::Executor;
use load::LoadWatch;
use metrics::Metrics;
use routes::App;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

/// How long running tasks may go on after the server was asked to stop.
pub const STOP_GRACE: Duration = Duration::from_secs(5);
/// How long tasks then may take to stop, and answers to go out.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// Connections that may wait to be accepted. The kernel takes no more than `net.core.somaxconn`, 4096 by default.
const BACKLOG: u32 = 4096;

/// Binds `address`; errors say what to do.
pub(crate) fn listen(address: SocketAddr) -> Result<TcpListener, ServeError> {
    bind(address).map_err(|cause| ServeError::Listen { address, cause })
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    // A server that is started anew need not wait for the connections of the one before to be forgotten.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Runs a server on the calling thread until `stop` completes, and then until its running tasks are done, at
/// most [`STOP_GRACE`]. `ready` gets the address as soon as clients can connect.
pub fn run(
    config: ServeConfig,
    ready: impl FnOnce(SocketAddr),
    stop: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        // These threads only move bytes; the tasks run on the blocking threads, one per worker.
        .worker_threads(config.workers.get().min(2))
        .max_blocking_threads(config.workers.get())
        .thread_name("hwmeter-serve")
        .enable_all()
        .build()?;
    let result = runtime.block_on(serve(config, ready, stop));
    // A task that ignores its stop flag must not keep the server from ending.
    runtime.shutdown_background();
    result
}

async fn serve(
    config: ServeConfig,
    ready: impl FnOnce(SocketAddr),
    stop: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    config.check()?;
    let tokens = config.token_file.as_deref().map(Tokens::read).transpose()?;
    let tls = config.tls.as_ref().map(tls::acceptor).transpose()?;
    let executor = Executor::new(config.workers, config.queue, config.limits);
    let counted = executor.clone();
    let load = LoadWatch::start(&config.root, move || counted.counts().waiting)?;
    let metrics = Arc::new(Metrics::new(config.role).map_err(io::Error::other)?);
    let connections = Arc::new(Connections::new(
        config.max_connections,
        config.idle_limit,
        Arc::clone(&metrics),
    ));
    let listener = listen(config.listen)?;
    let address = listener.local_addr()?;
    let app = App {
        openapi: openapi::document(&config).to_string().into(),
        config,
        tokens,
        executor: executor.clone(),
        load,
        metrics,
    };
    let (end, ending) = watch::channel(false);
    let shared = Shared {
        app: Arc::new(app),
        connections: Arc::clone(&connections),
        tls,
        ending,
    };
    ready(address);
    tokio::select! {
        () = accept(listener, shared) => {}
        () = async {
            stop.await;
            finish(&executor).await;
            // Every connection ends after its present answer.
            end.send_replace(true);
            if timeout(LAST_ANSWERS, all_gone(&connections)).await.is_err() {
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
