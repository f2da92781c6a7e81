#!/usr/bin/env python3
"""A trainer in Python for any device and any broker: LinUCB-like ridge regression of the reward, one per placement.

    apt install protobuf-compiler python3-numpy python3-paho-mqtt python3-protobuf
    protoc --proto_path=proto --python_out=examples/python-learner proto/train.proto
    python3 examples/python-learner/learner.py HOST PORT

It shows how little is needed to train a device with something else than `hwmeter serve --role trainer`: read the
presence, learn from experiences in their order, say so in weights. What it does not do: keep anything over a restart.
"""
import hashlib, sys
import numpy as np
import paho.mqtt.client as mqtt
import train_pb2 as pb

learners = {}  # by device and learner


class Ridge:
    """Sums of the features' products and of rewards, per placement: `FEATURES` numbers each, double precision."""
    FEATURES = 6

    def __init__(self, epoch, base):
        self.epoch, self.sequence = epoch, base
        self.a = np.stack([np.eye(self.FEATURES)] * 3)
        self.b = np.zeros((3, self.FEATURES))

    def learn(self, e):
        s = e.state
        x = np.array([1, s.device_free, s.mec_free, s.throughput_bps / 1e7, s.cycles / 1e9, s.deadline_s])
        self.a[e.placement] += np.outer(x, x)
        self.b[e.placement] += e.reward * x

    def tensors(self):
        theta = np.stack([np.linalg.solve(a, b) for a, b in zip(self.a, self.b)])
        tensor = pb.Tensor(name="theta", shape=theta.shape, type=pb.TYPE_F64, data=theta.astype("<f8").tobytes())
        return pb.Tensors(tensors=[tensor]).SerializeToString()


def answer(client, device, name, learner, **body):
    envelope = pb.Envelope(protocol=1, device=device, learner=name, epoch=learner.epoch, sequence=learner.sequence, **body)
    client.publish(f"client/{device}/weights/{name}/v1", envelope.SerializeToString(), qos=1)


def on_message(client, _, message):
    _, device, channel, name, _ = message.topic.split("/")
    said = pb.Envelope.FromString(message.payload)
    if said.protocol != 1 or (said.device, said.learner) != (device, name):
        return print("dropped: it is not of its topic", file=sys.stderr)
    learner = learners.get((device, name))
    if channel == "status" and said.presence.online and (learner is None or said.epoch > learner.epoch):
        learner = learners[device, name] = Ridge(said.epoch, said.presence.base_sequence)
        answer(client, device, name, learner, ack=pb.Ack(durable=learner.sequence))
    elif channel == "experience" and learner and said.epoch == learner.epoch:
        if said.sequence > learner.sequence + 1:  # one is missing
            answer(client, device, name, learner, ack=pb.Ack(resend_from=learner.sequence + 1))
        elif said.sequence == learner.sequence + 1:  # not one that came before
            learner.learn(said.experience)
            learner.sequence = said.sequence
            tensors = learner.tensors()
            sha256 = hashlib.sha256(tensors).digest()
            answer(client, device, name, learner, weights=pb.Weights(codec=pb.F32, sha256=sha256, tensors=tensors))


def on_connect(client, *_):
    client.subscribe([("client/+/status/+/v1", 1), ("client/+/experience/+/v1", 1)])
    print("connected", flush=True)


client = mqtt.Client("python-learner", clean_session=False)
client.on_connect, client.on_message = on_connect, on_message
client.connect(sys.argv[1], int(sys.argv[2]))
client.loop_forever()
