"""Modbus meters as their makers describe them, served by pymodbus: an implementation that shares nothing with ours.

    server.py tcp PORT | rtu DEVICE BAUD PARITY STOP

Prints "ready" when it serves, and ends when its standard input is closed, so that no test leaves it behind.
One unit per meter; registers that a meter does not have do not exist here either.
"""

import asyncio
import struct
import sys

from pymodbus.framer import FramerType
from pymodbus.server import ModbusSerialServer, ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

HOLDING, INPUT = 3, 4


def big(fmt, value):
    """The usual order: most significant register first."""
    return list(struct.unpack(f">{struct.calcsize(fmt) // 2}H", struct.pack(">" + fmt, value)))


def little(fmt, value):
    """Least significant register first."""
    return big(fmt, value)[::-1]


def pzem(tail, watts, volts, amps):
    return volts + amps + little("I", round(watts * 10)) + tail


EASTRON_3P = {0x0C: big("f", 1.5) + big("f", -2.5) + big("f", 40.25), 0x34: big("f", 39.25)}
# unit: (name, function, {first register: words})
METERS = {
    1: ("sdm120", INPUT, {0x0C: big("f", 5.125)}),
    2: ("sdm230", INPUT, {0x0C: big("f", -1500.5)}),
    3: ("sdm630", INPUT, EASTRON_3P),
    4: ("sdm72", INPUT, {0x34: big("f", 12.75)}),
    5: ("pzem-004t", INPUT, {0: pzem([0, 0, 500, 100, 0], 220.0, [2200], little("I", 1000))}),
    6: ("pzem-016", INPUT, {0: pzem([0, 0, 500, 99, 0], 7654.3, [2300], little("I", 33000))}),
    7: ("pzem-003", INPUT, {0: pzem([0, 0, 0, 0], 6.4, [512], [125])}),
    8: ("pzem-017", INPUT, {0: pzem([0, 0, 0, 0], 9000.1, [30000], [3000])}),
    9: ("shelly-pro-3em", INPUT, {
        1013: little("f", 321.5), 1024: little("f", 100.25), 1044: little("f", -20.5), 1064: little("f", 241.75),
    }),
    10: ("shelly-em1", INPUT, {2007: little("f", 60.5), 2027: little("f", 8.25), 2047: little("f", -3.0)}),
    11: ("em24", INPUT, {
        0x12: little("i", 101) + little("i", -202) + little("i", 70000), 0x28: little("i", 69899),
    }),
    12: ("em340", INPUT, {0x28: little("i", -70001)}),
    13: ("iem3xxx", HOLDING, {0x0BF3: big("f", 0.125)}),
    14: ("umg", HOLDING, {19020: big("f", 1.0) + big("f", 2.0) + big("f", 3.0) + big("f", 6.0)}),
    20: ("custom", HOLDING, {
        0: [65535, 65535], 10: big("i", -123456), 20: little("I", 4000000000), 30: big("f", 2.5),
    }),
    30: ("nan", INPUT, {0x34: big("f", float("nan")), 0x0C: big("f", float("inf"))}),
    31: ("phantom", INPUT, {0x34: big("f", 10.0)}),
}


def phantom():
    """Every third answer is the kind of nonsense that real meters are known to send."""
    answers = 0

    async def action(function, start, address, count, registers, values):
        nonlocal answers
        answers += 1
        registers[address - start : address - start + 2] = big("f", 1e30 if answers % 3 == 0 else 10.0)

    return action


def device(unit):
    name, function, blocks = METERS[unit]
    data = [SimData(start, values=words, datatype=DataType.REGISTERS) for start, words in blocks.items()]
    none = [SimData(65535, values=0, datatype=DataType.REGISTERS)]
    no_bits = [SimData(65535, values=[False] * 16, datatype=DataType.BITS)]
    holding, inputs = (data, none) if function == HOLDING else (none, data)
    return SimDevice(
        unit, simdata=(no_bits, no_bits, holding, inputs), action=phantom() if name == "phantom" else None
    )


async def main(kind, *arguments):
    devices = [device(unit) for unit in METERS]
    if kind == "tcp":
        server = ModbusTcpServer(devices, address=("127.0.0.1", int(arguments[0])))
    else:
        port, baud, parity, stop = arguments
        server = ModbusSerialServer(
            devices, framer=FramerType.RTU, port=port, baudrate=int(baud), parity=parity, stopbits=int(stop)
        )
    await server.serve_forever(background=True)
    print("ready", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await server.shutdown()


asyncio.run(main(*sys.argv[1:]))
