"""Runs the updates that the native engine ran in PyTorch, in f32, and compares the weights.

Fails when after 100 updates a weight differs by more than 1e-5, or when after 1,000 updates the native engine is
further from f64 than twice what PyTorch is. Argument: the file that the bench's `agreement` wrote.
"""

import json
import sys

import torch
from peer_torch import actor_critic, dqn


def read(path):
    """The tensors of a safetensors file, all of which are f64 here."""
    with open(path, "rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        data = bytearray(file.read())
    header.pop("__metadata__")
    return {
        name: torch.frombuffer(data[slice(*entry["data_offsets"])], dtype=torch.float64).reshape(entry["shape"])
        for name, entry in header.items()
    }


def layers(net):
    return [module for module in net if isinstance(module, torch.nn.Linear)]


def weights(net):
    columns = [torch.cat([layer.weight, layer.bias[:, None]], 1).flatten() for layer in layers(net)]
    return torch.cat(columns).detach().double()


def stored(tensors, prefix, count):
    return torch.cat([tensors[f"{prefix}.{i}"].flatten() for i in range(count)])


def load(net, tensors, prefix):
    with torch.no_grad():
        for i, layer in enumerate(layers(net)):
            matrix = tensors[f"{prefix}.{i}"]
            layer.weight.copy_(matrix[:, :-1])
            layer.bias.copy_(matrix[:, -1])


def distances(tensors, label, nets, update):
    """(updates, ours to PyTorch, ours to f64, PyTorch to f64), the largest over all weights, at 100 and 1,000."""
    for prefix, net in nets.items():
        load(net, tensors, f"{label}.ours.0.{prefix}")
    columns = (tensors[name].tolist() for name in ("state", "placement", "reward", "after"))
    for i, (state, placement, reward, after) in enumerate(zip(*columns), 1):
        update(state, int(placement), reward, after)
        if i not in (100, 1000):
            continue

        def all_of(who):
            return torch.cat([stored(tensors, f"{label}.{who}.{i}.{p}", len(layers(n))) for p, n in nets.items()])

        ours, exact, torchs = all_of("ours"), all_of("exact"), torch.cat([weights(n) for n in nets.values()])
        yield i, *((a - b).abs().max().item() for a, b in ((ours, torchs), (ours, exact), (torchs, exact)))


def main():
    torch.set_num_threads(1)
    tensors = read(sys.argv[1])
    q, dqn_update = dqn([256] * 4, False)
    actor, critic, ac_update = actor_critic([64] * 2, False)
    failed = False
    for label, nets, update in (("dqn", {"q": q}, dqn_update), ("ac", {"actor": actor, "critic": critic}, ac_update)):
        for updates, apart, ours, theirs in distances(tensors, label, nets, update):
            good = apart <= 1e-5 if updates == 100 else ours <= 2 * theirs
            failed |= not good
            print(
                f"{label} after {updates} updates: ours to PyTorch {apart:.1e}, ours to f64 {ours:.1e}, "
                f"PyTorch to f64 {theirs:.1e}{'' if good else '  TOO FAR'}"
            )
    sys.exit(failed)


if __name__ == "__main__":
    main()
