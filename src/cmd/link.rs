//! `hwmeter link`: the link emulator.

use super::serve::announce;
use super::stop_signal;
use crate::cli::LinkArgs;
use anyhow::Context;
use hwmeter::offload::link::{self, LinkConfig};
use hwmeter::offload::parent_death::end_with_parent;
use std::net::{SocketAddr, ToSocketAddrs};

/// Carries connections until SIGTERM or Ctrl-C.
pub fn run(args: &LinkArgs) -> anyhow::Result<()> {
    if args.exit_with_parent {
        end_with_parent().context("the process that started this link is gone")?;
    }
    let stop = stop_signal::catch()?;
    let config = LinkConfig {
        listen: args.listen,
        to: resolve(&args.to)?,
        one_way: args.latency,
        rate_bps: args.rate,
    };
    link::run(
        config,
        |address| announce(&format!("hwmeter link: listening on {address}")),
        stop,
    )?;
    Ok(())
}

fn resolve(to: &str) -> anyhow::Result<SocketAddr> {
    to.to_socket_addrs()
        .with_context(|| format!("--to {to:?} is no HOST:PORT that can be resolved"))?
        .next()
        .with_context(|| format!("--to {to:?} has no address"))
}
