//! Where tasks can be sent: servers of ours on this machine, or real ones.

use crate::cli::{RunAgentArgs, TrainArg};
use anyhow::Context as _;
use hwmeter::offload::local_servers::{LocalConfig, LocalServers};
use hwmeter::offload::url::Url;
use serde_json::{Value, json};

/// Where tasks can be sent.
pub enum Servers {
    /// Child processes of ours.
    Here {
        servers: Box<LocalServers>,
        /// What `run.json` says of them.
        described: Value,
    },
    /// Real ones.
    There { mec: Url, cloud: Url },
}

impl Servers {
    /// `seed` is that of the emulated links.
    pub fn start(args: &RunAgentArgs, seed: u64) -> anyhow::Result<Self> {
        match (&args.mec, &args.cloud) {
            (Some(mec), Some(cloud)) => Ok(Self::There {
                mec: mec.clone(),
                cloud: cloud.clone(),
            }),
            _ => {
                let mut config = LocalConfig::new().context("cannot tell where this program is")?;
                config.mec.network = args.mec_link.clone();
                config.cloud.network = args.cloud_link.clone();
                config.training =
                    args.training.train != TrainArg::Local && args.training.broker.broker.is_none();
                config.mec.seed = seed;
                // Not the same draws on both links.
                config.cloud.seed = seed.wrapping_add(1);
                let (mec, cloud) = (config.mec.describe()?, config.cloud.describe()?);
                let servers = LocalServers::start(&config).context("cannot start the servers")?;
                Ok(Self::Here {
                    servers: Box::new(servers),
                    described: json!({ "emulated": true, "mec": mec, "cloud": cloud }),
                })
            }
        }
    }

    pub fn mec(&self) -> &Url {
        match self {
            Self::Here { servers, .. } => servers.mec(),
            Self::There { mec, .. } => mec,
        }
    }

    pub fn cloud(&self) -> &Url {
        match self {
            Self::Here { servers, .. } => servers.cloud(),
            Self::There { cloud, .. } => cloud,
        }
    }

    /// The MQTT broker of servers of ours, if they train.
    pub fn broker(&self) -> Option<&str> {
        match self {
            Self::Here { servers, .. } => servers.broker(),
            Self::There { .. } => None,
        }
    }

    /// Whether the servers run on the machine whose energy is read.
    pub fn is_shared(&self) -> bool {
        matches!(self, Self::Here { .. })
    }

    pub fn describe(&self) -> Value {
        match self {
            Self::Here { described, .. } => described.clone(),
            Self::There { mec, cloud } => json!({
                "emulated": false,
                "mec": { "url": mec.to_string() },
                "cloud": { "url": cloud.to_string() },
            }),
        }
    }
}
