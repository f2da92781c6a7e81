//! `hwmeter serve`: the server side.

use super::stop_signal;
use anyhow::Context;
use hwmeter::offload::parent_death::end_with_parent;
use hwmeter::serve::{DEFAULT_MAX_PAYLOAD, DEFAULT_QUEUE, Role, ServeConfig};
use hwmeter::task::Speed;
use hwmeter_hw::Root;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::num::NonZeroUsize;

/// Run tasks for devices, and tell them how busy this server is.
#[derive(clap::Args, Debug)]
pub struct ServeArgs {
    /// What this server is: an edge server that tells its load, or a cloud assumed to be always free
    #[arg(long, value_enum)]
    pub role: RoleArg,

    /// Address and port to listen on; port 0 picks a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,

    /// Share of this machine's speed at which tasks run, more than 0 to 1
    #[arg(long, value_name = "SHARE", default_value = "1")]
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

    /// End when the process that started this one ends
    #[arg(long)]
    pub exit_with_parent: bool,

    /// Listen on an address that other machines reach. There is NO access control and no encryption: anybody in
    /// that network can run tasks here. Only for networks that you trust
    #[arg(long)]
    pub allow_remote: bool,
}

/// The roles on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum RoleArg {
    Mec,
    Cloud,
}

/// Serves until SIGTERM or Ctrl-C.
pub fn run(args: &ServeArgs, root: &Root) -> anyhow::Result<()> {
    if args.exit_with_parent {
        end_with_parent().context("the process that started this server is gone")?;
    }
    let stop = stop_signal::catch()?;
    let role = match args.role {
        RoleArg::Mec => Role::Mec,
        RoleArg::Cloud => Role::Cloud,
    };
    let defaults = ServeConfig::new(role);
    let config = ServeConfig {
        listen: args.listen,
        allow_remote: args.allow_remote,
        speed: args.speed,
        workers: args.workers.unwrap_or(defaults.workers),
        queue: args.queue,
        max_payload: args.max_payload,
        root: root.clone(),
        ..defaults
    };
    if !args.listen.ip().is_loopback() && args.allow_remote {
        tracing::warn!("anybody who reaches {} can run tasks here", args.listen);
    }
    let ready = |address| {
        announce(&format!(
            "hwmeter serve: {} listening on http://{address}",
            role.name()
        ))
    };
    Ok(hwmeter::serve::run(config, ready, stop)?)
}

/// Tells whoever started us that clients can connect.
pub fn announce(line: &str) {
    let mut stdout = io::stdout().lock();
    // A server whose stdout nobody reads is still a server.
    let _ = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
}
