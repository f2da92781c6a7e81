#!/bin/sh
# Three machines in three network namespaces: a device, and behind a cable each an edge server and a cloud. Run by
# tests/namespaces.rs as `unshare --net sh run.sh PROGRAM DIR`; leaves the agent's results in DIR/run. Namespaces and
# cables end with the last process in them, and the servers with this shell.
set -eu
program=$1
dir=$2

# Starts a server in a namespace of its own, at the far end of a cable.
machine() { # ROLE DEVICE_ADDRESS SERVER_ADDRESS
    unshare --net sh -c '
        until ip link set eth0 up 2>/dev/null; do sleep 0.02; done
        ip addr add "$3/24" dev eth0
        exec "$0" serve --role "$1" --listen "$3:8080" --allow-remote --exit-with-parent
    ' "$program" "$1" "$2" "$3" >"$dir/$1.out" 2>"$dir/$1.err" &
    pid=$!
    while [ "$(readlink /proc/$pid/ns/net)" = "$(readlink /proc/self/ns/net)" ]; do sleep 0.02; done
    ip link add "$1" type veth peer name eth0 netns "$pid"
    ip addr add "$2/24" dev "$1"
    ip link set "$1" up
}

listens() { # ROLE
    tries=0
    until grep -q listening "$dir/$1.out"; do
        tries=$((tries + 1))
        [ $tries -lt 500 ] || { cat "$dir/$1.err" >&2; exit 1; }
        sleep 0.02
    done
}

ip link set lo up
machine mec 10.77.1.1 10.77.1.2
machine cloud 10.77.2.1 10.77.2.2
listens mec
listens cloud
timeout 60 "$program" run-agent --gpu off --learner random --tasks 24 --audit 1 --out "$dir/run" \
    --mec http://10.77.1.2:8080 --cloud http://10.77.2.2:8080
