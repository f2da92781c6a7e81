//! Training on the MEC while everything around it fails: trainer and broker killed at random moments, the network cut.
//!
//! Afterwards every experience was learned from exactly once and in order: the weights are, to the bit, those of the
//! same experiences learned from in one go.
//!
//! Too slow for the quick tests; `.ci/run` runs `once` and `one_of_three_brokers_dies`. All of it:
//!
//! ```sh
//! cargo test --test chaos -- --ignored --test-threads 1
//! ```
#![allow(clippy::unwrap_used)]

#[path = "common/brokers.rs"]
mod brokers;
#[path = "common/certificates.rs"]
mod certificates;
mod common;
#[path = "chaos/relay.rs"]
mod relay;
#[path = "chaos/testbed.rs"]
mod testbed;

use brokers::{Broker, NatsCluster};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use std::time::Duration;
use testbed::{Device, Testbed, check, pause};

/// How long a scaled-down cut lasts.
const SHORT_CUT: Duration = Duration::from_secs(2);
/// The cut of the full test.
const LONG_CUT: Duration = Duration::from_secs(30);

#[test]
#[ignore = "takes half a minute"]
fn once() {
    let Some(broker) = Broker::mosquitto("") else {
        return;
    };
    disturbed(broker, 1, SHORT_CUT);
}

#[test]
#[ignore = "takes minutes"]
fn ten_times_once_with_the_long_cut() {
    for seed in 0..10 {
        let Some(broker) = Broker::mosquitto("") else {
            return;
        };
        disturbed(broker, seed, if seed == 0 { LONG_CUT } else { SHORT_CUT });
    }
}

/// The trainer dies twice, the broker once, and the network is gone for a while.
fn disturbed(mut broker: Broker, seed: u64, cut: Duration) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut testbed = Testbed::start(broker.port());
    let mut device = Device::start(&testbed, cut);
    for _ in 0..2 {
        pause(&mut rng);
        testbed.kill_trainer();
        pause(&mut rng);
        testbed.start_trainer();
    }
    pause(&mut rng);
    broker.kill();
    pause(&mut rng);
    broker.start_again();
    pause(&mut rng);
    testbed.line.cut();
    std::thread::sleep(cut);
    testbed.line.mend();
    check(&device.done(), seed);
}

#[test]
#[ignore = "takes half a minute"]
fn one_of_three_brokers_dies() {
    let Some(mut cluster) = NatsCluster::start() else {
        return;
    };
    let ports = [0, 1].map(|node| cluster.node(node).url().port());
    let mut testbed = Testbed::start(ports[0]);
    let mut device = Device::start(&testbed, SHORT_CUT);
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    pause(&mut rng);
    // The sessions of device and trainer have been made meanwhile.
    cluster.until_settled();
    cluster.node(0).kill();
    testbed.line.turn_to(([127, 0, 0, 1], ports[1]).into());
    testbed.trainer_line.turn_to(([127, 0, 0, 1], ports[1]).into());
    pause(&mut rng);
    testbed.kill_trainer();
    testbed.start_trainer();
    check(&device.done(), 3);
}
