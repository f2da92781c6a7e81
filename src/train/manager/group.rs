//! Trainers that divide the devices among those of them that are alive.
//!
//! Each says every third of its lease, by a retained message, that it is there. Whoever has not said so anew within its
//! lease, or has its last will published by the broker, is gone. The lease is measured by the clock of the one who
//! listens, so nobody's clock is compared with another's.
//!
//! A member judges itself as it judges the others: it is alive while its own beats come back from the broker. So one that
//! starts takes nothing before it has heard of the others, whose retained messages come when it subscribes; and one
//! that the broker does not hear lets go of its devices when the others take them.
//!
//! Which of the living has a device is the one with the greatest hash of both names (rendezvous hashing): when one comes or
//! goes, only the devices that it takes or leaves change hands. What is no longer its, a member lets go of at once; what has
//! become its, it takes when nothing has changed for [`SETTLE`], so that the one who had it has time to store it.
//!
//! That two believe for a while that a device is theirs cannot be excluded this way, nor by any other. It does no harm:
//! the store takes a learner only from the one that claimed it last (see `store`).

use crate::train::link::Outgoing;
use crate::train::topic::{self, Name};
use crate::train::wire::{Member, PROTOCOL};
use bytes::Bytes;
use prost::Message as _;
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};
use twox_hash::XxHash3_64;

/// How long nothing may change before devices are taken.
const SETTLE: Duration = Duration::from_secs(1);
/// Trainers of a group; more are not listened to.
const MAX_MEMBERS: usize = 1000;
/// What others may say of their lease.
const MIN_LEASE: Duration = Duration::from_secs(1);
/// As above.
const MAX_LEASE: Duration = Duration::from_secs(600);
/// Members that have gone, of which it is remembered.
const MAX_GONE: usize = 8;

/// One trainer's view of its group.
#[derive(Clone, Debug)]
pub struct Group {
    name: Name,
    me: Name,
    instance: u64,
    lease: Duration,
    /// Those alive, perhaps this one too.
    members: BTreeMap<Name, Peer>,
    /// The last of those that were.
    gone: VecDeque<Name>,
    /// How often it was said here that this one is there, when last, and whether that has come back.
    beat: u64,
    beaten: Option<Instant>,
    is_heard: bool,
    /// Whether somebody was told that it does not.
    is_told: bool,
    /// When who is alive changed, if that is not settled.
    changed: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Peer {
    instance: u64,
    beat: u64,
    lease: Duration,
    heard: Instant,
}

impl Group {
    /// The view of trainer `me`, which nobody else in the group is called. `instance` is any number that an earlier
    /// start of it did not have.
    pub fn new(name: Name, me: Name, instance: u64, lease: Duration) -> Self {
        Self {
            name,
            me,
            instance,
            lease,
            members: BTreeMap::new(),
            gone: VecDeque::new(),
            beat: 0,
            beaten: None,
            is_heard: false,
            is_told: false,
            changed: None,
        }
    }

    /// What is to be listened to.
    pub fn filter(&self) -> String {
        topic::all_members(&self.name)
    }

    /// What this trainer says when it leaves, or the broker for it when it disappears.
    pub fn goodbye(&self) -> Outgoing {
        self.outgoing(Bytes::new())
    }

    /// Whether the device is this trainer's.
    pub fn keeps(&self, device: &Name) -> bool {
        self.owner(device) == Some(&self.me)
    }

    /// Whether it is, and may be taken by now.
    pub fn takes(&self, device: &Name) -> bool {
        self.is_settled() && self.keeps(device)
    }

    /// Whether nothing has changed for a while.
    pub fn is_settled(&self) -> bool {
        self.changed.is_none()
    }

    /// The members that have gone last, since this one is there.
    pub fn gone(&self) -> impl Iterator<Item = &Name> {
        self.gone.iter()
    }

    /// Takes a message. `None`: it is none of this group; otherwise whether it changes who has which device.
    pub fn receive(&mut self, topic: &str, payload: &Bytes, retained: bool, now: Instant) -> Option<bool> {
        let (_, trainer) = topic::parse_member(topic).filter(|(group, _)| *group == self.name)?;
        if payload.is_empty() {
            return Some(self.left(&trainer, now));
        }
        let member = Member::decode(payload.clone());
        let Some(member) = member.ok().filter(|member| member.protocol == PROTOCOL) else {
            tracing::debug!("a message on {topic} is damaged or of another version");
            return Some(false);
        };
        Some(self.lives(trainer, &member, retained, now))
    }

    /// Looks at the clock; whether that changes who has or takes which device.
    pub fn tick(&mut self, now: Instant) -> bool {
        let over = |peer: &Peer| now.saturating_duration_since(peer.heard) > peer.lease;
        let expired = self.members.iter().filter(|(_, peer)| over(peer));
        let expired: Vec<Name> = expired.map(|(name, _)| name.clone()).collect();
        for name in &expired {
            self.left(name, now);
        }
        let is_time = |at: Instant| now.saturating_duration_since(at) >= SETTLE;
        let settles = self.changed.is_some_and(is_time);
        if settles {
            self.changed = None;
            tracing::info!("alive in the group {}: {}", self.name, self.living());
        }
        settles || !expired.is_empty()
    }

    /// That this trainer is there, if it is time to say so.
    pub fn beat(&mut self, now: Instant) -> Option<Outgoing> {
        // What has not come back is still on its way, or lost with a broker.
        let wait = if self.is_heard {
            self.lease / 3
        } else {
            2 * self.lease / 3
        };
        let is_early = |at: Instant| now.saturating_duration_since(at) < wait;
        if self.beaten.is_some_and(is_early) {
            return None;
        }
        if self.beat > 0 && !self.is_heard && !self.is_told {
            self.is_told = true;
            let name = &self.name;
            tracing::warn!(
                "what this trainer says to its group {name} does not come back: without that it takes no devices. Does \
                 the broker let it read and write group/{name}/#?"
            );
        }
        self.beat += 1;
        (self.beaten, self.is_heard) = (Some(now), false);
        let member = Member {
            protocol: PROTOCOL,
            instance: self.instance,
            beat: self.beat,
            lease_ms: u32::try_from(self.lease.as_millis()).unwrap_or(u32::MAX),
        };
        Some(self.outgoing(member.encode_to_vec().into()))
    }

    fn outgoing(&self, payload: Bytes) -> Outgoing {
        Outgoing {
            topic: topic::member(&self.name, &self.me),
            payload,
            retain: true,
        }
    }

    fn lives(&mut self, trainer: Name, member: &Member, retained: bool, now: Instant) -> bool {
        if trainer == self.me && member.instance != self.instance {
            // Kept from an earlier start, or somebody else.
            if !retained {
                tracing::warn!(
                    "another trainer of the group {} is called {trainer} as well",
                    self.name
                );
            }
            return false;
        }
        let known = self.members.get(&trainer).copied();
        let is_old = |peer: Peer| peer.instance == member.instance && peer.beat >= member.beat;
        if known.is_some_and(is_old) || known.is_none() && self.members.len() >= MAX_MEMBERS {
            return false;
        }
        if trainer == self.me && member.beat == self.beat {
            (self.is_heard, self.is_told) = (true, false);
        }
        self.gone.retain(|name| *name != trainer);
        let lease = Duration::from_millis(member.lease_ms.into()).clamp(MIN_LEASE, MAX_LEASE);
        let peer = Peer {
            instance: member.instance,
            beat: member.beat,
            lease,
            heard: now,
        };
        self.members.insert(trainer, peer);
        self.changed = if known.is_none() { Some(now) } else { self.changed };
        known.is_none()
    }

    fn left(&mut self, trainer: &Name, now: Instant) -> bool {
        if *trainer == self.me {
            // So the others believe. They shall know better at once.
            self.beaten = None;
        }
        let was_here = self.members.remove(trainer).is_some();
        if was_here {
            self.changed = Some(now);
            if *trainer != self.me {
                self.gone.push_back(trainer.clone());
                self.gone.drain(..self.gone.len().saturating_sub(MAX_GONE));
            }
        }
        was_here
    }

    fn owner(&self, device: &Name) -> Option<&Name> {
        let weight = |member: &Name| XxHash3_64::oneshot(format!("{device}/{member}").as_bytes());
        self.members.keys().max_by_key(|member| (weight(member), *member))
    }

    fn living(&self) -> String {
        let names: Vec<&str> = self.members.keys().map(Name::as_str).collect();
        match names.is_empty() {
            true => "nobody is heard of".to_owned(),
            false => names.join(", "),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
