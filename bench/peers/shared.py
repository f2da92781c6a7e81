"""What the peers share: the networks' sizes, a stream of transitions, the clock."""

import random
import time

FEATURES, PLACEMENTS = 5, 3
GAMMA = 0.99
WARM_UP, CALLS = 300, 2000


def transitions(count=500, seed=7):
    """(state, placement, reward, next state) with normalised numbers, as the learners see them."""
    draw = random.Random(seed).gauss
    states = [[draw(0, 1) for _ in range(FEATURES)] for _ in range(count + 1)]
    return [
        (state, i % PLACEMENTS, -abs(draw(0, 1)), after)
        for i, (state, after) in enumerate(zip(states, states[1:]))
    ]


def time_calls(name, implementation, update, calls=CALLS):
    """Times single updates; prints name, implementation, median, p90 and p99 in microseconds, by tabs."""
    stream = transitions()
    for i in range(min(WARM_UP, calls)):
        update(*stream[i % len(stream)])
    times = []
    for i in range(calls):
        transition = stream[i % len(stream)]
        start = time.perf_counter()
        update(*transition)
        times.append(1e6 * (time.perf_counter() - start))
    times.sort()
    quantiles = (times[int(share * calls)] for share in (0.5, 0.9, 0.99))
    print(name, implementation, *(f"{q:.2f}" for q in quantiles), sep="\t", flush=True)


def must_be_alive(share):
    """Fails when most units of a network are dead, because its cost would say nothing about one that learns."""
    if not share > 0.1:
        raise SystemExit(f"only {share:.2f} of the units answer")
