#!/bin/sh
# The INA3221 path against the real kernel driver, and `hwmeter link --netem` against the real netem: boots a Debian kernel
# under QEMU with chips simulated by i2c-stub and a virtual cable, runs hwmeter inside, and checks what it says and does.
#
#     tests/kernel/run.sh PATH/TO/hwmeter
#
# Needs no root, no KVM and no network in the guest. The first run downloads Debian's kernel, headers and source and
# builds the one module that Debian leaves out; later ones take seconds. Exit code 77: skipped, and it says what is
# missing (a failure where HWMETER_TEST_REQUIRE=all).
set -eu

# Modules to load in the guest, in this order, with their parameters; dependencies are found by themselves.
# More of them: HWMETER_KERNEL_MODULES="dummy".
modules='i2c-dev
i2c-stub chip_addr=0x40,0x41
ina3221
veth
sch_netem'
timeout_s=180

here=$(cd "$(dirname "$0")" && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/hwmeter/kernel
install="skipped: needs qemu-system-x86, busybox-static, i2c-tools, iproute2 and a compiler for kernel modules \
(apt install qemu-system-x86 busybox-static i2c-tools iproute2, or all of it: sudo sh tests/kernel/install.sh)"

skip() {
    echo "$1" >&2
    [ "${HWMETER_TEST_REQUIRE:-}" = all ] && exit 1
    exit 77
}

program=${1:?usage: tests/kernel/run.sh PATH/TO/hwmeter}
[ -x "$program" ] || { echo "$program is not a program; build it first" >&2; exit 1; }
PATH=$PATH:/usr/sbin:/sbin
[ "$(uname -m)" = x86_64 ] || skip "skipped: needs an x86_64 machine, because the guest runs this very program"
for tool in qemu-system-x86_64 busybox i2cset ip tc depmod modprobe cpio xz make strip python3; do
    command -v $tool >/dev/null || skip "$install; $tool is missing"
done
command -v apt-get >/dev/null || skip "skipped: needs Debian's kernel packages (apt-get download)"

depends() { # PACKAGE PATTERN: the dependency of that name
    apt-cache depends "$1" | sed -n "s/.*Depends: \($2\)\$/\1/p" | head -n 1
}

# Leaves vmlinuz and lib/modules, with ina3221 among them, in $cache/$release.
prepare() {
    work=$cache/$release.part
    rm -rf "$work"
    mkdir -p "$work/debs"
    headers=linux-headers-$release
    source=linux-source-$(echo "$release" | cut -d. -f1-2)
    (cd "$work/debs" && apt-get download -qq "linux-image-$release" "$headers" "$source" \
        "$(depends "$headers" 'linux-headers-.*-common.*')" "$(depends "$headers" 'linux-kbuild-.*')") ||
        skip "skipped: needs Debian's kernel packages (apt-get update, and a network for the first run)"
    for deb in "$work"/debs/linux-image-* "$work"/debs/linux-headers-* "$work"/debs/linux-kbuild-*; do
        dpkg-deb -x "$deb" "$work"
    done
    # The source archive is read up to the one file needed; its end is never seen, hence the ignored complaints.
    mkdir "$work/module"
    (cd "$work/module" && dpkg-deb --fsys-tarfile "$work"/debs/linux-source-* 2>/dev/null |
        tar -xO --wildcards './usr/src/linux-source-*.tar.xz' 2>/dev/null |
        tar -xJ --occurrence=1 --strip-components=3 "$source/drivers/hwmon/ina3221.c")
    echo 'obj-m += ina3221.o' >"$work/module/Makefile"
    build=$work/usr/src/$headers
    sed -i "s#/usr/src/#$work/usr/src/#" "$build/Makefile"
    compiler=$(grep -o 'gcc-[0-9]*' "$build/.kernelvariables" | head -n 1)
    command -v "$compiler" >/dev/null || skip "$install; $compiler is missing"
    make -s -C "$build" "M=$work/module" modules >"$work/build.log" 2>&1 ||
        { cat "$work/build.log" >&2; exit 1; }
    # From trixie on everything lies below /usr.
    [ -d "$work/lib/modules" ] || { mkdir -p "$work/lib"; mv "$work/usr/lib/modules" "$work/lib/modules"; }
    mv "$work/module/ina3221.ko" "$work/lib/modules/$release/"
    mv "$work/boot/vmlinuz-$release" "$work/vmlinuz"
    depmod -b "$work" "$release"
    rm -rf "${work:?}"/debs "${work:?}"/usr "${work:?}"/module "${work:?}"/boot
    rm -rf "${cache:?}/$release"
    mv "$work" "$cache/$release"
}

release=$(depends linux-image-amd64 'linux-image-.*')
release=${release#linux-image-}
[ -n "$release" ] || skip "skipped: needs Debian's package lists (apt-get update)"
[ -e "$cache/$release/vmlinuz" ] || prepare
kernel=$cache/$release

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
guest=$tmp/guest
mkdir -p "$guest/bin" "$guest/modules" "$guest/proc" "$guest/sys" "$guest/dev" "$guest/tmp"

copy_program() { # FILE NAME: into the guest, with the libraries it is linked to
    cp "$1" "$guest/bin/$2"
    { ldd "$1" 2>/dev/null || true; } | grep -o '/[^ ]*' | while read -r library; do
        mkdir -p "$guest$(dirname "$library")"
        cp -L "$library" "$guest$library"
    done
}
copy_program "$(command -v busybox)" busybox
copy_program "$(command -v i2cset)" i2cset
copy_program "$(command -v i2cget)" i2cget
copy_program "$(command -v ip)" ip
copy_program "$(command -v tc)" tc
tables=$(find /usr/lib /lib -name normal.dist | head -n 1)
mkdir -p "$guest/usr/lib/tc"
cp "$tables" "$guest/usr/lib/tc/" # where $TC_LIB_DIR of guest.sh points to
copy_program "$program" hwmeter
strip --strip-debug "$guest/bin/hwmeter" # the initramfs is read in by an emulated processor
cp "$here/guest.sh" "$guest/init"
cp "$here/netem.sh" "$guest/"
chmod +x "$guest/init"

extra=$(echo "${HWMETER_KERNEL_MODULES:-}" | tr ' ' '\n')
printf '%s\n%s\n' "$modules" "$extra" | while read -r module parameters; do
    [ -n "$module" ] || continue
    modprobe -d "$kernel" -S "$release" --show-depends "$module" | sed -n 's/^insmod \([^ ]*\).*/\1/p' |
        while read -r file; do
            name=$(basename "$file" .xz)
            [ -e "$guest/modules/$name" ] && continue
            case $file in
                *.xz) xz -dc "$file" >"$guest/modules/$name" ;;
                *) cp "$file" "$guest/modules/$name" ;;
            esac
            case $(echo "$name" | tr _ -) in
                "$(echo "$module" | tr _ -).ko") echo "$name $parameters" ;;
                *) echo "$name" ;;
            esac >>"$guest/modules/load"
        done
done
(cd "$guest" && find . | cpio -o -H newc --quiet) >"$tmp/initrd"

# The kernel talks on the first serial line, the guest's script on the second.
timeout $timeout_s qemu-system-x86_64 -accel tcg -cpu max -smp 2 -m 512 -nodefaults -no-reboot -display none \
    -serial "file:$tmp/console" -serial "file:$tmp/results" \
    -kernel "$kernel/vmlinuz" -initrd "$tmp/initrd" -append 'console=ttyS0 panic=-1' || {
    echo "the guest did not end within $timeout_s s; its last words:" >&2
    tail -n 20 "$tmp/console" "$tmp/results" >&2
    exit 1
}
python3 "$here/check.py" "$tmp/results" || {
    echo "--- results"; cat "$tmp/results"; echo "--- console"; tail -n 30 "$tmp/console"
    exit 1
} >&2
