//! How a server is set up.

use super::error::ServeError;
use super::stress::Profile as StressProfile;
use super::tls::TlsFiles;
use super::training::Trainer;
use crate::task::{KERNEL_MEMORY_BYTES, Limits, Speed};
use hwmeter_hw::Root;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

/// Tasks that may wait for a worker, unless configured.
pub const DEFAULT_QUEUE: usize = 32;
/// The largest payload in bytes, unless configured. With the queue it bounds the memory that payloads take.
pub const DEFAULT_MAX_PAYLOAD: usize = 16 << 20;
/// Connections that may be open at once, unless configured; fewer where the process may not have so many files.
pub const DEFAULT_MAX_CONNECTIONS: usize = 16_384;

/// How long a connection may do nothing, unless configured.
pub const DEFAULT_IDLE_LIMIT: Duration = Duration::from_secs(30);

/// What a server is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// At the edge.
    Mec,
    /// Far away, and assumed by the agent to be always free.
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
    /// Who may use the server: a file with one bearer token a line. Without it, only this machine can be served.
    pub token_file: Option<PathBuf>,
    /// Certificate and key; plain HTTP without them.
    pub tls: Option<TlsFiles>,
    /// A proxy in front of this server does TLS.
    pub behind_proxy: bool,
    /// The share of this machine's speed at which tasks run.
    pub speed: Speed,
    /// Tasks that run at once.
    pub workers: NonZeroUsize,
    /// Tasks that may wait for a worker; further ones are refused with status 429.
    pub queue: usize,
    /// The largest payload in bytes.
    pub max_payload: usize,
    /// What one task may use.
    pub limits: Limits,
    /// Connections that may be open at once.
    pub max_connections: usize,
    /// A load on the CPU, as of other users.
    pub stress: Option<StressProfile>,
    /// How long a connection may go without completing a request's header, idle or dripping.
    pub idle_limit: Duration,
    /// Where learners are trained, if they are.
    pub trainer: Option<Trainer>,
    /// Where `/proc` begins.
    pub root: Root,
}

impl ServeConfig {
    /// The defaults: loopback, any free port, full speed, one worker per CPU available to this process.
    pub fn new(role: Role) -> Self {
        Self {
            role,
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            token_file: None,
            tls: None,
            behind_proxy: false,
            speed: Speed::FULL,
            workers: std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
            queue: DEFAULT_QUEUE,
            max_payload: DEFAULT_MAX_PAYLOAD,
            limits: Limits::default(),
            max_connections: DEFAULT_MAX_CONNECTIONS,
            stress: None,
            idle_limit: DEFAULT_IDLE_LIMIT,
            trainer: None,
            root: Root::default(),
        }
    }

    /// The largest payload in bytes that leaves a task the memory it needs besides.
    pub fn payload_limit(&self) -> usize {
        let left = self.limits.memory_bytes.saturating_sub(KERNEL_MEMORY_BYTES);
        self.max_payload.min(left)
    }

    /// Is this machine alone served?
    pub fn is_local(&self) -> bool {
        self.listen.ip().is_loopback() && !self.behind_proxy
    }

    /// Whoever can be reached from elsewhere must ask who comes, and be overheard by nobody. A proxy brings others
    /// even to a loopback address.
    pub(super) fn check(&self) -> Result<(), ServeError> {
        let is_local = self.is_local();
        if !is_local && self.token_file.is_none() {
            return Err(ServeError::NoToken(self.listen));
        }
        if !is_local && self.tls.is_none() && !self.behind_proxy {
            return Err(ServeError::NoTls(self.listen));
        }
        if self.limits.memory_bytes <= KERNEL_MEMORY_BYTES {
            return Err(ServeError::Memory(
                self.limits.memory_bytes >> 20,
                KERNEL_MEMORY_BYTES >> 20,
            ));
        }
        Ok(())
    }
}
