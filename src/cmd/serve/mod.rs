//! `hwmeter serve`: the server side.
//!
//! ```text
//! serve --role mec
//!   -> serve --role trainer --keep    (training: before the sandbox) starts the trainer again when it ends (keeper)
//!        -> serve --role trainer      broker and learners, locked in as well (trainer)
//!        -> serve --role trainer --of-type T    with --learner-processes: learners of one type of device
//! ```
//!
//! The one in the middle is needed because a server that is locked in can start no program. Nothing from the network
//! reaches it but the names of types, which the trainer says (types). It ends when its stdin does, and that does when
//! the server ends, even by kill -9.

mod energy;
mod keeper;
mod kept;
mod options;
mod state;
mod trainer;
mod training;
mod types;

use self::training::Training;
use super::stop_signal;
use crate::cli::{RoleArg, ServeArgs};
use anyhow::Context;
use hwmeter::offload::parent_death::end_with_parent;
use hwmeter::serve::sandbox::{self, Rights, Sandbox};
use hwmeter::serve::{DEFAULT_IDLE_LIMIT, Role, ServeConfig, TlsFiles};
use hwmeter::task::Limits;
use hwmeter_hw::Root;
use std::io::{self, Write};

/// Serves until SIGTERM or Ctrl-C.
pub fn run(args: &ServeArgs, root: &Root) -> anyhow::Result<()> {
    if args.exit_with_parent {
        end_with_parent().context("the process that started this server is gone")?;
    }
    match args.role {
        RoleArg::Mec => serve(args, Role::Mec, root),
        RoleArg::Cloud => serve(args, Role::Cloud, root),
        RoleArg::Trainer if args.training.keep || args.training.learner_processes => keeper::run(args),
        RoleArg::Trainer => trainer::run(args, root),
    }
}

fn serve(args: &ServeArgs, role: Role, root: &Root) -> anyhow::Result<()> {
    let config = ServeConfig {
        role,
        listen: args.listen,
        token_file: args.token_file.clone(),
        tls: tls_files(args),
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
        trainer: None,
        root: root.clone(),
    };
    let scheme = if config.tls.is_some() { "https" } else { "http" };
    let is_local = config.is_local();
    let server = hwmeter::serve::bind(config)?;
    let training = Training::start(args, is_local)?;
    let server = server.with_trainer(training.as_ref().map(Training::describe));
    lock_in(args, root, &Rights::default());
    // Catching signals takes a thread, and the sandbox holds for those that are started inside.
    let stop = stop_signal::catch()?;
    let ready = |address| {
        announce(&format!(
            "hwmeter serve: {} listening on {scheme}://{address}",
            role.name()
        ))
    };
    server.run(ready, stop)?;
    if let Some(training) = training {
        training.stop();
    }
    Ok(())
}

fn tls_files(args: &ServeArgs) -> Option<TlsFiles> {
    let (cert, key) = args.tls_cert.clone().zip(args.tls_key.clone())?;
    Some(TlsFiles { cert, key })
}

/// The sandbox, unless it was declined.
fn lock_in(args: &ServeArgs, root: &Root, rights: &Rights) {
    if args.no_sandbox {
        tracing::warn!("no sandbox: whoever takes over this server has all the rights of its user");
    } else {
        report(&sandbox::enter(root, rights));
    }
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
