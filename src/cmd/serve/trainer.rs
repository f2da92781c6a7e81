//! `hwmeter serve --role trainer`: the process in which learners are trained, with its own MQTT broker.

use super::{announce, lock_in, tls_files};
use crate::cli::ServeArgs;
use crate::cmd::stop_signal;
use anyhow::{Context, bail};
use hwmeter::serve::sandbox::Rights;
use hwmeter::train::broker::{self, Bound, BrokerConfig, BrokerError, Limits};
use hwmeter_hw::Root;
use std::fs::{DirBuilder, File, TryLockError};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// How the line begins by which the trainer says that devices can connect.
pub const READY: &str = "hwmeter serve: trainer on ";
/// Where the broker listens unless told otherwise.
const DEFAULT_PORT: u16 = 1883;

/// Trains until SIGTERM or Ctrl-C.
pub fn run(args: &ServeArgs, root: &Root) -> anyhow::Result<()> {
    let state = StateFolder::open(args.training.state.as_deref())?;
    let bound = bind(args)?;
    let rights = Rights {
        writable: vec![state.path.clone()],
        connect: bound.ports().to_vec(),
        names: false,
    };
    lock_in(args, root, &rights);
    let stop = stop_signal::catch()?;
    let broker = bound.start()?;
    let scheme = if args.tls_cert.is_some() { "mqtts" } else { "mqtt" };
    // The learners' manager belongs here: it connects to `broker.address()` as `broker.account()`, keeps what it learns
    // below `state.path`, and ends before the broker does.
    announce(&format!("{READY}{scheme}://{}", broker.address()));
    tokio::runtime::Builder::new_current_thread()
        .build()
        .context("cannot wait for signals")?
        .block_on(stop);
    tracing::info!("broker: {}", broker.counts());
    broker.stop();
    Ok(())
}

/// Takes the port that was asked for, or the default one, or any if that is taken.
fn bind(args: &ServeArgs) -> Result<Bound, BrokerError> {
    let asked = args.training.mqtt_listen;
    let at = |listen| BrokerConfig {
        listen,
        tls: tls_files(args),
        users: args.training.mqtt_users.clone(),
        limits: Limits::default(),
    };
    let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    match broker::bind(&at(asked.unwrap_or(local(DEFAULT_PORT)))) {
        Err(e) if asked.is_none() && e.is_port_taken() => {
            let bound = broker::bind(&at(local(0)))?;
            anstream::eprintln!(
                "hwmeter serve: port {DEFAULT_PORT} is taken by another program; the trainer uses {}",
                bound.address().port()
            );
            Ok(bound)
        }
        bound => bound,
    }
}

/// The trainer's folder, which it has for itself as long as this lives.
struct StateFolder {
    path: PathBuf,
    _lock: File,
}

impl StateFolder {
    fn open(asked: Option<&Path>) -> anyhow::Result<Self> {
        let path = asked.map(Path::to_owned).or_else(default_folder).context(
            "cannot tell where to keep learners: neither HOME nor XDG_STATE_HOME is set; add --state DIR",
        )?;
        let shown = path.display().to_string();
        let make = || {
            DirBuilder::new().recursive(true).mode(0o700).create(&path)?;
            let lock = File::create(path.join("lock"))?;
            Ok((path.canonicalize()?, lock))
        };
        let (path, lock) = make().map_err(|e: std::io::Error| {
            anyhow::anyhow!("cannot keep learners in {shown}: {e}; add --state DIR")
        })?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path, _lock: lock }),
            Err(TryLockError::WouldBlock) => {
                bail!(
                    "another trainer keeps its learners in {shown}; stop it, or add --state DIR with another folder"
                )
            }
            Err(TryLockError::Error(e)) => bail!("cannot lock {shown}: {e}"),
        }
    }
}

/// As systemd gives it to a service, or where the XDG base directory specification has it for a user.
fn default_folder() -> Option<PathBuf> {
    let of = |name: &str| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    if let Some(folder) = of("STATE_DIRECTORY") {
        return Some(folder.join("trainer"));
    }
    let state = of("XDG_STATE_HOME").or_else(|| Some(of("HOME")?.join(".local/state")))?;
    Some(state.join("hwmeter/trainer"))
}
