//! A MEC and a cloud for a demonstration on one machine: two servers and a link in front of each, as child
//! processes of this program. They end when dropped, and also when this process is killed.

use super::helper::Helper;
use super::link::conditions::Conditions;
use super::link::presets::Network;
use super::link::profile::{Profile, ProfileError};
use super::url::Url;
use serde_json::{Value, json};
use std::io;
use std::path::PathBuf;
use std::time::Duration;
use tempfile::TempDir;

/// One way to the MEC.
pub const MEC_ONE_WAY: Duration = Duration::from_millis(5);
/// Bits per second to the MEC.
pub const MEC_RATE_BPS: f64 = 200e6;
/// The share of this machine's speed the MEC has.
pub const MEC_SPEED: f64 = 0.5;
/// One way to the cloud.
pub const CLOUD_ONE_WAY: Duration = Duration::from_millis(25);
/// Bits per second to the cloud.
pub const CLOUD_RATE_BPS: f64 = 100e6;
/// The share of this machine's speed the cloud has.
pub const CLOUD_SPEED: f64 = 1.0;

/// One server and the link in front of it.
#[derive(Clone, Debug, PartialEq)]
pub struct SiteConfig {
    /// Share of this machine's speed, more than 0 to 1.
    pub speed: f64,
    /// Delay of each direction of its link.
    pub one_way: Duration,
    /// Bits per second of each direction.
    pub rate_bps: f64,
    /// The link instead of these two.
    pub network: Option<Network>,
    /// Seed of the link's delays and losses.
    pub seed: u64,
}

impl SiteConfig {
    /// How the link is over time.
    pub fn profile(&self) -> Result<Profile, ProfileError> {
        if let Some(network) = &self.network {
            return network.profile();
        }
        let conditions = Conditions {
            latency_s: self.one_way.as_secs_f64(),
            rate_bps: self.rate_bps,
            ..Conditions::IDEAL
        };
        Profile::constant(conditions).map_err(|why| ProfileError::Value {
            name: "of the defaults".to_owned(),
            why,
        })
    }

    /// What `run.json` says of it.
    pub fn describe(&self) -> Result<Value, ProfileError> {
        Ok(json!({
            "speed": self.speed,
            "network": self.network.as_ref().map(Network::to_string),
            "link": self.profile()?,
            "link_seed": self.seed,
        }))
    }

    /// The options of `hwmeter link`.
    fn link_options(&self) -> Vec<String> {
        let of_network = match &self.network {
            Some(network) => network.option().to_vec(),
            None => {
                let latency = format!("{}us", self.one_way.as_micros());
                ["--latency", &latency, "--rate", &self.rate_bps.to_string()]
                    .map(str::to_owned)
                    .to_vec()
            }
        };
        let seed = ["--seed".to_owned(), self.seed.to_string()];
        of_network.into_iter().chain(seed).collect()
    }
}

/// What to start.
#[derive(Clone, Debug, PartialEq)]
pub struct LocalConfig {
    /// The `hwmeter` program.
    pub program: PathBuf,
    /// The MEC.
    pub mec: SiteConfig,
    /// The cloud.
    pub cloud: SiteConfig,
    /// Whether the MEC trains learners. They are gone when it ends.
    pub training: bool,
}

impl LocalConfig {
    /// The defaults, run by the program that is running now.
    pub fn new() -> io::Result<Self> {
        Ok(Self::with_program(std::env::current_exe()?))
    }

    /// The defaults, run by another program.
    pub fn with_program(program: impl Into<PathBuf>) -> Self {
        let mec = SiteConfig {
            speed: MEC_SPEED,
            one_way: MEC_ONE_WAY,
            rate_bps: MEC_RATE_BPS,
            network: None,
            seed: 0,
        };
        let cloud = SiteConfig {
            speed: CLOUD_SPEED,
            one_way: CLOUD_ONE_WAY,
            rate_bps: CLOUD_RATE_BPS,
            network: None,
            seed: 1,
        };
        Self {
            program: program.into(),
            mec,
            cloud,
            training: false,
        }
    }
}

/// Why the servers did not come up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LocalError {
    /// The program could not be run at all.
    #[error("cannot start the {child} ({}): {cause}", .program.display())]
    Spawn {
        /// Which one.
        child: String,
        /// What was run.
        program: PathBuf,
        /// What the kernel answered.
        cause: io::Error,
    },
    /// There is no place for the trainer's learners.
    #[error("cannot make a temporary folder for the trainer: {0}")]
    State(io::Error),
    /// A child ended, kept silent, or said something else than that it is ready.
    #[error("the {child} did not start: {why}{}", shown(.stderr))]
    NotReady {
        /// Which one.
        child: String,
        /// What happened instead.
        why: String,
        /// The end of its stderr.
        stderr: String,
    },
}

fn shown(stderr: &str) -> String {
    if stderr.is_empty() {
        String::new()
    } else {
        format!("; it said:\n{stderr}")
    }
}

/// Running servers.
///
/// The kernel ends them when the *thread* that called [`LocalServers::start`] ends, so call it from a thread that
/// lives as long as they are needed, such as the main thread.
#[derive(Debug)]
pub struct LocalServers {
    mec: Url,
    cloud: Url,
    helpers: [Helper; 4],
    /// The trainer's. Removed after the helpers have ended.
    _state: Option<TempDir>,
}

impl LocalServers {
    /// Starts everything and waits until it is ready.
    pub fn start(config: &LocalConfig) -> Result<Self, LocalError> {
        let program = &config.program;
        let state = config.training.then(tempfile::tempdir).transpose();
        let state = state.map_err(LocalError::State)?;
        let training = match &state {
            None => vec!["--training", "off"],
            Some(dir) => {
                let dir = dir
                    .path()
                    .to_str()
                    .ok_or_else(|| LocalError::State(io::ErrorKind::InvalidFilename.into()))?;
                vec!["--state", dir, "--mqtt-listen", "127.0.0.1:0"]
            }
        };
        let server = |role: &str, site: &SiteConfig, more: &[&str]| {
            let speed = site.speed.to_string();
            let args = [
                "serve",
                "--role",
                role,
                "--listen",
                "127.0.0.1:0",
                "--speed",
                &speed,
                "--exit-with-parent",
            ];
            Helper::start(program, &format!("{role} server"), &[&args, more].concat())
        };
        let link = |role: &str, site: &SiteConfig, server: &Helper| {
            let to = server.address().to_owned();
            let options = site.link_options();
            let mut args = vec![
                "link",
                "--listen",
                "127.0.0.1:0",
                "--to",
                &to,
                "--exit-with-parent",
            ];
            args.extend(options.iter().map(String::as_str));
            Helper::start(program, &format!("link to the {role}"), &args)
        };
        let mec = server("mec", &config.mec, &training)?;
        let cloud = server("cloud", &config.cloud, &[])?;
        let mec_link = link("mec", &config.mec, &mec)?;
        let cloud_link = link("cloud", &config.cloud, &cloud)?;
        Ok(Self {
            mec: mec_link.url()?,
            cloud: cloud_link.url()?,
            helpers: [mec_link, cloud_link, mec, cloud],
            _state: state,
        })
    }

    /// Where the MEC is reached, through its link.
    pub fn mec(&self) -> &Url {
        &self.mec
    }

    /// Where the cloud is reached, through its link.
    pub fn cloud(&self) -> &Url {
        &self.cloud
    }

    /// The process ids of servers and links, whose CPU time is not the device's.
    pub fn pids(&self) -> [u32; 4] {
        self.helpers.each_ref().map(Helper::pid)
    }
}

impl Drop for LocalServers {
    fn drop(&mut self) {
        // All are asked before the first is waited for: they end side by side.
        for helper in &mut self.helpers {
            helper.ask_to_end();
        }
    }
}
