"""Prints measured rows (name, implementation, median, p90, p99 in microseconds, by tabs) as a Markdown table."""

import sys


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        rows = [line.rstrip("\n").split("\t") for line in file if line.count("\t") == 4]
    ours = {name: float(median) for name, implementation, median, *_ in rows if implementation == "hwmeter native"}
    print("| update | implementation | median | p90 | p99 | times ours |")
    print("|---|---|---|---|---|---|")
    for name, implementation, median, p90, p99 in sorted(rows, key=lambda row: (row[0], float(row[2]))):
        ratio = float(median) / ours[name]
        cells = [name, implementation, *(f"{float(us):.1f} µs" for us in (median, p90, p99)), f"{ratio:.1f}"]
        print("|", " | ".join(cells), "|")


if __name__ == "__main__":
    main()
