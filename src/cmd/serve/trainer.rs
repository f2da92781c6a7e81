//! `hwmeter serve --role trainer`: the process in which learners are trained, with its own MQTT broker or at another.

use super::state::State;
use super::types::Watch;
use super::{announce, energy, lock_in, tls_files};
use crate::cli::ServeArgs;
use crate::cmd::host_name::name_of_host;
use crate::cmd::stop_signal;
use anyhow::Context;
use hwmeter::serve::sandbox::Rights;
use hwmeter::train::broker::{self, Account, Bound, BrokerConfig, Limits};
use hwmeter::train::link::{BrokerUrl, Event, Link, Prepared};
use hwmeter::train::manager::Config;
use hwmeter::train::store::Store;
use hwmeter::train::topic::Name;
use hwmeter::train::trainer::Trainer;
use hwmeter::train::types::{Types, process_name};
use hwmeter_hw::Root;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::sync::mpsc::Receiver;
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

/// How the line begins by which the trainer says that devices can connect.
pub const READY: &str = "hwmeter serve: trainer on ";
/// The same for where processes of ours connect, told to the keeper alone.
pub const INSIDE: &str = "hwmeter serve: trainers of this machine on ";
/// How long storing may take at the end. With the goodbyes after it, less than a keeper waits before it kills.
const LAST_STORING: Duration = Duration::from_secs(5);
/// How often it says how it goes, at -v.
const SAY_EVERY: Duration = Duration::from_secs(60);
/// Where the broker listens unless told otherwise.
const DEFAULT_PORT: u16 = 1883;

/// Trains until SIGTERM or Ctrl-C.
pub fn run(args: &ServeArgs, root: &Root) -> anyhow::Result<()> {
    let Identity { name, client_id } = Identity::of(args, root)?;
    let types = args
        .training
        .say_types
        .then(|| Types::new(name.clone(), args.training.known_type.clone()));
    let mut config = args.training.config(name)?;
    config.price = energy::price(&args.training, root)?;
    let state = State::open(&args.training)?;
    let broker = &args.training.broker;
    match broker.urls()? {
        Some(urls) => {
            let mut link = broker.link(urls, client_id)?;
            link.max_message = Limits::default().message_bytes as usize;
            let watch = types
                .map(|types| Watch::prepare(link.clone(), types))
                .transpose()?;
            link.will = config.membership.last_will();
            at_a_broker(args, root, config, &state, link.prepare()?, watch)
        }
        None => with_a_broker(args, root, config, &state, types),
    }
}

/// Who this trainer is.
struct Identity {
    /// In topics.
    name: Name,
    /// For the broker. The slash keeps a process of a type, which any device can name, apart from every other trainer.
    client_id: String,
}

impl Identity {
    fn of(args: &ServeArgs, root: &Root) -> anyhow::Result<Self> {
        let name = name(args, root)?;
        let client_id = format!("hwmeter-trainer-{name}");
        Ok(match &args.training.of_type {
            None => Self { name, client_id },
            Some(of_type) => Self {
                name: process_name(&name, of_type).context("the names of trainer and type are too long")?,
                client_id: format!("{client_id}/{of_type}"),
            },
        })
    }
}

/// With the broker of this process.
fn with_a_broker(
    args: &ServeArgs,
    root: &Root,
    config: Config,
    state: &State,
    types: Option<Types>,
) -> anyhow::Result<()> {
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
    let watch = types
        .map(|types| {
            announce(&format!("{INSIDE}mqtt://{}", broker.own_address()));
            Watch::prepare(broker.own_link(), types)?.start()
        })
        .transpose()?;
    runtime.block_on(until(stop, || {
        tracing::info!("trainer: {}", trainer.totals());
        watch.iter().for_each(Watch::report);
        tracing::info!("broker: {}", broker.counts());
    }));
    watch.into_iter().for_each(Watch::stop);
    // Not in the macro, which evaluates nothing that is not shown.
    let totals = trainer.stop();
    tracing::info!("trainer: {totals}");
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
    watch: Option<Watch<Prepared>>,
) -> anyhow::Result<()> {
    let urls = link.urls().clone();
    let mut rights = Rights {
        connect: urls.iter().map(BrokerUrl::port).collect(),
        names: urls.iter().any(|url| url.host().parse::<IpAddr>().is_err()),
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
    announce(&format!("{READY}{urls}"));
    let watch = watch.map(Watch::start).transpose()?;
    runtime.block_on(until(stop, || {
        tracing::info!("trainer: {}", trainer.totals());
        watch.iter().for_each(Watch::report);
    }));
    watch.into_iter().for_each(Watch::stop);
    // Not in the macro, which evaluates nothing that is not shown.
    let totals = trainer.stop();
    tracing::info!("trainer: {totals}");
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
fn bind(args: &ServeArgs) -> anyhow::Result<Bound> {
    let asked = args.training.mqtt_listen;
    let password = args.training.inside_password_file.as_deref();
    let account = password.map(Account::read).transpose()?;
    let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let at = |listen| BrokerConfig {
        listen,
        tls: tls_files(args),
        users: args.training.mqtt_users.clone(),
        account: account.clone(),
        own_listen: args.training.inside_listen.unwrap_or(local(0)),
        limits: Limits::default(),
    };
    match broker::bind(&at(asked.unwrap_or(local(DEFAULT_PORT)))) {
        Err(e) if asked.is_none() && e.is_port_taken() => {
            let bound = broker::bind(&at(local(0)))?;
            anstream::eprintln!(
                "hwmeter serve: port {DEFAULT_PORT} is taken by another program; the trainer uses {}",
                bound.address().port()
            );
            Ok(bound)
        }
        bound => Ok(bound?),
    }
}
