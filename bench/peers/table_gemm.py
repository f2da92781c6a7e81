"""Prints measured products (implementation, engine, precision, n, threads, best and median GFLOPS, by tabs) as a Markdown
table, each against the one it is held to: our `openblas` to NumPy, `builtin` to our `openblas`.

All figures are medians over the rounds; a ratio is taken within each round, so that a slow minute slows both sides.
"""

import statistics
import sys
from collections import defaultdict

HELD_TO = {"openblas": "numpy", "builtin": "openblas"}
ORDER = ["numpy", "openblas", "builtin"]


def main():
    rounds, engines = defaultdict(list), {}
    with open(sys.argv[1], encoding="utf-8") as file:
        for line in file:
            name, engine, precision, _, threads, best, median = line.rstrip("\n").split("\t")
            rounds[precision, int(threads), name].append((float(best), float(median)))
            engines[name] = engine
    print("| product | threads | implementation | GFLOPS, best | median | best against |")
    print("|---|---|---|---|---|---|")
    for precision, threads, name in sorted(rounds, key=lambda key: (key[0] != "SGEMM", key[1], ORDER.index(key[2]))):
        mine = rounds[precision, threads, name]
        theirs = rounds.get((precision, threads, HELD_TO.get(name)))
        best, median = (statistics.median(values) for values in zip(*mine))
        against = ""
        if theirs:
            ratio = statistics.median(a[0] / b[0] for a, b in zip(mine, theirs))
            against = f"{ratio:.3f} of {HELD_TO[name]}"
        shown = engines[name] if name == "numpy" else f"hwmeter `{name}`: {engines[name]}"
        print(f"| {precision} | {threads} | {shown} | {best:.1f} | {median:.1f} | {against} |")
    if "numpy" not in engines:
        print("\nNumPy was not measured: it is not installed.")
    elif engines.get("openblas", "") not in engines["numpy"]:
        print("\nNot the same library: NumPy's OpenBLAS is another version or kernel than ours.")


if __name__ == "__main__":
    main()
