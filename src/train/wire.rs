//! The messages of `proto/train.proto`: made, and checked before anybody looks at them.

use super::topic::{InvalidName, Name, Pupil};
use bytes::Bytes;
use prost::Message as _;

/// The types of `proto/train.proto`, as generated.
#[allow(missing_docs, clippy::all)]
pub mod proto {
    include!(concat!(env!("OUT_DIR"), "/hwmeter.train.v1.rs"));
}

pub use proto::envelope::Body;
pub use proto::{
    Ack, Chunk, Codec, Content, Envelope, Experience, Fetch, LearnerStatus, Manifest, Member, Presence,
    Tensor, Tensors, Type, Weights,
};

use crate::learn::{Cost, Placement, State, Transition};

/// Version of the protocol that this program speaks.
pub const PROTOCOL: u32 = 1;

/// An envelope whose names and version are in order, and whose body is there.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// Whose it is.
    pub pupil: Pupil,
    /// Which life of the learner.
    pub epoch: u64,
    /// As `proto/train.proto` says for each body.
    pub sequence: u64,
    /// What is said.
    pub body: Body,
}

/// Why a message was dropped.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Dropped {
    /// It is no protobuf, or cut short.
    #[error("it is damaged: {0}")]
    Damaged(#[from] prost::DecodeError),
    /// It is of a version that this program does not speak.
    #[error("it is of version {0} of the protocol, this program speaks {PROTOCOL}")]
    Version(u32),
    /// Names that cannot be.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// It is not of the device or learner of its topic.
    #[error("it is of {said}, but came on a topic of {topic}")]
    OfAnother {
        /// As in the envelope.
        said: Pupil,
        /// As in the topic.
        topic: Pupil,
    },
    /// It says nothing that this version knows.
    #[error("it has no content that this version knows")]
    Empty,
    /// Some of it cannot be.
    #[error("{0}")]
    Content(String),
}

impl Message {
    /// Understands what came on a topic of `topic`.
    pub fn decode(bytes: Bytes, topic: &Pupil) -> Result<Self, Dropped> {
        let envelope = Envelope::decode(bytes)?;
        if envelope.protocol != PROTOCOL {
            return Err(Dropped::Version(envelope.protocol));
        }
        let said = Pupil {
            device: envelope.device.parse::<Name>()?,
            learner: envelope.learner.parse::<Name>()?,
        };
        if said != *topic {
            let topic = topic.clone();
            return Err(Dropped::OfAnother { said, topic });
        }
        Ok(Self {
            pupil: said,
            epoch: envelope.epoch,
            sequence: envelope.sequence,
            body: envelope.body.ok_or(Dropped::Empty)?,
        })
    }

    /// As it goes over the wire.
    pub fn encode(&self) -> Bytes {
        let envelope = Envelope {
            protocol: PROTOCOL,
            device: self.pupil.device.to_string(),
            learner: self.pupil.learner.to_string(),
            epoch: self.epoch,
            sequence: self.sequence,
            body: Some(self.body.clone()),
        };
        envelope.encode_to_vec().into()
    }
}

impl Experience {
    /// As it is sent.
    pub fn of(transition: &Transition, cost: &Cost) -> Self {
        Self {
            state: Some(to_wire(&transition.state)),
            placement: transition.placement as i32,
            reward: transition.reward,
            next_state: Some(to_wire(&transition.next_state)),
            energy_j: cost.energy_j,
            latency_s: cost.latency_s,
            in_time: cost.in_time,
        }
    }

    /// As a learner takes it; whether its numbers make sense is for the learner to say.
    pub fn taken(&self) -> Result<(Transition, Cost), Dropped> {
        let missing = || Dropped::Content("an experience lacks a state".to_owned());
        let placement = usize::try_from(self.placement).ok();
        let placement = placement.and_then(|p| Placement::ALL.get(p));
        let transition = Transition {
            state: from_wire(self.state.as_ref().ok_or_else(missing)?),
            placement: *placement
                .ok_or_else(|| Dropped::Content(format!("there is no placement {}", self.placement)))?,
            reward: self.reward,
            next_state: from_wire(self.next_state.as_ref().ok_or_else(missing)?),
        };
        let cost = Cost {
            energy_j: self.energy_j,
            latency_s: self.latency_s,
            in_time: self.in_time,
        };
        Ok((transition, cost))
    }
}

fn to_wire(state: &State) -> proto::State {
    proto::State {
        device_free: state.device_free,
        mec_free: state.mec_free,
        throughput_bps: state.throughput_bps,
        cycles: state.cycles,
        deadline_s: state.deadline_s,
    }
}

fn from_wire(state: &proto::State) -> State {
    State {
        device_free: state.device_free,
        mec_free: state.mec_free,
        throughput_bps: state.throughput_bps,
        cycles: state.cycles,
        deadline_s: state.deadline_s,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn message() -> Message {
        let transition = Transition {
            state: State {
                device_free: 0.5,
                mec_free: 0.25,
                throughput_bps: 1e6,
                cycles: 1e7,
                deadline_s: 0.5,
            },
            placement: Placement::Cloud,
            reward: -1.5,
            next_state: State {
                device_free: 1.0,
                mec_free: 0.0,
                throughput_bps: 2e6,
                cycles: 2e7,
                deadline_s: 0.25,
            },
        };
        let cost = Cost {
            energy_j: 1.5,
            latency_s: 0.125,
            in_time: true,
        };
        Message {
            pupil: Pupil {
                device: "pi-1".parse().unwrap(),
                learner: "ac".parse().unwrap(),
            },
            epoch: 7,
            sequence: 3,
            body: Body::Experience(Experience::of(&transition, &cost)),
        }
    }

    #[test]
    fn a_message_arrives_as_it_was_sent() {
        let sent = message();
        let came = Message::decode(sent.encode(), &sent.pupil).unwrap();
        assert_eq!(came, sent);
        let Body::Experience(experience) = came.body else {
            panic!("it was an experience")
        };
        let (transition, cost) = experience.taken().unwrap();
        assert_eq!(transition.placement, Placement::Cloud);
        assert_eq!((cost.latency_s, transition.next_state.cycles), (0.125, 2e7));
    }

    #[test]
    fn what_is_not_for_this_learner_or_of_this_version_is_dropped() {
        let sent = message();
        let other = Pupil {
            device: "pi-2".parse().unwrap(),
            ..sent.pupil.clone()
        };
        assert!(matches!(
            Message::decode(sent.encode(), &other),
            Err(Dropped::OfAnother { .. })
        ));
        let mut envelope = Envelope::decode(sent.encode()).unwrap();
        envelope.protocol = 2;
        let newer = envelope.encode_to_vec().into();
        assert_eq!(Message::decode(newer, &sent.pupil), Err(Dropped::Version(2)));
    }

    #[test]
    fn a_message_cut_short_anywhere_is_an_error_and_no_panic() {
        let sent = message();
        let whole = sent.encode();
        for end in 0..whole.len() {
            assert!(
                Message::decode(whole.slice(..end), &sent.pupil).is_err(),
                "{end} of {} bytes",
                whole.len()
            );
        }
    }

    #[test]
    fn an_experience_without_a_state_or_with_an_unknown_placement_is_told() {
        let Body::Experience(good) = message().body else {
            panic!("it was an experience")
        };
        let stateless = Experience {
            next_state: None,
            ..good
        };
        let elsewhere = Experience { placement: 3, ..good };
        assert!(stateless.taken().is_err() && elsewhere.taken().is_err());
    }
}
