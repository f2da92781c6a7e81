//! What trainers say of their learners, gathered for whoever wants to look.

use super::topic::{self, Name, Pupil};
use super::wire::{Body, Message};
use bytes::Bytes;
use serde::Serialize;
use std::collections::BTreeMap;

/// A learner of a trainer, as it was said last.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Listed {
    /// The trainer's name.
    pub trainer: String,
    /// The device.
    pub device: String,
    /// The learner.
    pub learner: String,
    /// Which life of it.
    pub epoch: u64,
    /// The last experience learned from.
    pub version: u64,
    /// Experiences that the device has and that are not learned from yet.
    pub lag: u64,
    /// Updates since the epoch began.
    pub updates: u64,
    /// Lately.
    pub updates_per_s: f64,
    /// Joules of one above the idle machine, where they are known.
    pub update_j: Option<f64>,
    /// Whether these are `measured` or `modelled`.
    pub update_j_kind: Option<String>,
    /// Received from the device.
    pub bytes_up: u64,
    /// Sent to it.
    pub bytes_down: u64,
    /// Messages dropped.
    pub dropped: u64,
    /// Experiences that came more than once.
    pub duplicates: u64,
    /// Whether it is in memory.
    pub active: bool,
    /// Whether the device is there.
    pub online: bool,
    /// Why the trainer does not serve the device; `None`: it does.
    pub refused: Option<String>,
    /// Of the weights sent last; `None`: none were.
    pub weights_sha256: Option<String>,
}

/// All learners that trainers speak of.
#[derive(Debug, Default)]
pub struct Directory {
    listed: BTreeMap<(Pupil, String), Listed>,
}

impl Directory {
    /// Takes a message; whether it changed anything.
    pub fn receive(&mut self, topic: &str, payload: Bytes) -> bool {
        let Some((trainer, pupil)) = topic::parse_learner_status(topic) else {
            return false;
        };
        let key = (pupil, trainer.to_string());
        if payload.is_empty() {
            return self.listed.remove(&key).is_some();
        }
        match understood(payload, &key.0, &trainer) {
            Some(listed) => self.listed.insert(key, listed.clone()) != Some(listed),
            None => false,
        }
    }

    /// By device, learner and trainer.
    pub fn listed(&self) -> impl Iterator<Item = &Listed> {
        self.listed.values()
    }
}

fn understood(payload: Bytes, pupil: &Pupil, trainer: &Name) -> Option<Listed> {
    let message = Message::decode(payload, pupil).ok()?;
    let Body::Status(status) = message.body else {
        return None;
    };
    let sha256 = status.weights_sha256;
    Some(Listed {
        trainer: trainer.to_string(),
        device: pupil.device.to_string(),
        learner: pupil.learner.to_string(),
        epoch: message.epoch,
        version: message.sequence,
        lag: status.lag,
        updates: status.updates,
        updates_per_s: status.updates_per_s,
        update_j_kind: status.update_j.map(|_| status.update_j_kind),
        update_j: status.update_j,
        bytes_up: status.bytes_up,
        bytes_down: status.bytes_down,
        dropped: status.dropped,
        duplicates: status.duplicates,
        active: status.active,
        online: status.online,
        refused: Some(status.refused).filter(|why| !why.is_empty()),
        weights_sha256: (!sha256.is_empty()).then(|| super::weights::hex(&sha256)),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::train::wire::LearnerStatus;

    #[test]
    fn the_last_word_counts_and_an_empty_one_takes_it_back() {
        let pupil = Pupil {
            device: "pi-1".parse().unwrap(),
            learner: "dqn".parse().unwrap(),
        };
        let trainer: Name = "t".parse().unwrap();
        let topic = topic::learner_status(&trainer, &pupil);
        let say = |sequence| {
            let body = Body::Status(LearnerStatus::default());
            let message = Message {
                pupil: pupil.clone(),
                epoch: 1,
                sequence,
                body,
            };
            message.encode()
        };
        let mut directory = Directory::default();
        assert!(directory.receive(&topic, say(1)));
        assert!(!directory.receive(&topic, say(1)), "nothing new");
        assert!(directory.receive(&topic, say(2)));
        let versions: Vec<u64> = directory.listed().map(|l| l.version).collect();
        assert_eq!(versions, [2]);
        assert!(!directory.receive(&topic, Bytes::from_static(b"joy")));
        assert!(!directory.receive("trainer/t/learner/pi-1/v1", say(3)));
        assert!(directory.receive(&topic, Bytes::new()));
        assert_eq!(directory.listed().count(), 0);
    }
}
