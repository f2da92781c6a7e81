//! The files that describe a link over time.
//!
//! ```toml
//! repeat_s = 60            # optional: begin anew every 60 s
//!
//! [both]                   # how the link is at first; what is not named is that of an ideal link
//! latency_s = 0.008        # mean delay of each direction
//! jitter_s = 0.0015        # its standard deviation
//! jitter_shape = "normal"  # or "pareto"
//! loss = 1e-4              # share of the packets
//! loss_burst = 3           # mean number of packets lost in a row
//! [up]                     # device to server; wins over [both], as does [down]
//! rate_bps = 50e6
//! [down]
//! rate_bps = 100e6
//!
//! [[at]]                   # a change: what is not named stays
//! t_s = 20                 # seconds since the first connection
//! change = "linear"        # in a straight line from the change before (or the beginning); default "step"
//! up.rate_bps = 5e6
//! both.latency_s = 0.03
//!
//! [[outage]]
//! t_s = 40
//! for_s = 2
//! reset = true             # connections are reset; default: the link is silent, and what waits comes afterwards
//! ```
//!
//! A key that does not exist is an error that names its line.

use super::conditions::{Change, Conditions};
use super::profile::{Course, Keyframe, Outage, Profile};
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// Why there is no profile.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProfileError {
    /// The file cannot be read.
    #[error("cannot read the link profile {}", .path.display())]
    Read {
        /// Which one.
        path: PathBuf,
        /// What the kernel answered.
        #[source]
        cause: std::io::Error,
    },
    /// It is no TOML, or has a key that does not exist.
    #[error("the link profile {name} cannot be understood: {cause}")]
    Syntax {
        /// Which one.
        name: String,
        /// Where and why.
        cause: Box<toml::de::Error>,
    },
    /// A value that cannot be.
    #[error("link profile {name}: {why}")]
    Value {
        /// Which one.
        name: String,
        /// The setting, what it is and what was expected.
        why: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    repeat_s: Option<f64>,
    #[serde(default)]
    both: Change,
    #[serde(default)]
    up: Change,
    #[serde(default)]
    down: Change,
    #[serde(default)]
    at: Vec<At>,
    #[serde(default)]
    outage: Vec<Outage>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct At {
    t_s: f64,
    #[serde(default)]
    change: Course,
    #[serde(default)]
    both: Change,
    #[serde(default)]
    up: Change,
    #[serde(default)]
    down: Change,
}

impl Profile {
    /// From a file.
    pub fn read(path: &Path) -> Result<Self, ProfileError> {
        let text = std::fs::read_to_string(path).map_err(|cause| ProfileError::Read {
            path: path.to_owned(),
            cause,
        })?;
        Self::parse(&path.display().to_string(), &text)
    }

    /// From the text of a file; `name` is for errors.
    pub fn parse(name: &str, text: &str) -> Result<Self, ProfileError> {
        let file: File = toml::from_str(text).map_err(|cause| ProfileError::Syntax {
            name: name.to_owned(),
            cause: Box::new(cause),
        })?;
        Self::from_file(file).map_err(|why| ProfileError::Value {
            name: name.to_owned(),
            why,
        })
    }

    fn from_file(file: File) -> Result<Self, String> {
        let mut now = Keyframe {
            t_s: 0.0,
            change: Course::Step,
            up: Conditions::IDEAL.with(&file.both.and(&file.up)),
            down: Conditions::IDEAL.with(&file.both.and(&file.down)),
        };
        let mut changes = vec![now];
        for at in file.at {
            now = Keyframe {
                t_s: at.t_s,
                change: at.change,
                up: now.up.with(&at.both.and(&at.up)),
                down: now.down.with(&at.both.and(&at.down)),
            };
            changes.push(now);
        }
        Self {
            changes,
            outages: file.outage,
            repeat_s: file.repeat_s,
        }
        .checked()
    }
}
