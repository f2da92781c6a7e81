//! One learner process for each type of device: which there are, and whose a device is.
//!
//! ```text
//! trainer NAME      the devices that say no type, or one that cannot be a name     OfType::Rest
//!   Types           tells whoever keeps the processes of each new type, and devices when there are too many
//! trainer NAME-T    the devices of type T                                          OfType::One(T)
//! ```

use super::link::Outgoing;
use super::topic::{self, Channel, Name, Pupil};
use super::wire::{Ack, Body, Message};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::fmt;

/// Types that have a process, at most. Whoever connects can say any type; each costs a process.
pub const MAX_TYPES: usize = 16;
/// Of these, whose first device is the same one: a device may have moved to another board, but it takes no places from
/// others.
const MAX_OF_ONE_DEVICE: usize = 2;

/// Which types of devices are a trainer's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum OfType {
    /// All: there is one process.
    #[default]
    Any,
    /// Those of this type alone.
    One(Name),
    /// Those that have no process of their type.
    Rest,
}

impl OfType {
    /// Whether devices of this type are those of the trainer of this name.
    pub fn is_mine(&self, trainer: &Name, device_type: &str) -> bool {
        match self {
            Self::Any => true,
            Self::One(own) => own.as_str() == device_type,
            Self::Rest => type_of(trainer, device_type).is_none(),
        }
    }
}

/// The name of the process for a type: `NAME-T`; `None`: that is too long for a name.
pub fn process_name(trainer: &Name, device_type: &Name) -> Option<Name> {
    format!("{trainer}-{device_type}").parse().ok()
}

/// The type that has a process of its own; `None`: such devices are among the rest.
fn type_of(trainer: &Name, device_type: &str) -> Option<Name> {
    let device_type = device_type.parse().ok()?;
    process_name(trainer, &device_type).map(|_| device_type)
}

/// The types that there are.
#[derive(Debug)]
pub struct Types {
    trainer: Name,
    /// With the device that was the first of it, if that is known.
    known: BTreeMap<Name, Option<Name>>,
    refused: u64,
}

/// What a message is for whoever keeps the processes.
#[derive(Clone, Debug, PartialEq)]
pub enum Heard {
    /// Nothing new.
    Nothing,
    /// The first device of a type.
    New(Name),
    /// There can be no process for this device's type; what to tell it.
    Refused(Outgoing),
}

impl Types {
    /// `known`: the types that have a process already.
    pub fn new(trainer: Name, known: impl IntoIterator<Item = Name>) -> Self {
        Self {
            trainer,
            known: known.into_iter().map(|name| (name, None)).collect(),
            refused: 0,
        }
    }

    /// Takes what comes under [`Channel::Status`] of all devices.
    pub fn receive(&mut self, topic: &str, payload: Bytes) -> Heard {
        let Some((Channel::Status, pupil)) = topic::parse(topic) else {
            return Heard::Nothing;
        };
        // What is no Presence, the trainer counts that takes no type.
        let Ok(Message {
            epoch,
            body: Body::Presence(presence),
            ..
        }) = Message::decode(payload, &pupil)
        else {
            return Heard::Nothing;
        };
        let device_type = type_of(&self.trainer, &presence.device_type);
        let Some(device_type) = device_type.filter(|_| presence.online) else {
            return Heard::Nothing;
        };
        if self.known.contains_key(&device_type) {
            return Heard::Nothing;
        }
        match self.refusal(&pupil.device, &device_type) {
            None => {
                self.known.insert(device_type.clone(), Some(pupil.device));
                Heard::New(device_type)
            }
            Some(why) => {
                self.refused += 1;
                tracing::debug!("{pupil} is refused: {why}");
                Heard::Refused(refused(&pupil, epoch, why))
            }
        }
    }

    /// Why there can be no process for this type, in a sentence for the device.
    fn refusal(&self, device: &Name, device_type: &Name) -> Option<String> {
        let of_it = |first: &&Option<Name>| first.as_ref() == Some(device);
        let what = if self.known.len() >= MAX_TYPES {
            format!("{MAX_TYPES} types of devices have one, and there are no more")
        } else if self.known.values().filter(of_it).count() >= MAX_OF_ONE_DEVICE {
            format!("{device} was the first of {MAX_OF_ONE_DEVICE} other types already")
        } else {
            return None;
        };
        Some(format!("no process is started for type {device_type}: {what}"))
    }
}

/// In one line.
impl fmt::Display for Types {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of at most {MAX_TYPES} have a process", self.known.len())?;
        match self.refused {
            0 => Ok(()),
            refused => write!(f, ", devices of others were refused {refused} times"),
        }
    }
}

fn refused(pupil: &Pupil, epoch: u64, why: String) -> Outgoing {
    let ack = Ack {
        refused: why,
        ..Ack::default()
    };
    let message = Message {
        pupil: pupil.clone(),
        epoch,
        sequence: 0,
        body: Body::Ack(ack),
    };
    Outgoing {
        topic: Channel::Weights.topic(pupil),
        payload: message.encode(),
        retain: false,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::train::wire::Presence;

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    fn types() -> Types {
        Types::new(name("mec"), [])
    }

    fn say(types: &mut Types, device: &str, device_type: &str, online: bool) -> Heard {
        let pupil = Pupil {
            device: name(device),
            learner: name("dqn"),
        };
        let presence = Presence {
            online,
            device_type: device_type.to_owned(),
            ..Presence::default()
        };
        let message = Message {
            pupil: pupil.clone(),
            epoch: 7,
            sequence: 0,
            body: Body::Presence(presence),
        };
        types.receive(&Channel::Status.topic(&pupil), message.encode())
    }

    #[test]
    fn the_first_device_of_a_type_is_told_once() {
        let mut types = types();
        assert_eq!(say(&mut types, "a", "pi-4", true), Heard::New(name("pi-4")));
        assert_eq!(say(&mut types, "a", "pi-4", true), Heard::Nothing);
        assert_eq!(say(&mut types, "b", "pi-4", true), Heard::Nothing);
        assert_eq!(say(&mut types, "b", "pi-5", true), Heard::New(name("pi-5")));
        // Known from before this process began.
        let mut types = Types::new(name("mec"), [name("pi-4")]);
        assert_eq!(say(&mut types, "a", "pi-4", true), Heard::Nothing);
    }

    #[test]
    fn who_is_gone_and_what_is_no_type_starts_nothing() {
        let mut types = types();
        assert_eq!(say(&mut types, "a", "pi-4", false), Heard::Nothing);
        let long = "x".repeat(topic::MAX_NAME - "mec".len());
        for device_type in ["", "../..", "pi 4", "pi\n5", &long] {
            assert_eq!(say(&mut types, "a", device_type, true), Heard::Nothing);
            assert!(OfType::Rest.is_mine(&name("mec"), device_type), "{device_type:?}");
        }
        assert_eq!(
            types.receive("client/a/status/dqn/v1", Bytes::from_static(b"joy")),
            Heard::Nothing
        );
        assert_eq!(types.receive("$SYS/x", Bytes::new()), Heard::Nothing);
    }

    #[test]
    fn each_device_has_one_process() {
        let (main, pi4) = (name("mec"), OfType::One(name("pi-4")));
        let own = process_name(&main, &name("pi-4")).unwrap();
        assert_eq!(own, name("mec-pi-4"));
        assert!(pi4.is_mine(&own, "pi-4") && !OfType::Rest.is_mine(&main, "pi-4"));
        assert!(!pi4.is_mine(&own, "") && OfType::Rest.is_mine(&main, ""));
        assert!(!pi4.is_mine(&own, "pi-5"));
    }

    #[test]
    fn nobody_starts_any_number_of_processes_and_who_is_refused_is_told() {
        let mut types = types();
        for n in 0..MAX_OF_ONE_DEVICE {
            assert!(matches!(
                say(&mut types, "eve", &format!("eve-{n}"), true),
                Heard::New(_)
            ));
        }
        let Heard::Refused(said) = say(&mut types, "eve", "one-more", true) else {
            panic!("it is one too many");
        };
        let pupil = Pupil {
            device: name("eve"),
            learner: name("dqn"),
        };
        assert_eq!(said.topic, "client/eve/weights/dqn/v1");
        let message = Message::decode(said.payload, &pupil).unwrap();
        let Body::Ack(ack) = message.body else {
            panic!("{message:?}");
        };
        assert_eq!(message.epoch, 7);
        assert!(ack.refused.contains("one-more"), "{}", ack.refused);

        for n in MAX_OF_ONE_DEVICE..MAX_TYPES {
            let device = format!("pi-{n}");
            assert!(matches!(
                say(&mut types, &device, &format!("type-{n}"), true),
                Heard::New(_)
            ));
        }
        assert!(matches!(say(&mut types, "pi", "new", true), Heard::Refused(_)));
        assert_eq!(say(&mut types, "pi", "type-5", true), Heard::Nothing, "served");
        assert_eq!(
            types.to_string(),
            "16 of at most 16 have a process, devices of others were refused 2 times"
        );
    }
}
