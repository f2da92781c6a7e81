"""The updates of `dqn` and `ac` in PyTorch, on one thread, with default and with fused Adam."""

import torch
from shared import FEATURES, GAMMA, PLACEMENTS, must_be_alive, time_calls, transitions
from torch import nn
from torch.nn import functional as F


def network(hidden, outputs, activation):
    sizes = [FEATURES, *hidden]
    layers = []
    for inputs, units in zip(sizes, hidden):
        layers += [nn.Linear(inputs, units), activation()]
    return nn.Sequential(*layers, nn.Linear(hidden[-1], outputs))


def dqn(hidden, fused):
    """One step of Adam on the Huber loss of r + gamma max Q(s', .) - Q(s, a)."""
    q = network(hidden, PLACEMENTS, nn.ReLU)
    adam = torch.optim.Adam(q.parameters(), lr=1e-4, fused=fused)

    def update(state, placement, reward, after):
        with torch.no_grad():
            target = reward + GAMMA * q(torch.tensor(after)).max()
        loss = F.huber_loss(q(torch.tensor(state))[placement], target)
        adam.zero_grad()
        loss.backward()
        adam.step()

    return q, update


def actor_critic(hidden, fused):
    """Down (r + gamma V(s') - V(s))^2 / 2 and -log pi(a|s) delta - 0.01 H(pi)."""
    actor = network(hidden, PLACEMENTS, nn.Tanh)
    critic = network(hidden, 1, nn.Tanh)
    actor_adam = torch.optim.Adam(actor.parameters(), lr=2e-3, fused=fused)
    critic_adam = torch.optim.Adam(critic.parameters(), lr=1e-3, fused=fused)

    def descend(loss, adam):
        adam.zero_grad()
        loss.backward()
        adam.step()

    def update(state, placement, reward, after):
        state = torch.tensor(state)
        with torch.no_grad():
            target = reward + GAMMA * critic(torch.tensor(after))
        delta = target - critic(state)
        descend(delta.square().sum() / 2, critic_adam)
        log_policy = F.log_softmax(actor(state), -1)
        entropy = -(log_policy.exp() * log_policy).sum()
        descend(-log_policy[placement] * delta.detach().sum() - 0.01 * entropy, actor_adam)

    return actor, critic, update


def main():
    torch.set_num_threads(1)
    torch.manual_seed(1)
    for fused, adam in [(False, "default Adam"), (True, "fused Adam")]:
        implementation = f"PyTorch {torch.__version__.split('+')[0]}, {adam}"
        q, update = dqn([256] * 4, fused)
        time_calls("dqn 4x256", implementation, update)
        with torch.no_grad():
            states = torch.tensor([t[0] for t in transitions()])
            must_be_alive((q[:-1](states) > 0).float().mean().item())
        for width in (64, 256):
            *_, update = actor_critic([width] * 2, fused)
            time_calls(f"ac 2x{width}", implementation, update)


if __name__ == "__main__":
    main()
