//! Arguments of `hwmeter serve`.

use super::TrainingArgs;
use crate::cmd::values;
use clap::Args;
use clap::ValueEnum;
use hwmeter::serve::DEFAULT_MAX_CONNECTIONS;
use hwmeter::serve::DEFAULT_MAX_PAYLOAD;
use hwmeter::serve::DEFAULT_QUEUE;
use hwmeter::serve::StressProfile;
use hwmeter::task::Speed;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

#[derive(Debug, Args)]
pub struct ServeArgs {
    /// What this server is: an edge server; a cloud, which the agent assumes to be always free; or the trainer alone,
    /// which an edge server starts by itself
    #[arg(long, value_enum)]
    pub role: RoleArg,

    /// Address and port to listen on; port 0 picks a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,

    /// Share of this machine's speed at which tasks run, more than 0 to 1
    #[arg(long, value_name = "SHARE", default_value = "1", value_parser = values::speed)]
    pub speed: Speed,

    /// Tasks that run at once [default: one per CPU]
    #[arg(long, value_name = "N")]
    pub workers: Option<NonZeroUsize>,

    /// Tasks that may wait for a worker; further ones are refused
    #[arg(long, value_name = "N", default_value_t = DEFAULT_QUEUE)]
    pub queue: usize,

    /// Largest payload in bytes
    #[arg(long, value_name = "BYTES", default_value_t = DEFAULT_MAX_PAYLOAD)]
    pub max_payload: usize,

    /// CPU time one task may use
    #[arg(long, value_name = "T", default_value = "30s", value_parser = values::task_limit)]
    pub task_cpu: Duration,

    /// Memory one task may use with its payload, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 256, value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
    pub task_memory_mib: u64,

    /// How long one task may run
    #[arg(long, value_name = "T", default_value = "30s", value_parser = values::task_limit)]
    pub task_wall: Duration,

    /// Connections that may be open at once; beyond them the one that was idle for longest is closed
    #[arg(long, value_name = "N", default_value_t = DEFAULT_MAX_CONNECTIONS)]
    pub max_connections: usize,

    /// Who may use the server: one bearer token a line, such as `openssl rand -hex 32` makes. Must not be readable
    /// by everybody. Needed unless only this machine is served
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,

    /// The server's certificate (PEM, followed by those between it and the authority)
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,

    /// Its private key (PEM, without a password). Must not be readable by everybody
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,

    /// A proxy in front of this server does TLS. Tokens are asked for even on a loopback address
    #[arg(long, conflicts_with = "tls_cert")]
    pub behind_proxy: bool,

    #[command(flatten)]
    pub training: TrainingArgs,

    /// End when the process that started this one ends
    #[arg(long)]
    pub exit_with_parent: bool,

    /// Keep the CPU busy, as other users would, for experiments: by a share such as 0.9, or by one that wanders, such as
    /// walk:0.8..1.0,seed=5,step=0.05,every=1s
    #[arg(long, value_name = "PROFILE")]
    pub stress: Option<StressProfile>,

    /// Keep all rights of the user who starts this server. Otherwise it gives up, before it serves, to write files,
    /// to read most of them, to start programs and to open connections, as far as the kernel has the means
    #[arg(long)]
    pub no_sandbox: bool,
}

/// The roles on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RoleArg {
    Mec,
    Cloud,
    Trainer,
}
