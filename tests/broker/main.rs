//! The embedded broker as clients see it.
#![allow(clippy::unwrap_used)]

mod access;
#[path = "../common/certificates.rs"]
mod certificates;
mod garbage;
mod limits;
mod peer;
mod round_trip;
mod sessions;
mod tls;

use hwmeter::train::broker::{Broker, BrokerConfig, Limits};

/// A broker for everybody on this machine.
fn open() -> Broker {
    with_limits(Limits::default())
}

fn with_limits(limits: Limits) -> Broker {
    let config = BrokerConfig {
        limits,
        ..BrokerConfig::new()
    };
    Broker::start(&config).unwrap()
}
