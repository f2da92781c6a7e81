//! One learner process for each type of device.

use super::agent::{Agent, as_if};
use super::certificates::Authority;
use super::{Client, PLENTY, PROGRAM, Running, Signal, Url, kill, pids_with, secret, until};
use hwmeter::train::link::{Event, Link, LinkConfig};
use hwmeter::train::topic::{self, Channel, Pupil};
use hwmeter::train::wire::{Body, Message, Presence};
use nix::unistd::Pid;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

/// The process for a type.
fn process_of(state: &Path, of_type: &str) -> Option<Pid> {
    process_with(state, &format!("--of-type\0{of_type}\0"))
}

/// The process that was started with this option.
fn process_with(state: &Path, option: &str) -> Option<Pid> {
    let is_it = |pid: &i32| {
        let command = fs::read_to_string(format!("/proc/{pid}/cmdline"));
        command.is_ok_and(|command| command.contains(option))
    };
    pids_with(state).into_iter().find(is_it).map(Pid::from_raw)
}

const PI_4: &str = "raspberry-pi-4";
const PI_5: &str = "raspberry-pi-5";

#[test]
fn each_type_of_device_has_a_process_and_one_that_is_killed_is_no_matter_to_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    let mut mec = Running::start(&[
        "--role",
        "mec",
        "--learner-processes",
        "--trainer-name",
        "mec",
        "--mqtt-listen",
        "127.0.0.1:0",
        "--state",
        state.to_str().unwrap(),
    ]);
    let url: Url = mec.said("hwmeter serve: mec listening on ").parse().unwrap();
    let broker = Client::new(url).unwrap().training(PLENTY).unwrap().unwrap();
    let pi_4 = as_if(dir.path(), "Raspberry Pi 4 Model B", "raspberrypi,4-model-b");
    let pi_5 = as_if(dir.path(), "Raspberry Pi 5 Model B", "raspberrypi,5-model-b");
    let mut one = Agent::start(dir.path(), &pi_4, "one", &broker, &[]);
    let mut other = Agent::start(dir.path(), &pi_5, "other", &broker, &[]);
    until("both have a process", || {
        process_of(&state, PI_4).is_some() && process_of(&state, PI_5).is_some()
    });
    assert_eq!(
        pids_with(&state).len(),
        1 + 1 + 1 + 2,
        "server, keeper, trainer, types"
    );
    let (first, second) = (
        process_of(&state, PI_4).unwrap(),
        process_of(&state, PI_5).unwrap(),
    );

    until("it trains", || one.tasks_done() >= 3);
    kill(first, Signal::SIGKILL).unwrap();
    until("it comes again", || {
        process_of(&state, PI_4).is_some_and(|pid| pid != first)
    });
    one.ends_with_parity();
    other.ends_with_parity();
    assert_eq!(process_of(&state, PI_5), Some(second));

    mec.signal(Signal::SIGTERM);
    assert!(mec.child.wait().unwrap().success());
    assert!(pids_with(&state).is_empty());
    for (of_type, device) in [(PI_4, "one"), (PI_5, "other")] {
        let learner = state.join("types").join(of_type).join("learners").join(device);
        assert!(learner.is_dir(), "{learner:?}");
    }
    mec.complained("the trainer of raspberry-pi-4 ended (signal: 9 (SIGKILL)); it is started again");
}

#[test]
fn they_get_in_where_devices_need_passwords_and_their_broker_may_be_killed() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    let authority = Authority::new();
    let shows = authority.sign("localhost");
    let users = secret(dir.path(), "users", "device one:a-password-of-length");
    let password = secret(dir.path(), "password", "a-password-of-length");
    let mut command = Command::new(PROGRAM);
    command
        .args(["serve", "--role", "trainer", "--learner-processes"])
        .args(["--mqtt-listen", "127.0.0.1:0", "--mqtt-users", &users])
        .arg("--tls-cert")
        .arg(&shows.cert)
        .arg("--tls-key")
        .arg(&shows.key)
        .arg("--state")
        .arg(&state)
        .process_group(0);
    let mut trainer = Running::of(&mut command);
    let url = trainer.said("hwmeter serve: trainer on ");
    let url = url.replace("127.0.0.1", "localhost");
    assert!(url.starts_with("mqtts://"), "{url}");
    let pi_4 = as_if(dir.path(), "Raspberry Pi 4 Model B", "raspberrypi,4-model-b");
    let ca = authority.file();
    let more = [
        "--broker-user",
        "one",
        "--broker-password-file",
        &password,
        "--broker-ca",
        ca.to_str().unwrap(),
    ];
    let mut agent = Agent::start(dir.path(), &pi_4, "one", &url, &more);
    until("it has a process", || process_of(&state, PI_4).is_some());
    let process = process_of(&state, PI_4).unwrap();
    for pid in pids_with(&state) {
        for what in ["cmdline", "environ"] {
            let shown = fs::read_to_string(format!("/proc/{pid}/{what}")).unwrap();
            let is_secret = |word: &str| word.len() == 64 && word.bytes().all(|b| b.is_ascii_hexdigit());
            assert!(!shown.split(['\0', '=', ' ']).any(is_secret), "{shown}");
        }
    }

    until("it trains", || agent.tasks_done() >= 3);
    let broker = process_with(&state, "--say-types").unwrap();
    kill(broker, Signal::SIGKILL).unwrap();
    agent.ends_with_parity();
    assert_eq!(
        process_of(&state, PI_4),
        Some(process),
        "it has waited for its broker"
    );

    // As Ctrl-C in a terminal is: for the whole group. What is learned is stored all the same.
    kill(Pid::from_raw(-(trainer.child.id() as i32)), Signal::SIGINT).unwrap();
    assert!(trainer.child.wait().unwrap().success());
    until("all end", || pids_with(&state).is_empty());
    assert!(state.join("types").join(PI_4).join("learners/one").is_dir());
}

#[test]
fn one_device_does_not_start_any_number_of_processes() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    let mut trainer = Running::start(&[
        "--role",
        "trainer",
        "--learner-processes",
        "--mqtt-listen",
        "127.0.0.1:0",
        "--state",
        state.to_str().unwrap(),
    ]);
    let url = trainer.said("hwmeter serve: trainer on ");
    let (link, events) = Link::start(LinkConfig::new(url.parse().unwrap(), "eve")).unwrap();
    link.subscribe("client/eve/weights/+/v1").unwrap();
    let pupil = |learner: &str| Pupil {
        device: "eve".parse().unwrap(),
        learner: learner.parse().unwrap(),
    };
    for learner in ["a", "b", "c", "d"] {
        let presence = Presence {
            online: true,
            device_type: format!("type-{learner}"),
            ..Presence::default()
        };
        let message = Message {
            pupil: pupil(learner),
            epoch: 1,
            sequence: 0,
            body: Body::Presence(presence),
        };
        let topic = Channel::Status.topic(&message.pupil);
        link.publish(topic, message.encode(), true).unwrap();
    }
    let refused = |event: Event| {
        let Event::Message { topic, payload, .. } = event else {
            return None;
        };
        let (_, pupil) = topic::parse(&topic).unwrap();
        match Message::decode(payload, &pupil).unwrap().body {
            Body::Ack(ack) if ["c", "d"].contains(&pupil.learner.as_str()) => Some(ack.refused),
            _ => None,
        }
    };
    let said = || events.recv_timeout(PLENTY).unwrap();
    let why = std::iter::repeat_with(said).find_map(refused).unwrap();
    assert!(why.contains("no process is started for type type-"), "{why}");
    until("two have a process", || {
        process_of(&state, "type-a").is_some() && process_of(&state, "type-b").is_some()
    });
    assert_eq!(pids_with(&state).len(), 1 + 1 + 2, "keeper, trainer, types");
    trainer.complained("devices are refused");
}
