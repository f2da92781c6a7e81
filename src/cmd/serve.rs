//! `hwmeter serve`: the server side.

use super::stop_signal;
use crate::cli::{RoleArg, ServeArgs};
use anyhow::Context;
use hwmeter::offload::parent_death::end_with_parent;
use hwmeter::serve::{Role, ServeConfig};
use hwmeter_hw::Root;
use std::io::{self, Write};

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
