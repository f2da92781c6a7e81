"""Joules of intervals of a trace by NumPy and by pandas, for comparison.

Arguments: the trace, the rail, "power" or "counter", then FROM and TO of each interval.
Prints a JSON list of joules for each of the libraries.
"""

import csv
import json
import sys

import numpy as np

try:
    import pandas as pd
except ImportError:
    pd = None

trapezoid = getattr(np, "trapezoid", None) or np.trapz  # its name since NumPy 2, and before


def columns_by_hand(path, rail):
    with open(path, newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["rail"] == rail]
    column = lambda name: np.array([float(row[name] or "nan") for row in rows])
    return column("t_s"), column("power_w"), column("energy_j")


def columns_by_pandas(path, rail):
    rows = pd.read_csv(path, float_precision="round_trip")
    rows = rows[rows["rail"] == rail]
    return rows["t_s"].to_numpy(), rows["power_w"].to_numpy(), rows["energy_j"].to_numpy()


def joules(t, power, energy, kind, begin, end):
    if kind == "counter":
        at_begin, at_end = np.interp([begin, end], t, energy)
        return at_end - at_begin
    inside = (t > begin) & (t < end)
    times = np.concatenate([[begin], t[inside], [end]])
    return trapezoid(np.interp(times, t, power), times)


path, rail, kind, *edges = sys.argv[1:]
edges = [float(edge) for edge in edges]
intervals = list(zip(edges[::2], edges[1::2]))
libraries = {"numpy": columns_by_hand}
if pd is not None:
    libraries["pandas"] = columns_by_pandas
print(
    json.dumps(
        {
            name: [joules(*columns(path, rail), kind, *interval) for interval in intervals]
            for name, columns in libraries.items()
        }
    )
)
