//! `hwmeter serve --role trainer`: the process in which learners are trained, with its own MQTT broker or at another.

use super::state::State;
use super::{announce, energy, lock_in, tls_files};
use crate::cli::ServeArgs;
use crate::cmd::host_name::name_of_host;
use crate::cmd::stop_signal;
use anyhow::{Context, bail};
use hwmeter::serve::sandbox::Rights;
use hwmeter::train::broker::{self, Bound, BrokerConfig, BrokerError, Limits};
use hwmeter::train::link::{Event, Link, Prepared};
use hwmeter::train::manager::Config;
use hwmeter::train::store::Store;
use hwmeter::train::topic::Name;
use hwmeter::train::trainer::Trainer;
use hwmeter_hw::Root;
use std::fs::{DirBuilder, File, TryLockError};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::mpsc::Receiver;
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

/// How the line begins by which the trainer says that devices can connect.
pub const READY: &str = "hwmeter serve: trainer on ";
/// How long storing may take at the end. With the goodbyes after it, less than a keeper waits before it kills.
const LAST_STORING: Duration = Duration::from_secs(5);
/// How often it says how it goes, at -v.
const SAY_EVERY: Duration = Duration::from_secs(60);
/// Where the broker listens unless told otherwise.
const DEFAULT_PORT: u16 = 1883;

/// Trains until SIGTERM or Ctrl-C.
pub fn run(args: &ServeArgs, root: &Root) -> anyhow::Result<()> {
    let name = name(args, root)?;
    let id = format!("hwmeter-trainer-{name}");
    let mut config = args.training.config(name)?;
    config.price = energy::price(&args.training, root)?;
    let state = State::open(args.training.state.as_deref(), args.training.group.is_some())?;
    let broker = &args.training.broker;
    match broker.url()? {
        Some(url) => {
            let mut link = broker.link(url, id)?;
            link.max_message = Limits::default().message_bytes as usize;
            link.will = config.membership.last_will();
            at_a_broker(args, root, config, &state, link.prepare()?)
        }
        None => with_a_broker(args, root, config, &state),
    }
}

/// With the broker of this process.
fn with_a_broker(args: &ServeArgs, root: &Root, config: Config, state: &State) -> anyhow::Result<()> {
    let bound = bind(args)?;
    let mut rights = Rights {
        connect: bound.ports().to_vec(),
        ..Rights::default()
    };
    state.allow(&mut rights);
    lock_in(args, root, &rights);
    let store = state.store()?;
    let runtime = runtime()?;
    let stop = stop_signal::catch()?;
    let broker = bound.start()?;
    let (link, events) = Link::start(broker.own_link())?;
    let trainer = start(config, store, link, events)?;
    let scheme = if args.tls_cert.is_some() { "mqtts" } else { "mqtt" };
    announce(&format!("{READY}{scheme}://{}", broker.address()));
    runtime.block_on(until(stop, || {
        tracing::info!("trainer: {}", trainer.totals());
        tracing::info!("broker: {}", broker.counts());
    }));
    tracing::info!("trainer: {}", trainer.stop());
    tracing::info!("broker: {}", broker.counts());
    broker.stop();
    Ok(())
}

/// With a broker that somebody else runs.
fn at_a_broker(
    args: &ServeArgs,
    root: &Root,
    config: Config,
    state: &State,
    link: Prepared,
) -> anyhow::Result<()> {
    let url = link.url().clone();
    let mut rights = Rights {
        connect: vec![url.port()],
        names: url.host().parse::<IpAddr>().is_err(),
        ..Rights::default()
    };
    state.allow(&mut rights);
    lock_in(args, root, &rights);
    let store = state.store()?;
    let runtime = runtime()?;
    let mut stop = pin!(stop_signal::catch()?);
    let (link, events) = link.start()?;
    let connected = connected(events)?;
    let events = runtime.block_on(async {
        tokio::select! {
            () = &mut stop => None,
            events = connected => Some(events),
        }
    });
    let Some(events) = events else {
        return Ok(());
    };
    let trainer = start(
        config,
        store,
        link,
        events.context("the connection to the broker has ended")?,
    )?;
    announce(&format!("{READY}{url}"));
    runtime.block_on(until(stop, || tracing::info!("trainer: {}", trainer.totals())));
    tracing::info!("trainer: {}", trainer.stop());
    Ok(())
}

/// Gives the events back when there is a connection; until then says why there is none.
fn connected(events: Receiver<Event>) -> anyhow::Result<oneshot::Receiver<Receiver<Event>>> {
    let (sender, receiver) = oneshot::channel();
    let wait = move || {
        while let Ok(event) = events.recv() {
            match event {
                Event::Connected => {
                    // Nobody waits any more when it is time to end.
                    let _ = sender.send(events);
                    return;
                }
                Event::Disconnected(why) => tracing::warn!("{why}; it is tried again"),
                Event::Trouble(why) => tracing::warn!("{why}"),
                Event::Message { .. } => {}
            }
        }
    };
    std::thread::Builder::new()
        .name("hwmeter-connect".to_owned())
        .spawn(wait)
        .context("cannot start the thread that waits for the broker")?;
    Ok(receiver)
}

fn runtime() -> anyhow::Result<Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .context("cannot wait for signals")
}

/// The learners' manager at work.
fn start(config: Config, store: Store, link: Link, events: Receiver<Event>) -> anyhow::Result<Trainer> {
    let learners = std::thread::available_parallelism().map_or(1, |n| n.get());
    Trainer::start(config, store, link, events, learners, LAST_STORING).context("cannot start the trainer")
}

/// Waits for the end, and meanwhile says how it goes.
async fn until(stop: impl Future<Output = ()>, say: impl Fn()) {
    let mut stop = pin!(stop);
    while tokio::time::timeout(SAY_EVERY, &mut stop).await.is_err() {
        say();
    }
}

/// Which trainer this is, among those at a broker.
fn name(args: &ServeArgs, root: &Root) -> anyhow::Result<Name> {
    match &args.training.trainer_name {
        Some(name) => Ok(name.clone()),
        None => {
            name_of_host(root).context("this host has no name that can be used; give --trainer-name NAME")
        }
    }
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

/// The trainer's folder, which it has for itself, or with others of its group, as long as this lives.
pub struct StateFolder {
    /// Where it is.
    pub path: PathBuf,
    is_shared: bool,
    _lock: File,
}

impl StateFolder {
    /// Makes it if need be.
    pub fn open(asked: Option<&Path>, is_shared: bool) -> anyhow::Result<Self> {
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
        let locked = match is_shared {
            true => lock.try_lock_shared(),
            false => lock.try_lock(),
        };
        match locked {
            Ok(()) => Ok(Self {
                path,
                is_shared,
                _lock: lock,
            }),
            Err(TryLockError::WouldBlock) => {
                bail!(
                    "another trainer keeps its learners in {shown}; stop it, or add --state DIR with another folder \
                     (only trainers of one --group share one)"
                )
            }
            Err(TryLockError::Error(e)) => bail!("cannot lock {shown}: {e}"),
        }
    }

    /// The learners in it.
    pub fn store(&self) -> anyhow::Result<Store> {
        let folder = self.path.join("learners");
        let store = match self.is_shared {
            true => Store::folder_of_group(&folder),
            false => Store::folder(&folder),
        };
        store.context("cannot keep learners")
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
