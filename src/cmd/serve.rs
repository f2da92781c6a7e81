//! `hwmeter serve`: the server side.

use super::stop_signal;
use crate::cli::{RoleArg, ServeArgs};
use anyhow::Context;
use hwmeter::offload::parent_death::end_with_parent;
use hwmeter::serve::sandbox::{self, Sandbox};
use hwmeter::serve::{DEFAULT_IDLE_LIMIT, Role, ServeConfig, TlsFiles};
use hwmeter::task::Limits;
use hwmeter_hw::Root;
use std::io::{self, Write};

/// Serves until SIGTERM or Ctrl-C.
pub fn run(args: &ServeArgs, root: &Root) -> anyhow::Result<()> {
    if args.exit_with_parent {
        end_with_parent().context("the process that started this server is gone")?;
    }
    let role = match args.role {
        RoleArg::Mec => Role::Mec,
        RoleArg::Cloud => Role::Cloud,
    };
    let config = ServeConfig {
        role,
        listen: args.listen,
        token_file: args.token_file.clone(),
        tls: args
            .tls_cert
            .clone()
            .zip(args.tls_key.clone())
            .map(|(cert, key)| TlsFiles { cert, key }),
        behind_proxy: args.behind_proxy,
        speed: args.speed,
        workers: args.workers.unwrap_or(ServeConfig::new(role).workers),
        queue: args.queue,
        max_payload: args.max_payload,
        limits: Limits {
            cpu: args.task_cpu,
            memory_bytes: usize::try_from(args.task_memory_mib << 20).unwrap_or(usize::MAX),
            wall: args.task_wall,
        },
        max_connections: args.max_connections,
        stress: args.stress.clone(),
        idle_limit: DEFAULT_IDLE_LIMIT,
        root: root.clone(),
    };
    let scheme = if config.tls.is_some() { "https" } else { "http" };
    let server = hwmeter::serve::bind(config)?;
    if args.no_sandbox {
        tracing::warn!("no sandbox: whoever takes over this server has all the rights of its user");
    } else {
        report(&sandbox::enter(root));
    }
    // Catching signals takes a thread, and the sandbox holds for those that are started inside.
    let stop = stop_signal::catch()?;
    let ready = |address| {
        announce(&format!(
            "hwmeter serve: {} listening on {scheme}://{address}",
            role.name()
        ))
    };
    Ok(server.run(ready, stop)?)
}

/// What holds is told at every start, unless -q wants errors only.
fn report(sandbox: &Sandbox) {
    if !sandbox.is_whole() {
        tracing::warn!("{sandbox}");
    } else if tracing::enabled!(tracing::Level::WARN) {
        anstream::eprintln!("hwmeter serve: {sandbox}");
    }
}

/// Tells whoever started us that clients can connect.
pub fn announce(line: &str) {
    let mut stdout = io::stdout().lock();
    // A server whose stdout nobody reads is still a server.
    let _ = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
}
