"""Checks the results that guest.sh wrote. Usage: check.py RESULTS"""

import json
import re
import statistics
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


def replies(name):
    """Sequence numbers and round trips in ms, in the order in which they came."""
    lines = [re.search(r"seq=(\d+) .*time=([\d.]+) ms", line) for line in results[name].splitlines()]
    return [(int(line[1]), float(line[2])) for line in lines if line]


def fails(name, *words):
    assert results[name + "-status"].strip() == "1", f"{name}: {results[name]}"
    for word in words:
        assert word in results[name + "-stderr"], f"{name}: {results[name + '-stderr']}"


def default_queue(name):
    assert documents[name] == documents["netem-before"], f"{name}: {documents[name]}"


documents |= {name: json.loads(text) for name, text in results.items() if text.startswith("[{")}
for name in ["delay", "packets", "corrupt"]:
    assert "netem on what leaves near0" in results[f"netem-{name}-start"], results[f"netem-{name}-start"]
    assert results[f"netem-{name}-stop"].strip() == "status 0", results[f"netem-{name}-stop"]
    default_queue(f"netem-after-{name}")

# 100 ms ± 10 ms, beside what the emulated processor takes by itself.
assert "netem 6877: root" in results["netem-delay-queue"], results["netem-delay-queue"]
delays = [delay for _, delay in replies("netem-delay")]
assert len(delays) == 300, len(delays)
without = statistics.mean(delay for _, delay in replies("netem-none"))
near(statistics.mean(delays) - without, 100, 5, "mean round trip in ms")
near(statistics.stdev(delays), 10, 2.5, "its deviation in ms")

# Of 400: a tenth lost in bursts of 3, a tenth sent twice, a fifth sent at once.
came = replies("netem-packets")
near(len({seq for seq, _ in came}), 360, 35, "packets not lost")
near(len(came) - len({seq for seq, _ in came}), 36, 25, "packets sent twice")
near(sum(delay < 20 for _, delay in came), 72, 40, "packets sent at once")
lost = sorted(set(range(400)) - {seq for seq, _ in came})
bursts = sum(seq - 1 not in lost for seq in lost)
assert 1.5 < len(lost) / bursts < 6, f"{len(lost)} lost in {bursts} bursts"
order = [seq for seq, _ in came]
assert sum(after < before for before, after in zip(order, order[1:])) > 20, "nothing was overtaken"

# A flipped bit makes a checksum wrong, and nobody answers.
near(len(replies("netem-corrupt")), 160, 25, "packets not corrupted")

fails("netem-left", "netem 6877:", "killed with -9", "tc qdisc del dev near0 root")
default_queue("netem-after-killed")
fails("netem-foreign", "pfifo 1:")
assert documents["netem-foreign-after"][0]["handle"] == "1:", documents["netem-foreign-after"]
fails("netem-lo", "--force")
fails("netem-no-module", "modprobe sch_netem")
print("the kernel's netem: all as expected")
