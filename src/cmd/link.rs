//! `hwmeter link`: the link emulator.

use super::serve::announce;
use super::stop_signal::{self, Ending};
use crate::cli::LinkArgs;
use crate::ui;
use anyhow::{Context, anyhow};
use hwmeter::offload::link::netem::Netem;
use hwmeter::offload::link::profile::{Outage, Profile, Way};
use hwmeter::offload::link::{self, LinkConfig};
use hwmeter::offload::parent_death::end_with_parent;
use hwmeter_hw::Root;
use std::net::{SocketAddr, ToSocketAddrs};

/// Carries connections, or slows down an interface, until SIGTERM or Ctrl-C.
pub fn run(args: &LinkArgs, root: &Root) -> anyhow::Result<()> {
    if args.exit_with_parent {
        end_with_parent().context("the process that started this link is gone")?;
    }
    if let Some(preset) = args.network.preset.filter(|_| args.show) {
        ui::outln!("{}", preset.text().trim_end());
        return Ok(());
    }
    let profile = profile(args)?;
    match (&args.netem.netem, &args.to) {
        (Some(interface), _) => run_netem(interface, &profile, args, root),
        (None, Some(to)) => run_proxy(to, profile, args),
        (None, None) => Err(anyhow!("--to is missing")),
    }
}

/// A preset or a file, and over it what was given one by one.
fn profile(args: &LinkArgs) -> anyhow::Result<Profile> {
    let network = &args.network;
    let base = match (network.preset, &network.profile) {
        (Some(preset), _) => preset.profile()?,
        (None, Some(path)) => Profile::read(path)?,
        (None, None) => Profile::parse("of the command line", "")?,
    };
    let change = |way| network.both().and(&way);
    let up = change(network.up.unwrap_or_default());
    let down = change(network.down.unwrap_or_default());
    let outages: Vec<Outage> = network
        .outage
        .iter()
        .map(|outage| Outage {
            reset: network.outage_resets,
            ..*outage
        })
        .collect();
    base.overridden(&up, &down)
        .and_then(|profile| profile.with_outages(&outages))
        .and_then(|profile| profile.repeated(network.repeat.map(|every| every.as_secs_f64())))
        .map_err(|why| anyhow!("this link cannot be: {why}"))
}

fn run_proxy(to: &str, profile: Profile, args: &LinkArgs) -> anyhow::Result<()> {
    let stop = stop_signal::catch()?;
    let config = LinkConfig {
        listen: args.listen,
        to: resolve(to)?,
        profile,
        seed: args.seed,
    };
    link::run(
        config,
        |address| announce(&format!("hwmeter link: listening on {address}")),
        stop,
    )?;
    Ok(())
}

fn run_netem(interface: &str, profile: &Profile, args: &LinkArgs, root: &Root) -> anyhow::Result<()> {
    let conditions = profile
        .if_constant(Way::Up)
        .context("--netem takes no profile that changes over time; leave out its changes and outages")?;
    if profile.if_constant(Way::Down) != Some(conditions) {
        tracing::warn!(
            "netem slows down only what leaves {interface}: the profile's other way, [down], is not used; \
             run the same at the other end, its ways exchanged"
        );
    }
    let mut ending = Ending::watch()?;
    let netem = Netem::start(
        interface,
        &conditions,
        &args.netem.effects(),
        args.netem.force,
        root,
    )?;
    announce(&format!("hwmeter link: netem on what leaves {interface}"));
    tracing::warn!(
        "ends with Ctrl-C or SIGTERM; if it is killed with -9, this undoes it: {}",
        netem.undo_command()
    );
    ending.wait();
    Ok(netem.stop()?)
}

fn resolve(to: &str) -> anyhow::Result<SocketAddr> {
    to.to_socket_addrs()
        .with_context(|| format!("--to {to:?} is no HOST:PORT that can be resolved"))?
        .next()
        .with_context(|| format!("--to {to:?} has no address"))
}
