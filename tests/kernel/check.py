"""Checks the results that guest.sh wrote. Usage: check.py RESULTS"""

import json
import sys


def sections(text):
    """What stands between the lines "=== NAME"."""
    found, name = {}, None
    for line in text.replace("\r", "").splitlines():
        if line.startswith("=== "):
            name = line[4:]
            found[name] = ""
        elif name:
            found[name] += line + "\n"
    return found


def near(value, expected, tolerance, what):
    assert value is not None and abs(value - expected) <= tolerance, f"{what}: {value}, expected {expected} ± {tolerance}"


def rails(document):
    return {rail["name"]: rail for rail in document["rails"]}


# Datasheet SBOS576A: times of one conversion.
CONVERSIONS_S = [140e-6, 204e-6, 332e-6, 588e-6, 1.1e-3, 2.116e-3, 4.156e-3, 8.244e-3]


def scan_s(name):
    """One scan over the channels switched on, from the chip's own configuration register."""
    swapped = int(results[name + "-config"].strip(), 16)
    config = (swapped & 0xFF) << 8 | swapped >> 8
    channels = bin(config >> 12 & 7).count("1")
    return channels * (CONVERSIONS_S[config >> 6 & 7] + CONVERSIONS_S[config >> 3 & 7])


def ina3221(probe):
    (sensor,) = [s for s in probe["sensors"] if s["name"] == "ina3221-hwmon"]
    assert sensor["status"] == "ok" and sensor["kind"] == "measured", sensor
    return sensor


with open(sys.argv[1], encoding="utf-8", errors="replace") as file:
    results = sections(file.read())
assert "end" in results, "the guest did not reach its end"
for name in ["probe", "steady", "changed", "switched-off", "smoothed", "second", "unplugged"]:
    assert results[name + "-status"].strip() == "0", f"{name}: {results[name + '-stderr']}"
documents = {name: json.loads(text) for name, text in results.items() if text.startswith("{")}

# Channel 3 is switched off, in4 to in7 and curr4 are no rails, and the driver's timing is known.
probe = documents["probe"]
assert probe["default_sensor"] == "ina3221-hwmon", probe["default_sensor"]
sensor = ina3221(probe)
assert [rail["name"] for rail in sensor["rails"]] == ["ch1", "ch2"], sensor["rails"]
# Two channels, bus and shunt of each, 1.1 ms per conversion: 4.4 ms, of which the driver shows 4.
near(scan_s("probe"), 0.0044, 1e-9, "the chip's own setting")
near(sensor["update_period_s"], scan_s("probe"), 1e-9, "update period")
assert sensor["accuracy"]["lag_s"] is None, sensor["accuracy"]

# 5000 mV x 400 mA, and 5000 mV x -200 mA.
steady = documents["steady"]
assert steady["sensor"] == "ina3221-hwmon" and steady["kind"] == "measured" and steady["exit_status"] == 0, steady
near(rails(steady)["ch1"]["mean_watts"], 2.0, 1e-6, "channel 1")
near(rails(steady)["ch2"]["mean_watts"], -1.0, 1e-6, "channel 2")
near(steady["total"]["mean_watts"], 1.0, 1e-6, "total")
near(steady["total"]["joules"], steady["duration_s"], 1e-3, "energy of 1 W")
near(steady["coverage"], 1.0, 0.05, "coverage")
assert steady["samples"] >= 10, steady["samples"]

# Half of the time 2 W, the other half 10112 mV x 400 mA; the emulated processor's own delays are not known.
changed = documents["changed"]
near(rails(changed)["ch1"]["mean_watts"], (2.0 + 4.0448) / 2, 0.4, "channel 1 while its voltage changes")

# ENODATA on one channel: the rest is measured on, and the total is no longer covered.
off = documents["switched-off"]
near(rails(off)["ch1"]["mean_watts"], 4.0448, 1e-6, "channel 1 beside a channel switched off")
assert 0.2 < off["coverage"] < 0.8, off["coverage"]

# 512 samples are a slow filter.
smoothed = ina3221(documents["smoothed"])
assert [rail["name"] for rail in smoothed["rails"]] == ["ch1"], smoothed["rails"]
near(smoothed["update_period_s"], scan_s("smoothed"), 1e-9, "update period")
near(smoothed["accuracy"]["lag_s"], 511.5 * scan_s("smoothed"), 1e-6, "filter lag")

second = documents["second"]
assert len(second["rails"]) == 3, second["rails"]
near(second["total"]["mean_watts"], 0.0, 1e-9, "the second chip")

# The driver's end: no sample follows the command's end, so its energy stays unknown; the command itself is unharmed.
unplugged = documents["unplugged"]
assert unplugged["total"] is None and unplugged["lost_samples"] > 0 and unplugged["exit_status"] == 0, unplugged
print("the kernel's ina3221 driver: all as expected")
