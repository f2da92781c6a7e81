//! Which devices are this trainer's.

use super::group::Group;
use crate::train::link::Outgoing;
use crate::train::topic::Name;
use std::str::FromStr;
use twox_hash::XxHash3_64;

/// How several trainers divide the devices among them.
///
/// A trainer asks it anew at every Presence.
#[derive(Clone, Debug, Default)]
pub enum Membership {
    /// There is one trainer.
    #[default]
    Alone,
    /// There are a fixed number of them, and each has its share by the hash of the device's name.
    Shard(Shard),
    /// Those that are alive divide the devices among them.
    Group(Box<Group>),
}

/// One of a fixed number of shares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    index: u64,
    of: u64,
}

/// A share that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a shard: write I/N with N from 1 to 65536 and I from 0 to N - 1, such as 0/3")]
pub struct InvalidShard(String);

impl Membership {
    /// Whether this trainer serves the device from now on.
    pub fn is_mine(&self, device: &Name) -> bool {
        match self {
            Self::Alone => true,
            Self::Group(group) => group.takes(device),
            Self::Shard(shard) => XxHash3_64::oneshot(device.as_str().as_bytes()) % shard.of == shard.index,
        }
    }

    /// What the broker is to say when this trainer disappears.
    pub fn last_will(&self) -> Option<Outgoing> {
        match self {
            Self::Group(group) => Some(group.goodbye()),
            Self::Alone | Self::Shard(_) => None,
        }
    }

    /// The group, if it is one.
    pub(super) fn group(&mut self) -> Option<&mut Group> {
        match self {
            Self::Group(group) => Some(group),
            Self::Alone | Self::Shard(_) => None,
        }
    }
}

impl FromStr for Shard {
    type Err = InvalidShard;

    fn from_str(text: &str) -> Result<Self, InvalidShard> {
        let parsed = text.split_once('/').and_then(|(index, of)| {
            let (index, of) = (index.parse().ok()?, of.parse().ok()?);
            ((1..=65_536).contains(&of) && index < of).then_some(Self { index, of })
        });
        parsed.ok_or_else(|| InvalidShard(text.to_owned()))
    }
}

impl std::fmt::Display for Shard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.index, self.of)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn every_device_has_exactly_one_trainer_and_each_about_its_share() {
        let shards: Vec<Membership> = (0..3)
            .map(|i| Membership::Shard(format!("{i}/3").parse().unwrap()))
            .collect();
        let mut counts = [0; 3];
        for n in 0..3000 {
            let device: Name = format!("pi-{n}").parse().unwrap();
            let owners: Vec<usize> = (0..3).filter(|i| shards[*i].is_mine(&device)).collect();
            assert_eq!(owners.len(), 1, "{device}");
            counts[owners[0]] += 1;
        }
        assert!(counts.iter().all(|n| (900..1100).contains(n)), "{counts:?}");
    }

    #[test]
    fn the_share_of_a_device_is_the_same_on_every_machine_and_in_every_version() {
        let device: Name = "pi-1".parse().unwrap();
        let mine = |text: &str| Membership::Shard(text.parse().unwrap()).is_mine(&device);
        let owner: Vec<bool> = (0..7).map(|i| mine(&format!("{i}/7"))).collect();
        let expected = (XxHash3_64::oneshot(b"pi-1") % 7) as usize;
        assert_eq!(owner.iter().position(|is| *is), Some(expected));
    }

    #[test]
    fn what_is_no_share_is_told() {
        for text in ["", "1", "3/3", "0/0", "-1/3", "a/b", "1/2/3", "0/65537"] {
            let error = text.parse::<Shard>().unwrap_err().to_string();
            assert!(error.contains("I/N"), "{error}");
        }
        assert_eq!("1/3".parse::<Shard>().unwrap().to_string(), "1/3");
    }
}
