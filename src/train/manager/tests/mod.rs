//! The manager alone: rules one by one here, all of them at once in `chaos`.

mod chaos;
mod energy;
mod group;
mod types;
mod world;

use super::*;
use crate::train::link::Outgoing;
use crate::train::wire::{Ack, Body, Fetch, Message, Presence};
use bytes::Bytes;
use std::time::Instant;
use world::{Device, World, presence, pupil};

/// The last Ack of all that was said.
fn last_ack(said: &[Message]) -> Ack {
    let acks = said.iter().filter_map(|m| match &m.body {
        Body::Ack(ack) => Some(ack.clone()),
        _ => None,
    });
    acks.last().unwrap()
}

fn weights(said: &[Message]) -> usize {
    said.iter().filter(|m| matches!(m.body, Body::Weights(_))).count()
}

#[test]
fn a_device_is_taken_and_its_experiences_are_learned_from_once() {
    let mut world = World::new();
    let device = Device::new("pi-1", "dqn", 5);
    world.hear(&device.presence());
    assert!(
        world
            .subscribed
            .contains(&"client/pi-1/experience/dqn/v1".to_owned())
    );
    for n in [1, 2, 2, 1, 3] {
        world.hear(&device.experience(n));
    }
    assert_eq!(world.seat(&device).applied, 3);
    assert_eq!(world.seat(&device).counters.duplicates, 2);
    let said = world.said();
    assert_eq!(weights(&said), 3);
    assert_eq!(said.last().unwrap().sequence, 3);
}

#[test]
fn what_is_missing_is_asked_for_and_not_every_time() {
    let mut world = World::new();
    let device = Device::new("pi-1", "dqn", 9);
    world.hear(&device.presence());
    world.hear(&device.experience(1));
    world.wait(2.0);
    world.said();
    for n in 3..=9 {
        world.hear(&device.experience(n));
    }
    let said = world.said();
    assert_eq!(last_ack(&said).resend_from, 2);
    assert_eq!(said.len(), 1, "asked once for seven that came too early");
    world.wait(1.5);
    assert_eq!(last_ack(&world.said()).resend_from, 2);
}

#[test]
fn what_comes_before_its_device_is_known_is_asked_for_again() {
    let mut world = World::new();
    let device = Device::new("pi-1", "dqn", 3);
    world.hear(&device.experience(3));
    assert_eq!(world.manager.totals().dropped, 1);
    world.hear(&device.presence());
    assert_eq!(last_ack(&world.said()).resend_from, 1);
}

#[test]
fn of_an_old_life_nothing_is_taken_and_a_new_one_replaces_it() {
    let mut world = World::new();
    let mut device = Device::new("pi-1", "dqn", 5);
    world.hear(&device.presence());
    world.hear(&device.experience(1));
    let old = device.experience(2);
    device.epoch += 1;
    world.hear(&device.presence());
    world.hear(&old);
    assert_eq!(world.seat(&device).applied, 0);
    assert_eq!(world.seat(&device).counters.dropped, 1);
    world.hear(&device.experience(1));
    assert_eq!(world.seat(&device).applied, 1);
}

#[test]
fn a_learner_that_cannot_be_had_is_refused_in_a_sentence() {
    let mut world = World::new();
    for (learner, settings, word) in [
        ("oracle", "", "oracle"),
        ("dqn", r#"{"dqn":{"rate":-1.0}}"#, "rate"),
    ] {
        let mut device = Device::new("pi-1", learner, 1);
        device.settings = settings.to_owned();
        world.hear(&device.presence());
        assert!(last_ack(&world.said()).refused.contains(word));
    }
}

#[test]
fn a_learner_that_panics_is_given_up_and_the_others_go_on() {
    let mut world = World::new();
    let (mut bad, good) = (Device::new("pi-1", "dqn", 3), Device::new("pi-2", "dqn", 3));
    world.hear(&bad.presence());
    world.hear(&good.presence());
    world.put(&bad.experience(1));
    let task = world.manager.next(Lane::Learn, world.now).unwrap();
    let panicked = task.if_it_panics();
    drop(task);
    world.said();
    world
        .manager
        .done(Done(panicked("index 5 of 4".to_owned())), world.now);
    assert!(last_ack(&world.said()).refused.contains("index 5 of 4"));
    let totals = world.manager.totals();
    assert_eq!((totals.panics, totals.in_memory, totals.updates), (1, 1, 0));
    world.hear(&bad.experience(2));
    world.hear(&good.experience(1));
    assert_eq!(world.seat(&good).applied, 1);
    // A life of its own is another matter.
    bad.epoch += 1;
    world.hear(&bad.presence());
    world.hear(&bad.experience(1));
    assert_eq!(world.seat(&bad).applied, 1);
    assert_eq!(
        world.manager.totals().to_string(),
        "2 updates, 2 learners, 2 of them in memory, 1 learners that panicked"
    );
}

#[test]
fn a_learner_that_began_elsewhere_is_asked_for_and_goes_on_exactly() {
    let mut world = World::new();
    let mut device = Device::new("pi-1", "dqn", 6);
    device.base = 3;
    world.hear(&device.presence());
    assert!(last_ack(&world.said()).need_model);
    world.hear(&device.experience(4));
    for message in device.checkpoint(3) {
        world.hear(&message);
    }
    for n in 5..=6 {
        world.hear(&device.experience(n));
    }
    assert!(!last_ack(&world.said()).need_model);
    world.hear(&device.message(6, Body::Fetch(Fetch { after: 6 })));
    assert_eq!(world.whole(&device), device.undisturbed(6));
}

#[test]
fn weights_that_the_device_uploads_are_used_for_the_update() {
    let mut world = World::new();
    let mut device = Device::new("pi-1", "dqn", 2);
    device.uploads = true;
    world.hear(&device.presence());
    world.hear(&device.experience(1));
    assert_eq!(world.seat(&device).applied, 0, "the weights are not here yet");
    // Those of another learner: what comes of the update shows that they were used.
    let mut other = Device::new("pi-1", "dqn", 2);
    other.seed = 99;
    world.hear(&other.weights(0));
    assert_eq!(world.seat(&device).applied, 1);
    let sha256 = world.seat(&device).weights_sha256.clone();
    assert_ne!(sha256, device.sha256(1));
    // Weights that cannot be used are refused.
    let Body::Weights(mut bad) = other.weights(1).body else {
        panic!("they are weights")
    };
    bad.sha256 = Bytes::from_static(&[0; 32]);
    world.hear(&device.message(1, Body::Weights(bad)));
    world.hear(&device.experience(2));
    assert!(last_ack(&world.said()).refused.contains("uploaded weights"));
}

#[test]
fn while_experiences_wait_weights_go_out_only_now_and_then() {
    let mut world = World::new();
    let device = Device::new("pi-1", "dqn", 60);
    world.hear(&device.presence());
    for n in 1..=60 {
        world.put(&device.experience(n));
    }
    world.work();
    let sent = weights(&world.said());
    assert!((1..=6).contains(&sent), "{sent} times");
    assert_eq!(world.seat(&device).weights_sha256, device.sha256(60));
}

#[test]
fn weights_too_large_for_one_message_come_in_chunks() {
    let mut world = World::new();
    let mut device = Device::new("pi-1", "dqn", 1);
    device.max_message = 1024;
    world.hear(&device.presence());
    world.hear(&device.experience(1));
    let said = world.said();
    assert!(said.iter().all(|m| m.encode().len() <= 1024));
    assert!(said.iter().any(|m| matches!(m.body, Body::Manifest(_))));
}

#[test]
fn while_nobody_takes_what_is_said_there_is_no_lesson_and_nobody_is_woken_for_one() {
    let mut world = World::new();
    let device = Device::new("pi-1", "dqn", 1);
    world.hear(&device.presence());
    world.put(&device.experience(1));
    assert!(world.manager.has_task(Lane::Learn));
    let large = Output::Publish(Outgoing {
        topic: "client/pi-1/weights/dqn/v1".to_owned(),
        payload: vec![0; 33 << 20].into(),
        retain: false,
    });
    world.manager.put_back(large);
    assert!(!world.turn() && !world.manager.has_task(Lane::Learn));
    world.manager.output();
    assert!(world.manager.has_task(Lane::Learn) && world.turn());
}

#[test]
fn one_that_sends_much_does_not_keep_the_others_waiting() {
    let mut world = World::new();
    let flood = Device::new("flood", "dqn", 500);
    let calm = Device::new("calm", "dqn", 1);
    world.hear(&flood.presence());
    world.hear(&calm.presence());
    for n in 1..=500 {
        world.put(&flood.experience(n));
    }
    world.turn();
    world.put(&calm.experience(1));
    world.turn();
    world.turn();
    assert_eq!(world.seat(&calm).applied, 1);
    assert!(world.seat(&flood).applied < 200);
}

#[test]
fn of_many_learners_only_so_many_are_in_memory_and_none_loses_anything() {
    let mut world = World::of(Config {
        max_learners: 3,
        ..world::config()
    });
    let devices: Vec<Device> = (0..10)
        .map(|i| Device::new(&format!("pi-{i}"), "dqn", 4))
        .collect();
    for device in &devices {
        world.hear(&device.presence());
    }
    for n in 1..=4 {
        for device in &devices {
            world.hear(&device.experience(n));
            assert!(world.manager.totals().in_memory <= 3);
        }
    }
    for device in &devices {
        assert_eq!(world.seat(device).applied, 4);
        world.hear(&device.message(4, Body::Fetch(Fetch { after: 4 })));
        assert_eq!(world.whole(device), device.undisturbed(4));
    }
}

#[test]
fn durable_is_said_only_of_what_is_stored_and_a_full_disk_loses_nothing() {
    let mut world = World::new();
    let device = Device::new("pi-1", "dqn", 3);
    world.hear(&device.presence());
    world.store_fails = true;
    for n in 1..=3 {
        world.hear(&device.experience(n));
    }
    world.wait(31.0);
    assert_eq!(world.seat(&device).durable(), 0);
    let failures = world.manager.totals().store_failures;
    assert!((1..=2).contains(&failures), "{failures} failures");
    world.store_fails = false;
    world.wait(6.0);
    assert_eq!(world.seat(&device).durable(), 3);
    assert_eq!(last_ack(&world.said()).durable, 3);
}

#[test]
fn a_trainer_that_ends_stores_all_and_the_next_goes_on_from_there() {
    let mut world = World::new();
    let mut device = Device::new("pi-1", "dqn", 4);
    world.hear(&device.presence());
    for n in 1..=2 {
        world.hear(&device.experience(n));
    }
    world.manager.stop(world.now);
    world.work();
    assert!(world.manager.is_stored());
    world.restart();
    device.head = 4;
    world.hear(&device.presence());
    let said = world.said();
    assert_eq!((last_ack(&said).durable, last_ack(&said).resend_from), (2, 3));
    for n in 3..=4 {
        world.hear(&device.experience(n));
    }
    world.hear(&device.message(4, Body::Fetch(Fetch { after: 4 })));
    assert_eq!(world.whole(&device), device.undisturbed(4));
}

#[test]
fn a_trainer_that_ends_stores_a_learner_for_which_experiences_wait_and_leaves_it_alone() {
    let mut world = World::new();
    let device = Device::new("pi-1", "dqn", 3);
    world.hear(&device.presence());
    world.hear(&device.experience(1));
    world.put(&device.experience(2));
    world.manager.stop(world.now);
    // What comes now is not learned from either, but a device that wants its learner back gets it.
    world.put(&device.experience(3));
    world.put(&device.message(1, Body::Fetch(Fetch { after: 1 })));
    let lessons = (0..20).filter(|_| world.turn()).count();
    assert!(lessons <= 2, "{lessons} lessons of a trainer that learns no more");
    world.work();
    assert!(world.manager.is_stored());
    assert_eq!(
        (world.seat(&device).applied, world.seat(&device).durable()),
        (1, 1)
    );
    assert_eq!(world.whole(&device), device.undisturbed(1));
}

#[test]
fn a_trainer_that_ends_stores_many_learners_as_fast_as_the_store_takes_them_and_few_wait_for_it() {
    let mut world = World::new();
    let devices: Vec<Device> = (0..40)
        .map(|i| Device::new(&format!("pi-{i}"), "dqn", 1))
        .collect();
    for device in &devices {
        world.hear(&device.presence());
        world.hear(&device.experience(1));
    }
    world.manager.stop(world.now);
    // The store is slow: nothing is written yet.
    while world.turn() {}
    assert!((1..=16).contains(&world.manager.writings.len()));
    assert!(!world.manager.has_task(Lane::Learn));
    // No time passes: what is due after a while is not looked at.
    world.work();
    assert!(world.manager.is_stored());
}

#[test]
fn a_farewell_says_nothing_of_learners_that_nobody_has_looked_for() {
    let mut world = World::new();
    let (here, unknown) = (Device::new("pi-1", "dqn", 1), Device::new("pi-2", "dqn", 1));
    world.hear(&here.presence());
    world.hear(&here.experience(1));
    world.put(&unknown.presence());
    world.manager.farewell(world.now);
    let last: Vec<_> = world
        .told()
        .into_iter()
        .map(|(status, sequence)| (status.active, status.updates, sequence))
        .collect();
    assert_eq!(last, [(false, 1, 1)]);
    assert!(
        world.seat(&here).is_unstored(),
        "it does not become stored by being told of"
    );
}

#[test]
fn a_new_life_that_begins_while_the_old_one_waits_for_its_turn_comes_into_memory() {
    let mut world = World::new();
    let mut device = Device::new("pi-1", "dqn", 1);
    world.hear(&device.presence());
    world.put(&device.experience(1));
    device.epoch += 1;
    world.put(&device.presence());
    assert!(!world.turn(), "the life that waited is over");
    world.work();
    assert!(world.seat(&device).opened);
    assert_eq!(world.manager.totals().in_memory, 1);
}

#[test]
fn what_others_may_know_is_said_once_and_then_when_it_changes() {
    let mut world = World::new();
    let device = Device::new("pi-1", "dqn", 2);
    world.hear(&device.presence());
    world.hear(&device.experience(1));
    world.wait(6.0);
    let told = |world: &mut World| {
        let said = world.told();
        said.into_iter()
            .map(|(status, sequence)| (status.lag, sequence))
            .next_back()
    };
    assert_eq!(told(&mut world), Some((0, 1)));
    world.wait(60.0);
    world.told();
    world.wait(60.0);
    assert_eq!(told(&mut world), None);
    world.hear(&device.experience(2));
    world.wait(6.0);
    assert_eq!(told(&mut world), Some((0, 2)));
    // Another broker knows nothing of it, or one that has lost its memory.
    world.manager.connected();
    world.wait(6.0);
    assert_eq!(told(&mut world), Some((0, 2)));
    world.wait(60.0);
    world.told();
    world.wait(60.0);
    assert_eq!(told(&mut world), None);
}

#[test]
fn devices_of_other_shards_are_left_to_other_trainers() {
    let mut world = World::of(Config {
        membership: Membership::Shard("0/2".parse().unwrap()),
        ..world::config()
    });
    for n in 0..40 {
        world.hear(&Device::new(&format!("pi-{n}"), "dqn", 1).presence());
    }
    let taken = world.manager.totals().learners;
    assert!((5..35).contains(&taken), "{taken} of 40");
}

#[test]
fn whatever_comes_nothing_panics_and_it_is_counted() {
    use proptest::prelude::*;
    let whole: Vec<Bytes> = {
        let device = Device::new("pi-1", "dqn", 3);
        let mut all = vec![device.presence(), device.experience(1), device.weights(0)];
        all.push(device.message(u64::MAX, Body::Presence(presence())));
        all.push(device.message(3, Body::Fetch(Fetch { after: u64::MAX })));
        all.extend(device.checkpoint(1));
        all.iter().map(Message::encode).collect()
    };
    let channels = ["status", "experience", "model", "weights", "joy"];
    let message = (
        0..whole.len(),
        any::<u16>(),
        any::<u8>(),
        0..channels.len(),
        any::<bool>(),
    );
    let messages = proptest::collection::vec(message, 1..30);
    proptest!(ProptestConfig::with_cases(200), |(messages in messages)| {
        let mut world = World::new();
        world.hear(&Device::new("pi-1", "dqn", 3).presence());
        for (which, at, with, channel, cut) in messages {
            let mut bytes = whole[which].to_vec();
            let at = usize::from(at) % bytes.len();
            match cut {
                true => bytes.truncate(at),
                false => bytes[at] ^= with,
            }
            let topic = format!("client/pi-1/{}/dqn/v1", channels[channel]);
            world.manager.receive(&topic, bytes.into(), false, world.now);
            world.work();
            world.wait(0.3);
        }
    });
    let mut world = World::new();
    world.manager.receive("joy", Bytes::new(), false, Instant::now());
    let p = pupil("pi-1", "dqn");
    let message = Message {
        pupil: p.clone(),
        epoch: 1,
        sequence: u64::MAX,
        body: Body::Presence(Presence {
            base_sequence: u64::MAX,
            ..presence()
        }),
    };
    world.hear(&message);
    assert!(last_ack(&world.said()).refused.contains("number"));
    assert_eq!(world.manager.totals().dropped, 1);
}
