//! The REST server of the MEC and the cloud.
//!
//! ```text
//! request -> routes (checked, admitted) -> body (size and time bounded) -> executor (bounded) -> TaskResult
//!                                                 /proc/stat -> cpu_load -> Load (MEC only)
//! ```
//!
//! What goes over the wire stands in [`crate::offload::wire`].

mod api_error;
mod cpu_load;
mod executor;
mod receive;
mod routes;
pub mod sandbox;
mod stress;

pub use stress::{InvalidProfile, Profile as StressProfile};

use crate::task::Speed;
use axum::serve::ListenerExt;
use cpu_load::CpuLoad;
use executor::Executor;
use hwmeter_hw::Root;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;
use stress::Stress;
use tokio::net::TcpListener;
use tokio::sync::watch;

/// How long running tasks may go on after the server was asked to stop.
pub const STOP_GRACE: Duration = Duration::from_secs(5);
/// How long a task may run, whatever its deadline says.
pub const WALL_LIMIT: Duration = Duration::from_secs(30);
/// Tasks that may wait for a worker, unless configured.
pub const DEFAULT_QUEUE: usize = 32;
/// The largest payload in bytes, unless configured. With the queue it bounds the memory that payloads take.
pub const DEFAULT_MAX_PAYLOAD: usize = 16 << 20;

/// What a server is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// At the edge: runs tasks and tells its load.
    Mec,
    /// Far away and assumed always free: runs tasks only.
    Cloud,
}

impl Role {
    /// `mec` or `cloud`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mec => "mec",
            Self::Cloud => "cloud",
        }
    }
}

/// How a server is set up.
#[derive(Clone, Debug)]
pub struct ServeConfig {
    /// MEC or cloud.
    pub role: Role,
    /// Where to listen; port 0 picks a free one.
    pub listen: SocketAddr,
    /// Listen on an address that other machines reach although nothing asks them who they are.
    pub allow_remote: bool,
    /// The share of this machine's speed at which tasks run.
    pub speed: Speed,
    /// Tasks that run at once.
    pub workers: NonZeroUsize,
    /// Tasks that may wait for a worker; further ones are refused with status 503.
    pub queue: usize,
    /// The largest payload in bytes.
    pub max_payload: usize,
    /// A load on the CPU, as of other users.
    pub stress: Option<StressProfile>,
    /// Where `/proc` begins.
    pub root: Root,
}

impl ServeConfig {
    /// The defaults: loopback, any free port, full speed, one worker per CPU available to this process.
    pub fn new(role: Role) -> Self {
        Self {
            role,
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            allow_remote: false,
            speed: Speed::FULL,
            workers: std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
            queue: DEFAULT_QUEUE,
            max_payload: DEFAULT_MAX_PAYLOAD,
            stress: None,
            root: Root::default(),
        }
    }
}

/// Why a server did not start or had to end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The address is not loopback, and nobody said that this is meant.
    #[error(
        "refusing to listen on {0}: other machines could reach it, and this server does not ask who they are; \
         listen on 127.0.0.1, or add --allow-remote in a network that you trust"
    )]
    Remote(SocketAddr),
    /// The address cannot be had.
    #[error("cannot listen on {address}: {cause}{}", advice(.cause))]
    Listen {
        /// What was asked for.
        address: SocketAddr,
        /// What the kernel answered.
        cause: io::Error,
    },
    /// The runtime or the accept loop failed.
    #[error("the server failed")]
    Io(#[from] io::Error),
    /// `/proc/stat`, from which the MEC's load comes, cannot be used, or a thread cannot be had.
    #[error("cannot tell or make the load of this machine")]
    Load(#[from] hwmeter_hw::Error),
}

/// Binds `address`; errors say what to do.
pub(crate) async fn listen(address: SocketAddr) -> Result<TcpListener, ServeError> {
    TcpListener::bind(address)
        .await
        .map_err(|cause| ServeError::Listen { address, cause })
}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "; stop the program that holds the port, or choose another (port 0 picks a free one)"
        }
        io::ErrorKind::AddrNotAvailable => {
            "; this machine has no such address (`ip addr` lists those it has)"
        }
        io::ErrorKind::PermissionDenied => "; ports below 1024 need root, choose a higher one",
        _ => "",
    }
}

/// A server that holds its port and has not begun to serve.
#[derive(Debug)]
pub struct Server {
    config: ServeConfig,
    listener: std::net::TcpListener,
}

/// Takes the port. Starts no thread: between this and [`Server::run`] the process can give up its privileges
/// ([`sandbox::enter`]).
pub fn bind(config: ServeConfig) -> Result<Server, ServeError> {
    if !config.listen.ip().is_loopback() && !config.allow_remote {
        return Err(ServeError::Remote(config.listen));
    }
    let address = config.listen;
    let listener =
        std::net::TcpListener::bind(address).map_err(|cause| ServeError::Listen { address, cause })?;
    // What tokio wants.
    listener.set_nonblocking(true)?;
    Ok(Server { config, listener })
}

impl Server {
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
    Server { config, listener }: Server,
    ready: impl FnOnce(SocketAddr),
    stop: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let cpu_load = match config.role {
        Role::Mec => Some(CpuLoad::start(&config.root)?),
        Role::Cloud => None,
    };
    let stress = config.stress.as_ref().map(Stress::start).transpose()?;
    let listener = TcpListener::from_std(listener)?;
    let address = listener.local_addr()?;
    let executor = Executor::new(config.workers, config.queue, WALL_LIMIT);
    let app = Arc::new(routes::App {
        config,
        executor: executor.clone(),
        cpu_load,
    });

    let (stopping, stopped) = watch::channel(false);
    let serving = axum::serve(listener.tap_io(no_delay), routes::router(app))
        .with_graceful_shutdown(async move { until_true(stopped).await })
        .into_future();
    let grace = async {
        stop.await;
        // What still runs can end sooner.
        drop(stress);
        tracing::info!(
            "stopping; running tasks have {} s to finish",
            STOP_GRACE.as_secs()
        );
        stopping.send_replace(true);
        tokio::time::sleep(STOP_GRACE).await;
    };
    ready(address);
    tokio::select! {
        result = serving => result?,
        () = grace => tracing::warn!("gave up waiting for running tasks or open connections"),
    }
    executor.stop_all();
    Ok(())
}

async fn until_true(mut flag: watch::Receiver<bool>) {
    // An error means that the sender is gone, which happens only when the server ends anyway.
    let _ = flag.wait_for(|&set| set).await;
}

/// Nagle's algorithm would hold back small answers for up to 40 ms.
fn no_delay(stream: &mut tokio::net::TcpStream) {
    if let Err(e) = stream.set_nodelay(true) {
        tracing::debug!("TCP_NODELAY: {e}");
    }
}
