//! What updates cost, where it is known.

use super::world::{Device, World, config};
use crate::train::energy::Price;
use crate::train::wire::{Body, Message, Weights};

fn weights(said: Vec<Message>) -> Vec<Weights> {
    let weights = said.into_iter().filter_map(|message| match message.body {
        Body::Weights(weights) => Some(weights),
        _ => None,
    });
    weights.collect()
}

fn learned(world: &mut World) -> Vec<Weights> {
    let device = Device::new("pi-1", "dqn", 3);
    world.hear(&device.presence());
    for n in 1..=3 {
        world.hear(&device.experience(n));
    }
    weights(world.said())
}

#[test]
fn weights_and_status_say_what_an_update_cost() {
    let mut config = config();
    // So many nanoseconds of CPU as joules.
    config.price = Some(Price::fixed(1e9));
    let mut world = World::of(config);
    let weights = learned(&mut world);
    assert_eq!(weights.len(), 3);
    let mut sum = 0.0;
    for weights in weights {
        let joules = weights.server_j.unwrap();
        // An update takes more than a microsecond, and less than a second.
        assert!((1e3..1e9).contains(&joules), "{joules}");
        assert_eq!(weights.server_j_kind, "modelled");
        sum += joules;
    }
    world.wait(10.0);
    let (status, _) = world.told().pop().unwrap();
    // To write the last weights comes on top.
    let mean = status.update_j.unwrap();
    assert!((sum / 3.0..1e9).contains(&mean), "{mean} of {sum}");
    assert_eq!(status.update_j_kind, "modelled");
}

#[test]
fn what_is_not_known_is_absent() {
    let mut world = World::new();
    for weights in learned(&mut world) {
        assert_eq!((weights.server_j, weights.server_j_kind.as_str()), (None, ""));
    }
    world.wait(10.0);
    let (status, _) = world.told().pop().unwrap();
    assert_eq!((status.update_j, status.update_j_kind.as_str()), (None, ""));
}
