//! MQTT topics, and the names that stand in them.

use std::fmt;
use std::str::FromStr;

/// The longest name of a device, learner or trainer.
pub const MAX_NAME: usize = 64;

/// The name of a device, a learner or a trainer: letters, digits, `-` and `_`. Neither MQTT's wildcards and slashes
/// nor what a broker might give a meaning of its own (NATS: dots and spaces) can be in it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(String);

/// A name that cannot stand in a topic.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a name: use 1 to {MAX_NAME} letters, digits, `-` and `_`")]
pub struct InvalidName(String);

impl Name {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let is_allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        match (1..=MAX_NAME).contains(&text.len()) && text.bytes().all(is_allowed) {
            true => Ok(Self(text.to_owned())),
            // Of something that may come from anywhere, the beginning is enough to recognise it.
            false => Err(InvalidName(text.chars().take(MAX_NAME).collect())),
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A learner of a device: D and M of the topics.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pupil {
    /// The device.
    pub device: Name,
    /// The learner.
    pub learner: Name,
}

impl fmt::Display for Pupil {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.device, self.learner)
    }
}

/// What is said below `client/D/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Channel {
    /// Device to trainers: that it is there. Retained.
    Status,
    /// Device to trainer: experiences.
    Experience,
    /// Device to trainer: checkpoints, weights, and the wish for them.
    Model,
    /// Trainer to device: weights, checkpoints, and how far it is.
    Weights,
}

impl Channel {
    /// All channels.
    pub const ALL: [Self; 4] = [Self::Status, Self::Experience, Self::Model, Self::Weights];

    /// The word in the topic.
    pub fn word(self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::Experience => "experience",
            Self::Model => "model",
            Self::Weights => "weights",
        }
    }

    /// `client/D/CHANNEL/M/v1`.
    pub fn topic(self, pupil: &Pupil) -> String {
        format!("client/{}/{}/{}/v1", pupil.device, self.word(), pupil.learner)
    }

    /// `client/+/CHANNEL/+/v1`: of all devices.
    pub fn of_all(self) -> String {
        format!("client/+/{}/+/v1", self.word())
    }
}

/// Which channel of which learner a topic is; `None`: none of ours.
pub fn parse(topic: &str) -> Option<(Channel, Pupil)> {
    let mut words = topic.split('/');
    let mut word = || words.next();
    let (client, device, channel, learner, version) = (word()?, word()?, word()?, word()?, word()?);
    if client != "client" || version != "v1" || words.next().is_some() {
        return None;
    }
    let channel = Channel::ALL.into_iter().find(|c| c.word() == channel)?;
    let pupil = Pupil {
        device: device.parse().ok()?,
        learner: learner.parse().ok()?,
    };
    Some((channel, pupil))
}

/// `trainer/T/learner/D/M/v1`: how a trainer says what it has.
pub fn learner_status(trainer: &Name, pupil: &Pupil) -> String {
    format!("trainer/{trainer}/learner/{}/{}/v1", pupil.device, pupil.learner)
}

/// Which learner of which trainer that is; `None`: none of ours.
pub fn parse_learner_status(topic: &str) -> Option<(Name, Pupil)> {
    let words: Vec<&str> = topic.split('/').collect();
    let ["trainer", trainer, "learner", device, learner, "v1"] = words[..] else {
        return None;
    };
    let pupil = Pupil {
        device: device.parse().ok()?,
        learner: learner.parse().ok()?,
    };
    Some((trainer.parse().ok()?, pupil))
}

/// The same of all trainers and devices.
pub const ALL_LEARNER_STATUS: &str = "trainer/+/learner/+/+/v1";

/// `group/G/member/T/v1`: how a trainer of a group says that it is alive.
pub fn member(group: &Name, trainer: &Name) -> String {
    format!("group/{group}/member/{trainer}/v1")
}

/// Which trainer of which group that is; `None`: none of ours.
pub fn parse_member(topic: &str) -> Option<(Name, Name)> {
    let (group, rest) = topic.strip_prefix("group/")?.split_once('/')?;
    let trainer = rest.strip_prefix("member/")?.strip_suffix("/v1")?;
    Some((group.parse().ok()?, trainer.parse().ok()?))
}

/// The same of all trainers of a group.
pub fn all_members(group: &Name) -> String {
    format!("group/{group}/member/+/v1")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn pupil() -> Pupil {
        Pupil {
            device: "pi-1".parse().unwrap(),
            learner: "dqn".parse().unwrap(),
        }
    }

    #[test]
    fn topics_are_those_of_the_paper_and_are_understood_again() {
        assert_eq!(
            Channel::Experience.topic(&pupil()),
            "client/pi-1/experience/dqn/v1"
        );
        for channel in Channel::ALL {
            assert_eq!(parse(&channel.topic(&pupil())), Some((channel, pupil())));
        }
    }

    #[test]
    fn what_is_not_ours_is_no_topic() {
        let strange = [
            "client/pi-1/experience/dqn/v2",
            "client/pi-1/experience/dqn/v1/",
            "client/pi-1/experience/dqn",
            "client/pi-1/joy/dqn/v1",
            "client/+/experience/dqn/v1",
            "client//experience/dqn/v1",
            "device/pi-1/experience/dqn/v1",
            "",
        ];
        for topic in strange {
            assert_eq!(parse(topic), None, "{topic}");
        }
    }

    #[test]
    fn names_hold_nothing_that_a_broker_could_take_for_something_else() {
        let long = "a".repeat(MAX_NAME + 1);
        for bad in ["", "a/b", "a+", "#", "a b", "a.b", "a\n", "\u{e9}", &long] {
            assert!(bad.parse::<Name>().is_err(), "{bad:?}");
        }
        assert!("Raspberry-Pi_4".parse::<Name>().is_ok());
        assert!("a".repeat(MAX_NAME).parse::<Name>().is_ok());
    }
}
