//! What was refused, dropped and slowed down.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Count {
    Connections,
    NoPlace,
    Foreign,
    OtherVersion,
    Tls,
    TooSlow,
    TooLarge,
    Bypass,
    BadPassword,
    BadClientId,
    TooManySessions,
    BadWill,
    PublishDenied,
    SubscribeDenied,
    NoMemory,
    NotRetained,
    Dropped,
    SlowedDown,
}

const KINDS: usize = Count::SlowedDown as usize + 1;

/// The counters themselves.
#[derive(Debug, Default)]
pub(super) struct Counters([AtomicU64; KINDS]);

impl Counters {
    pub fn add(&self, count: Count) {
        self.0[count as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub fn get(&self) -> Counts {
        let of = |count: Count| self.0[count as usize].load(Ordering::Relaxed);
        Counts {
            connections: of(Count::Connections),
            no_place: of(Count::NoPlace),
            foreign: of(Count::Foreign),
            other_version: of(Count::OtherVersion),
            tls: of(Count::Tls),
            too_slow: of(Count::TooSlow),
            too_large: of(Count::TooLarge),
            bypass: of(Count::Bypass),
            bad_password: of(Count::BadPassword),
            bad_client_id: of(Count::BadClientId),
            too_many_sessions: of(Count::TooManySessions),
            bad_will: of(Count::BadWill),
            publish_denied: of(Count::PublishDenied),
            subscribe_denied: of(Count::SubscribeDenied),
            no_memory: of(Count::NoMemory),
            not_retained: of(Count::NotRetained),
            dropped: of(Count::Dropped),
            slowed_down: of(Count::SlowedDown),
        }
    }
}

/// What was refused, dropped and slowed down so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Connections that came, whatever became of them.
    pub connections: u64,
    /// Connections for which there was no place.
    pub no_place: u64,
    /// Connections that spoke something else than MQTT.
    pub foreign: u64,
    /// Connections that spoke another version of MQTT than 3.1.1.
    pub other_version: u64,
    /// Connections that failed to agree on TLS.
    pub tls: u64,
    /// Connections that did not say in time what they are.
    pub too_slow: u64,
    /// Connections closed for a packet that is too large, or has no valid length.
    pub too_large: u64,
    /// Connections to the inner port that did not come from the gate.
    pub bypass: u64,
    /// Wrong passwords and unknown names.
    pub bad_password: u64,
    /// Client ids that belong to somebody else.
    pub bad_client_id: u64,
    /// Connections of devices that have as many sessions as they may have.
    pub too_many_sessions: u64,
    /// Connections with a last will that its device may not publish.
    pub bad_will: u64,
    /// Messages dropped because their device may not publish there.
    pub publish_denied: u64,
    /// Subscriptions refused.
    pub subscribe_denied: u64,
    /// Messages dropped because too many bytes are held already.
    pub no_memory: u64,
    /// Messages not retained because too many are.
    pub not_retained: u64,
    /// Messages dropped because a session's queue was full, or its client stayed away for too long.
    pub dropped: u64,
    /// Times that a device was read from more slowly.
    pub slowed_down: u64,
}

/// Those that are not zero, in one line.
impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} connections", self.connections)?;
        let rest = [
            (self.no_place, "without a place"),
            (self.foreign, "not MQTT"),
            (self.other_version, "not MQTT 3.1.1"),
            (self.tls, "TLS failed"),
            (self.too_slow, "too slow to say hello"),
            (self.too_large, "packets too large"),
            (self.bypass, "not through the gate"),
            (self.bad_password, "wrong passwords"),
            (self.bad_client_id, "client ids of others"),
            (self.too_many_sessions, "too many sessions"),
            (self.bad_will, "last wills denied"),
            (self.publish_denied, "publishes denied"),
            (self.subscribe_denied, "subscriptions denied"),
            (self.no_memory, "messages dropped for want of memory"),
            (self.not_retained, "messages not retained"),
            (self.dropped, "messages dropped from queues"),
            (self.slowed_down, "times slowed down"),
        ];
        rest.into_iter()
            .filter(|(count, _)| *count > 0)
            .try_for_each(|(count, what)| write!(f, ", {count} {what}"))
    }
}
