# shellcheck shell=dash
# Read in by guest.sh: `hwmeter link --netem` on one end of a virtual cable, whose other end is in a namespace of its own.
ip() { /bin/ip "$@"; } # those of iproute2: this shell prefers its own
tc() { /bin/tc "$@"; }
export TC_LIB_DIR=/usr/lib/tc # the tables of delays; Debian keeps them elsewhere on each architecture
mkdir -p /run/netns /var
ln -s /run /var/run
ip link set lo up
ip netns add far
ip link add near0 type veth peer name far0 netns far
ip addr add 10.77.0.1/24 dev near0
ip link set near0 up
ip -n far addr add 10.77.0.2/24 dev far0
ip -n far link set far0 up
ping -c 1 -W 2 10.77.0.2 >/dev/null # whoever has the address is known from now on

section() { # NAME COMMAND...
    echo "=== $1"
    shift
    "$@" 2>&1
}
start_netem() { # OPTIONS...: until it says that it is ready
    : >/tmp/netem
    hwmeter -q link --netem near0 "$@" >/tmp/netem 2>&1 &
    netem=$!
    while ! grep -q netem /tmp/netem && kill -0 $netem 2>/dev/null; do sleep 0.05; done
    cat /tmp/netem
}
stop_netem() { # SIGNAL; not INT, which a script ignores for what it starts with &
    kill "-$1" $netem
    wait $netem
    echo "status $?"
}

section netem-before tc -json qdisc show dev near0
section netem-none ping -c 100 -i 0.02 10.77.0.2
section netem-delay-start start_netem --latency 100ms --jitter 10ms --rate 50M
section netem-delay-queue tc qdisc show dev near0
section netem-delay ping -c 300 -i 0.02 10.77.0.2
section netem-delay-stop stop_netem TERM
section netem-after-delay tc -json qdisc show dev near0

section netem-packets-start start_netem --latency 40ms --loss 10% --loss-burst 3 --duplicate 10% --reorder 20%
section netem-packets ping -c 400 -i 0.01 -W 1 10.77.0.2
section netem-packets-stop stop_netem HUP
section netem-after-packets tc -json qdisc show dev near0

section netem-corrupt-start start_netem --corrupt 20%
section netem-corrupt ping -c 200 -i 0.01 -W 1 10.77.0.2
section netem-corrupt-stop stop_netem TERM
section netem-after-corrupt tc -json qdisc show dev near0

# Killed without a chance to clean up: the next one sees it, and the command it told undoes it.
section netem-killed-start start_netem --latency 5ms
section netem-killed-stop stop_netem KILL
run netem-left hwmeter link --netem near0 --latency 5ms
tc qdisc del dev near0 root
section netem-after-killed tc -json qdisc show dev near0

# A queue of somebody's own, the loopback, and a kernel without netem.
tc qdisc add dev near0 root handle 1: pfifo limit 50
run netem-foreign hwmeter link --netem near0 --latency 5ms
section netem-foreign-after tc -json qdisc show dev near0
tc qdisc del dev near0 root
run netem-lo hwmeter link --netem lo --latency 5ms
rmmod sch_netem
run netem-no-module hwmeter link --netem near0 --latency 5ms
