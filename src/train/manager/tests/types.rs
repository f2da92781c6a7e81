//! One trainer for each type of device.

use super::*;
use crate::train::types::OfType;

fn trainer(of_type: OfType) -> World {
    World::of(Config {
        of_type,
        ..world::config()
    })
}

fn of_type(device: &Device, device_type: &str) -> Message {
    let mut message = device.presence();
    let Body::Presence(presence) = &mut message.body else {
        unreachable!()
    };
    presence.device_type = device_type.to_owned();
    message
}

#[test]
fn a_trainer_of_one_type_takes_no_device_of_another() {
    let mut world = trainer(OfType::One("pi-4".parse().unwrap()));
    let (own, other) = (Device::new("a", "dqn", 2), Device::new("b", "dqn", 2));
    world.hear(&of_type(&own, "pi-4"));
    world.hear(&of_type(&other, "pi-5"));
    world.hear(&other.presence());
    assert_eq!(world.manager.totals().learners, 1);
    world.hear(&own.experience(1));
    assert_eq!(world.seat(&own).applied, 1);
    assert!(world.said().iter().all(|message| message.pupil == own.pupil));
}

#[test]
fn the_rest_are_those_that_say_no_type() {
    let mut world = trainer(OfType::Rest);
    let (own, other) = (Device::new("a", "dqn", 2), Device::new("b", "dqn", 2));
    world.hear(&own.presence());
    world.hear(&of_type(&other, "pi-5"));
    assert_eq!(world.manager.totals().learners, 1);
    assert_eq!(world.seat(&own).applied, 0);
}

#[test]
fn a_device_that_moves_to_another_board_is_let_go_and_taken_again_when_it_comes_back() {
    let mut world = trainer(OfType::One("pi-4".parse().unwrap()));
    let device = Device::new("a", "dqn", 4);
    world.hear(&of_type(&device, "pi-4"));
    world.hear(&device.experience(1));
    world.hear(&device.experience(1));
    world.wait(60.0);
    assert!(!world.told().is_empty());
    // A thread has its learner just then.
    world.put(&device.experience(2));
    let task = world.manager.next(Lane::Learn, world.now).unwrap();
    world.put(&of_type(&device, "pi-5"));
    world.manager.done(task.run(&world.store), world.now);
    world.work();
    world.said();
    world.hear(&device.experience(3));
    world.wait(60.0);
    assert!(world.said().is_empty(), "another trainer speaks to it");
    assert_eq!(world.manager.totals().in_memory, 0);

    world.hear(&of_type(&device, "pi-4"));
    assert_eq!(
        world.seat(&device).counters.duplicates,
        1,
        "what is stored counts once"
    );
    for n in 1..=4 {
        world.hear(&device.experience(n));
    }
    assert_eq!(world.seat(&device).applied, 4);
    assert_eq!(world.seat(&device).weights_sha256, device.sha256(4));
}
