//! The Python learner of `examples/`, an independent client: what `protoc` and paho-mqtt make of the protocol, a device
//! understands.
#![allow(clippy::unwrap_used)]

#[path = "common/brokers.rs"]
mod brokers;
#[path = "common/certificates.rs"]
mod certificates;
mod common;
#[path = "common/device.rs"]
mod device;

use brokers::Broker;
use common::child::{Started, started};
use common::{have, until};
use device::Device;
use hwmeter::learn::{Cost, Placement, State, Transition, Values};
use hwmeter::train::codec;
use hwmeter::train::topic::Channel;
use hwmeter::train::wire::{Body, Presence, Weights};
use std::path::Path;
use std::process::Command;

/// The system's own, for which the packages are; another may come first in the path.
const PYTHON: &str = "/usr/bin/python3";

/// The learner, with the messages compiled by `protoc` as its first lines say.
fn learner(port: u16, generated: &Path) -> Started {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut protoc = Command::new("protoc");
    protoc
        .arg("--proto_path")
        .arg(root.join("proto"))
        .arg("train.proto");
    protoc.arg("--python_out").arg(generated);
    assert!(protoc.status().unwrap().success());
    let mut python = Command::new(PYTHON);
    python.arg(root.join("examples/python-learner/learner.py"));
    python
        .args(["127.0.0.1", &port.to_string()])
        .env("PYTHONPATH", generated);
    started(&mut python)
}

fn has_python_modules() -> bool {
    let import = "import google.protobuf, numpy, paho.mqtt.client";
    let output = Command::new(PYTHON).args(["-c", import]).output();
    if output.is_ok_and(|output| output.status.success()) {
        return true;
    }
    // The helper says what is missing, or fails where nothing may be missing.
    have(
        "python3 with google.protobuf, numpy and paho.mqtt",
        "python3-numpy python3-paho-mqtt python3-protobuf",
    )
}

fn experience(device: &Device, sequence: u64) {
    let state = State {
        device_free: 0.5,
        mec_free: 1.0,
        throughput_bps: 1e6,
        cycles: 1e8,
        deadline_s: 0.5,
    };
    let transition = Transition {
        state,
        placement: Placement::Mec,
        reward: -2.0,
        next_state: state,
    };
    let cost = Cost {
        energy_j: 2.0,
        latency_s: 0.1,
        in_time: true,
    };
    device.experience(sequence, &transition, &cost);
}

fn next_weights(device: &Device) -> (u64, Weights) {
    let message = device.hears();
    let Body::Weights(weights) = message.body else {
        panic!("weights were due, not {message:?}")
    };
    (message.sequence, weights)
}

#[test]
fn a_learner_in_python_reads_experiences_and_publishes_weights() {
    if !have("protoc", "protobuf-compiler") || !has_python_modules() {
        return;
    }
    let Some(broker) = Broker::mosquitto("") else {
        return;
    };
    let generated = tempfile::tempdir().unwrap();
    let _learner = learner(broker.port(), generated.path());
    let device = Device::connect(broker.url(), "pi-1", "ridge");
    device.say(
        Channel::Status,
        0,
        Body::Presence(Presence {
            online: true,
            ..Presence::default()
        }),
    );
    let taken = device.hears();
    assert!(
        matches!((taken.sequence, taken.body), (0, Body::Ack(_))),
        "it takes the device"
    );

    experience(&device, 1);
    let (sequence, weights) = next_weights(&device);
    assert_eq!(sequence, 1);
    let taken = codec::from_wire(&weights.tensors, weights.codec(), &weights.sha256, 1 << 20).unwrap();
    let theta = taken.get("theta").unwrap();
    assert_eq!(theta.shape(), [3, 6]);
    let Values::F64(numbers) = theta.values() else {
        panic!("it sends double precision")
    };
    let mec = &numbers[6..12];
    assert!(
        mec[0] < -0.1 && numbers[..6].iter().all(|v| *v == 0.0),
        "{numbers:?}"
    );

    // A gap is asked for; what comes twice teaches once.
    experience(&device, 3);
    let Body::Ack(ack) = device.hears().body else {
        panic!("2 is missing, which it should say")
    };
    assert_eq!(ack.resend_from, 2);
    for sequence in [1, 2, 2, 3] {
        experience(&device, sequence);
    }
    assert_eq!((next_weights(&device).0, next_weights(&device).0), (2, 3));
    until("all is acknowledged", || device.link.unacknowledged() == 0);
}
