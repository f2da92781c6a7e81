#!/bin/sh
# Three machines in three network namespaces: a device, and behind a cable each an edge server and a cloud, with TLS
# and a token. Run by tests/namespaces.rs as `unshare --net sh run.sh PROGRAM DIR`; leaves the agent's results in
# DIR/ROLE.run and what the servers counted in DIR/ROLE.metrics. Namespaces and cables end with the last process in them,
# and the servers with this shell.
set -eu
program=$1
cd "$2"

certificates() {
    key="-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"
    openssl req -x509 $key -days 2 -subj /CN=authority -keyout ca.key -out ca.pem
    openssl req $key -subj /CN=server -keyout key.pem -out request.pem
    echo "subjectAltName=IP:10.77.1.2,IP:10.77.2.2" >names
    openssl x509 -req -in request.pem -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names -out cert.pem
}

# Starts a server in a namespace of its own, at the far end of a cable.
machine() { # ROLE DEVICE_ADDRESS SERVER_ADDRESS
    unshare --net sh -c '
        until ip link set eth0 up 2>/dev/null; do sleep 0.02; done
        ip addr add "$2/24" dev eth0
        exec "$0" serve --role "$1" --listen "$2:8443" --exit-with-parent \
            --token-file token --tls-cert cert.pem --tls-key key.pem
    ' "$program" "$1" "$3" >"$1.out" 2>"$1.err" &
    pid=$!
    while [ "$(readlink /proc/$pid/ns/net)" = "$(readlink /proc/self/ns/net)" ]; do sleep 0.02; done
    ip link add "$1" type veth peer name eth0 netns "$pid"
    ip addr add "$2/24" dev "$1"
    ip link set "$1" up
}

listens() { # ROLE
    tries=0
    until grep -q listening "$1.out"; do
        tries=$((tries + 1))
        [ $tries -lt 500 ] || { cat "$1.err" >&2; exit 1; }
        sleep 0.02
    done
}

ask() { # PATH OF A SERVER, CURL'S OPTIONS
    path=$1
    shift
    curl --silent --max-time 10 --cacert ca.pem "$@" "https://$path"
}

umask 077
openssl rand -hex 32 >token
certificates 2>openssl.err || { cat openssl.err >&2; exit 1; }
ip link set lo up
machine mec 10.77.1.1 10.77.1.2
machine cloud 10.77.2.1 10.77.2.2
listens mec
listens cloud

# A stranger on the network learns nothing but that there is a server.
ask 10.77.1.2:8443/v1/load >stranger.json
for role in mec cloud; do
    timeout 60 "$program" run-agent --gpu off --learner $role --tasks 6 --audit 1 --out $role.run \
        --mec https://10.77.1.2:8443 --cloud https://10.77.2.2:8443 --ca ca.pem --token-file token
done
ask 10.77.1.2:8443/metrics --header "Authorization: Bearer $(cat token)" >mec.metrics
ask 10.77.2.2:8443/metrics --header "Authorization: Bearer $(cat token)" >cloud.metrics
