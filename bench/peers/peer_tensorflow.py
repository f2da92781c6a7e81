"""The updates of `dqn` and `ac` in TensorFlow: a `tf.function`, and Keras' `train_on_batch` as many agents have it."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import numpy as np
import tensorflow as tf
from shared import FEATURES, GAMMA, PLACEMENTS, must_be_alive, time_calls, transitions
from tensorflow import keras


def network(hidden, outputs, activation):
    layers = [keras.layers.Dense(units, activation=activation) for units in hidden]
    return keras.Sequential([keras.Input((FEATURES,)), *layers, keras.layers.Dense(outputs)])


def compiled(step):
    """`step` as a graph, called with plain Python numbers."""
    graph = tf.function(
        step,
        input_signature=[
            tf.TensorSpec((1, FEATURES)),
            tf.TensorSpec((), tf.int32),
            tf.TensorSpec(()),
            tf.TensorSpec((1, FEATURES)),
        ],
    )

    def update(state, placement, reward, after):
        graph(
            np.array([state], np.float32),
            np.int32(placement),
            np.float32(reward),
            np.array([after], np.float32),
        )

    return update


def descend(adam, tape, loss, net):
    adam.apply_gradients(zip(tape.gradient(loss, net.trainable_variables), net.trainable_variables))


def dqn_function(q):
    adam = keras.optimizers.Adam(1e-4)
    adam.build(q.trainable_variables)
    huber = keras.losses.Huber()

    def step(state, placement, reward, after):
        target = reward + GAMMA * tf.reduce_max(q(after))
        with tf.GradientTape() as tape:
            loss = huber([target], [q(state)[0, placement]])
        descend(adam, tape, loss, q)

    return compiled(step)


def dqn_train_on_batch(q):
    q.compile(optimizer=keras.optimizers.Adam(1e-4), loss=keras.losses.Huber())

    def update(state, placement, reward, after):
        state, after = np.array([state], np.float32), np.array([after], np.float32)
        target = q.predict_on_batch(state)
        target[0, placement] = reward + GAMMA * q.predict_on_batch(after).max()
        q.train_on_batch(state, target)

    return update


def actor_critic_function(actor, critic):
    actor_adam, critic_adam = keras.optimizers.Adam(2e-3), keras.optimizers.Adam(1e-3)
    actor_adam.build(actor.trainable_variables)
    critic_adam.build(critic.trainable_variables)

    def step(state, placement, reward, after):
        target = reward + GAMMA * critic(after)[0, 0]
        with tf.GradientTape() as tape:
            delta = target - critic(state)[0, 0]
            loss = delta * delta / 2
        descend(critic_adam, tape, loss, critic)
        with tf.GradientTape() as tape:
            log_policy = tf.nn.log_softmax(actor(state)[0])
            entropy = -tf.reduce_sum(tf.exp(log_policy) * log_policy)
            loss = -log_policy[placement] * delta - 0.01 * entropy
        descend(actor_adam, tape, loss, actor)

    return compiled(step)


def main():
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    keras.utils.set_random_seed(1)
    version = f"TensorFlow {tf.__version__}"
    q = network([256] * 4, PLACEMENTS, "relu")
    time_calls("dqn 4x256", f"{version}, tf.function", dqn_function(q))
    hidden = keras.Model(q.inputs, [layer.output for layer in q.layers[:-1]])
    outputs = hidden(np.array([t[0] for t in transitions()], np.float32))
    must_be_alive(np.mean([np.mean(output > 0) for output in outputs]))
    time_calls("dqn 4x256", f"{version}, train_on_batch", dqn_train_on_batch(q), calls=300)
    for width in (64, 256):
        nets = network([width] * 2, PLACEMENTS, "tanh"), network([width] * 2, 1, "tanh")
        time_calls(f"ac 2x{width}", f"{version}, tf.function", actor_critic_function(*nets))


if __name__ == "__main__":
    main()
