#!/bin/busybox sh
# shellcheck shell=dash
# Runs as init in the guest of run.sh. Each result stands between "=== NAME" and the next such line.
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
exec >/dev/ttyS1 2>&1 </dev/null

while read -r module parameters; do
    # shellcheck disable=SC2086 # several parameters are several words
    insmod "/modules/$module" $parameters
done </modules/load

bus=$(grep -l 'SMBus stub driver' /sys/bus/i2c/devices/i2c-*/name | sed 's#.*/i2c-\([0-9]*\)/name#\1#')
set_register() { # REGISTER WORD, bytes swapped as SMBus sends them; -f because the driver holds the chip
    i2cset -f -y "$bus" 0x40 "$1" "$2" w
}
# Bus voltage: millivolts / 8 << 3. Shunt voltage: microvolts / 40 << 3; the driver's default shunt is 10 mOhm.
set_register 0x02 0x8813 # channel 1: 5000 mV
set_register 0x01 0x2003 #            4000 uV = 400 mA
set_register 0x04 0x8813 # channel 2: 5000 mV
set_register 0x03 0x70fe #           -2000 uV = -200 mA: power flows back
set_register 0x06 0x8813 # channel 3: 5000 mV, and switched off below
set_register 0x05 0x2003
set_register 0x0f 0x0100 # conversion ready, which kernels before 5.14 wait for
echo ina3221 0x40 >"/sys/bus/i2c/devices/i2c-$bus/new_device"
hwmon=$(echo "/sys/bus/i2c/devices/$bus-0040"/hwmon/hwmon*)
echo 0 >"$hwmon/in3_enable"

run() { # NAME COMMAND...
    name=$1
    shift
    echo "=== $name"
    status=0
    "$@" 2>/tmp/stderr || status=$?
    echo "=== $name-status"
    echo "$status"
    echo "=== $name-stderr"
    cat /tmp/stderr
}
show_config() { # NAME: the chip's configuration register, bytes swapped as SMBus sends them
    echo "=== $1-config"
    i2cget -f -y "$bus" 0x40 0x00 w
}
echo "=== bus"
echo "$bus"
show_config probe
run probe hwmeter probe --json
run steady hwmeter measure --json -- sleep 1
# 10112 mV from the middle on.
run changed hwmeter measure --json -- sh -c "sleep 1; i2cset -f -y $bus 0x40 0x02 0x8027 w; sleep 1"
run switched-off hwmeter measure --json -- sh -c "sleep 0.5; echo 0 >$hwmon/in2_enable; sleep 0.5"
# What NVIDIA's start-up script writes on Jetsons.
echo 512 >"$hwmon/samples"
echo 430 >"$hwmon/update_interval"
show_config smoothed
run smoothed hwmeter probe --json
# A second chip, and that one alone.
echo ina3221 0x41 >"/sys/bus/i2c/devices/i2c-$bus/new_device"
run second hwmeter measure --json --sensor "ina3221-hwmon:$bus-0041" -- sleep 0.2
# The driver goes away in the middle of a measurement.
run unplugged hwmeter measure --json --sensor "ina3221-hwmon:$bus-0040" -- \
    sh -c "sleep 0.5; echo 0x40 >/sys/bus/i2c/devices/i2c-$bus/delete_device; sleep 0.5"
. /netem.sh
echo "=== end"
sleep 0.2 # the serial line still has to send
poweroff -f
