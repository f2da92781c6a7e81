#!/bin/sh
# Installs what tests/kernel/run.sh needs (Debian, as root). The kernel itself is not installed: run.sh unpacks it
# into its cache.
set -eu
apt-get update -qq
headers=$(apt-cache depends linux-headers-amd64 | sed -n 's/.*Depends: \(linux-headers-.*\)/\1/p')
compiler=$(apt-cache depends "$headers" | sed -n 's/.*Depends: \(linux-compiler-.*\)/\1/p')
apt-get install -y -qq --no-install-recommends \
    qemu-system-x86 busybox-static i2c-tools iproute2 kmod cpio xz-utils make binutils python3 "$compiler"
