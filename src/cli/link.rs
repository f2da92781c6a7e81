//! Arguments of `hwmeter link`.

use crate::cmd::values;
use clap::Args;
use hwmeter::offload::link::conditions::{Change, JitterShape};
use hwmeter::offload::link::netem::Effects;
use hwmeter::offload::link::presets::Preset;
use hwmeter::offload::link::profile::Outage;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

#[derive(Debug, Args)]
pub struct LinkArgs {
    /// Address and port to listen on; port 0 picks a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,

    /// The server behind the link
    #[arg(long, value_name = "HOST:PORT", required_unless_present_any = ["netem", "show"])]
    pub to: Option<String>,

    #[command(flatten)]
    pub network: NetworkArgs,

    /// Print the preset as a profile to start from, with the source of each figure, and end
    #[arg(long, requires = "preset")]
    pub show: bool,

    /// Seed of delays and losses
    #[arg(long, value_name = "SEED", default_value_t = 50)]
    pub seed: u64,

    #[command(flatten)]
    pub netem: NetemArgs,

    /// End when the process that started this one ends
    #[arg(long)]
    pub exit_with_parent: bool,
}

/// How the network behaves. What is given one by one wins over a preset or a profile.
#[derive(Debug, Args)]
pub struct NetworkArgs {
    /// A network by name
    #[arg(long, value_enum, value_name = "NAME")]
    pub preset: Option<Preset>,

    /// A network described by a file (TOML), also one that changes over time
    #[arg(long, value_name = "FILE", conflicts_with = "preset")]
    pub profile: Option<PathBuf>,

    /// Mean delay of each direction, such as 5ms; the round trip takes twice that [default: 0]
    #[arg(long, value_name = "T", value_parser = values::latency)]
    pub latency: Option<Duration>,

    /// Standard deviation of the delay, such as 2ms [default: 0]
    #[arg(long, value_name = "T", value_parser = values::latency)]
    pub jitter: Option<Duration>,

    /// How delays scatter [default: normal]
    #[arg(long, value_enum, value_name = "SHAPE")]
    pub jitter_shape: Option<JitterShape>,

    /// Bits per second of each direction, such as 200M, shared by all connections [default: 1000G]
    #[arg(long, value_name = "RATE", value_parser = values::rate_bps)]
    pub rate: Option<f64>,

    /// Share of the packets that are lost, such as 1% or 0.01; felt as the delay of sending them again [default: 0]
    #[arg(long, value_name = "SHARE", value_parser = values::share_or_percent)]
    pub loss: Option<f64>,

    /// Mean number of packets lost in a row [default: 1, losses do not depend on each other]
    #[arg(long, value_name = "N", value_parser = values::number)]
    pub loss_burst: Option<f64>,

    /// The way from device to server alone, such as rate=10M,latency=20ms; keys are the options above
    #[arg(long, value_name = "KEY=VALUE,...", value_parser = values::link_change)]
    pub up: Option<Change>,

    /// The way back alone
    #[arg(long, value_name = "KEY=VALUE,...", value_parser = values::link_change)]
    pub down: Option<Change>,

    /// An outage, such as 10s+2s: it begins 10 s after the first connection and lasts 2 s; several may be given
    #[arg(long, value_name = "AT+FOR", value_parser = values::outage)]
    pub outage: Vec<Outage>,

    /// Outages given by --outage reset connections; otherwise the link is silent and connections live on
    #[arg(long, requires = "outage")]
    pub outage_resets: bool,

    /// Begin anew every so often
    #[arg(long, value_name = "T", value_parser = values::duration)]
    pub repeat: Option<Duration>,
}

impl NetworkArgs {
    /// What is given for both directions.
    pub fn both(&self) -> Change {
        Change {
            latency_s: self.latency.map(|latency| latency.as_secs_f64()),
            jitter_s: self.jitter.map(|jitter| jitter.as_secs_f64()),
            jitter_shape: self.jitter_shape,
            rate_bps: self.rate,
            loss: self.loss,
            loss_burst: self.loss_burst,
        }
    }
}

/// The kernel's emulator instead of the proxy.
#[derive(Debug, Args)]
#[group(id = "of_netem")]
pub struct NetemArgs {
    /// Slow down every packet that leaves this network interface, by the kernel's netem (root), instead of a proxy
    #[arg(long, value_name = "IFACE", conflicts_with_all = ["listen", "to", "outage", "repeat", "down", "seed"])]
    pub netem: Option<String>,

    /// Share of the packets with a bit flipped (--netem)
    #[arg(long, value_name = "SHARE", requires = "netem", conflicts_with = "to", value_parser = values::share_or_percent)]
    pub corrupt: Option<f64>,

    /// Share of the packets that are sent twice (--netem)
    #[arg(long, value_name = "SHARE", requires = "netem", conflicts_with = "to", value_parser = values::share_or_percent)]
    pub duplicate: Option<f64>,

    /// Share of the packets that overtake those before them (--netem; needs a latency)
    #[arg(long, value_name = "SHARE", requires = "netem", conflicts_with = "to", value_parser = values::share_or_percent)]
    pub reorder: Option<f64>,

    /// Do it even to the interface that this machine is reached by, or to lo
    #[arg(long, requires = "netem", conflicts_with = "to")]
    pub force: bool,
}

impl NetemArgs {
    /// What only the kernel can do to packets.
    pub fn effects(&self) -> Effects {
        Effects {
            corrupt: self.corrupt.unwrap_or(0.0),
            duplicate: self.duplicate.unwrap_or(0.0),
            reorder: self.reorder.unwrap_or(0.0),
        }
    }
}
