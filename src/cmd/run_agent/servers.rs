//! Where tasks can be sent: servers of ours on this machine, or real ones.

use crate::cli::RunAgentArgs;
use anyhow::Context as _;
use hwmeter::offload::local_servers::{LocalConfig, LocalServers};
use hwmeter::offload::url::Url;
use serde_json::{Value, json};
use std::time::Duration;

/// Where tasks can be sent.
pub enum Servers {
    /// Child processes of ours.
    Here(Box<LocalServers>),
    /// Real ones.
    There { mec: Url, cloud: Url },
}

impl Servers {
    pub fn start(args: &RunAgentArgs) -> anyhow::Result<Self> {
        match (&args.mec, &args.cloud) {
            (Some(mec), Some(cloud)) => Ok(Self::There {
                mec: mec.clone(),
                cloud: cloud.clone(),
            }),
            _ => {
                let config = LocalConfig::new().context("cannot tell where this program is")?;
                let servers = LocalServers::start(&config).context("cannot start the servers")?;
                Ok(Self::Here(Box::new(servers)))
            }
        }
    }

    pub fn mec(&self) -> &Url {
        match self {
            Self::Here(servers) => servers.mec(),
            Self::There { mec, .. } => mec,
        }
    }

    pub fn cloud(&self) -> &Url {
        match self {
            Self::Here(servers) => servers.cloud(),
            Self::There { cloud, .. } => cloud,
        }
    }

    /// Whether the servers run on the machine whose energy is read.
    pub fn is_shared(&self) -> bool {
        matches!(self, Self::Here(_))
    }

    pub fn describe(&self) -> Value {
        use hwmeter::offload::local_servers as local;
        let link = |one_way: Duration, rate_bps: f64, speed: f64| json!({ "one_way_s": one_way.as_secs_f64(), "rate_bps": rate_bps, "speed": speed });
        match self {
            Self::Here(_) => json!({
                "emulated": true,
                "mec": link(local::MEC_ONE_WAY, local::MEC_RATE_BPS, local::MEC_SPEED),
                "cloud": link(local::CLOUD_ONE_WAY, local::CLOUD_RATE_BPS, local::CLOUD_SPEED),
            }),
            Self::There { mec, cloud } => json!({
                "emulated": false,
                "mec": { "url": mec.to_string() },
                "cloud": { "url": cloud.to_string() },
            }),
        }
    }
}
