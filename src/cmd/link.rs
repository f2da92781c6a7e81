//! `hwmeter link`: the link emulator.

use super::serve::announce;
use super::{stop_signal, values};
use anyhow::Context;
use hwmeter::offload::link::{self, LinkConfig};
use hwmeter::offload::parent_death::end_with_parent;
use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

/// Put a slow network between a device and a server: a TCP proxy with latency and a rate.
#[derive(clap::Args, Debug)]
pub struct LinkArgs {
    /// Address and port to listen on; port 0 picks a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,

    /// The server behind the link
    #[arg(long, value_name = "HOST:PORT")]
    pub to: String,

    /// Delay of each direction, such as 5ms; the round trip takes twice that
    #[arg(long, value_name = "DURATION", default_value = "0", value_parser = latency)]
    pub latency: Duration,

    /// Bits per second of each direction, such as 200M, shared by all connections
    #[arg(long, value_name = "RATE", default_value = "1000G", value_parser = values::rate_bps)]
    pub rate: f64,

    /// End when the process that started this one ends
    #[arg(long)]
    pub exit_with_parent: bool,
}

/// Nothing on Earth takes longer, and beyond it every client has given up.
const LONGEST_LATENCY: Duration = Duration::from_secs(60);

fn latency(text: &str) -> Result<Duration, String> {
    let latency = values::duration(text)?;
    if latency > LONGEST_LATENCY {
        Err("expected at most 60s".to_owned())
    } else {
        Ok(latency)
    }
}

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
