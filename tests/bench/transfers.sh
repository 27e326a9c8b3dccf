# The rows of transfers and of imports. Each function gets the name of a load, whose files lie in $work/<load>; it brings them to
# $scratch/to and prints one JSON object: seconds until everything is on the receiver's disk, the memory of both ends.
# shellcheck shell=bash

TRANSFERS=(tcp tls libp2p-tcp libp2p-quic libp2p-quic-default cp rsync https blobs bitswap cargomail-tcp cargomail-quic)
IMPORTS=(cp-sha256sum cargomail-import)

peer() { echo "target/bench/release/$1"; }

# Starts a server in the background: its process in $server, its first line of output, which says where it is, in $address.
start() {
    "$@" >"$scratch/address" 2>"$scratch/server" &
    server=$!
    local tries
    for ((tries = 0; tries < 6000; tries++)); do
        if [ -s "$scratch/address" ] && address=$(head -n 1 "$scratch/address"); then return; fi
        kill -0 "$server" 2>/dev/null || break
        sleep 0.05
    done
    cat "$scratch/server" >&2
    return 1
}

# Ends a server that was started, and waits for it. Its peak of memory, in KiB, in $peak.
finish() {
    peak=$(peak_of "$server")
    kill "$server"
    wait "$server" 2>/dev/null || true
}

peak_of() { awk '/^VmHWM:/ { print $2 }' "/proc/$1/status"; }

# Runs a command; its seconds in $seconds, its peak of memory in $peak, with that of the largest of its children.
clock() {
    local begin=$EPOCHREALTIME
    /usr/bin/time -f %M -o "$scratch/memory" "$@"
    seconds=$(awk "BEGIN { print $EPOCHREALTIME - $begin }")
    peak=$(tail -n 1 "$scratch/memory")
}

figures() { printf '{"seconds": %s, "receiver_kib": %s, "sender_kib": %s}\n' "$@"; }

# A copy by one of the peers that measure themselves: the server with its arguments, then the receiver's.
copied_by() {
    local program=$1 receiver=$2
    shift 2
    start "$program" serve "$@"
    # shellcheck disable=SC2086
    "$program" fetch $(eval echo "$receiver") >"$scratch/fetched"
    finish
    sed "s/}\$/, \"sender_kib\": $peak}/" "$scratch/fetched"
}

over() {
    local load=$1
    shift
    copied_by "$(peer streams)" "$* \$address $scratch/to" "$@" "$work/$load"
}

row_tcp() { over "$1" --over tcp; }
row_tls() { over "$1" --over tls; }
row_libp2p_tcp() { over "$1" --over libp2p-tcp; }
row_libp2p_quic() { over "$1" --over libp2p-quic; }
row_libp2p_quic_default() { over "$1" --over libp2p-quic --default-windows; }
row_blobs() { copied_by "$(peer blobs)" "\$address $scratch/to" "$work/$1" "$scratch/from"; }
row_bitswap() { copied_by "$(peer bitswap)" "\$address $scratch/list $scratch/to" "$work/$1" "$scratch/list"; }

# Every file's SHA-256, and everything on the disk: what a person adds to a tool that does neither.
CHECKED='find "$1" -type f -exec sha256sum {} + >"$2" && sync -f "$1"'

row_cp() {
    # shellcheck disable=SC2016
    clock bash -c 'cp -r "$3/." "$1" && '"$CHECKED" - "$scratch/to" "$scratch/sums" "$work/$1"
    figures "$seconds" "$peak" null
}

# A server of its own on loopback: no service of the system is touched.
row_rsync() {
    local ssh=$scratch/ssh port
    mkdir -p "$ssh" /run/sshd
    port=$(free_port)
    ssh-keygen -q -t ed25519 -N '' -f "$ssh/host"
    ssh-keygen -q -t ed25519 -N '' -f "$ssh/user"
    cp "$ssh/user.pub" "$ssh/authorized"
    cat >"$ssh/config" <<CONFIG
ListenAddress 127.0.0.1
Port $port
HostKey $ssh/host
AuthorizedKeysFile $ssh/authorized
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
PermitRootLogin prohibit-password
CONFIG
    "$(command -v sshd)" -D -f "$ssh/config" -E "$ssh/log" &
    server=$!
    reachable "$port"
    local shell="ssh -p $port -i $ssh/user -o IdentitiesOnly=yes -o StrictHostKeyChecking=no"
    shell+=" -o UserKnownHostsFile=$ssh/known -o LogLevel=ERROR"
    # shellcheck disable=SC2016
    clock bash -c 'rsync --recursive --whole-file --rsh "$3" --rsync-path "/usr/bin/time -f %M -o $4 rsync" \
        "127.0.0.1:$5/" "$1" && sync -f "$1"' - "$scratch/to" - "$shell" "$scratch/sender" "$work/$1"
    kill "$server"
    wait "$server" 2>/dev/null || true
    figures "$seconds" "$peak" "$(tail -n 1 "$scratch/sender")"
}

row_https() {
    local web=$scratch/web port
    mkdir -p "$web"
    port=$(free_port)
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost \
        -addext subjectAltName=DNS:localhost -keyout "$web/key" -out "$web/certificate" 2>/dev/null
    cat >"$web/config" <<CONFIG
daemon off;
master_process off;
pid $web/pid;
error_log $web/log;
events { worker_connections 512; }
http {
    access_log off;
    client_body_temp_path $web/body; proxy_temp_path $web/proxy; fastcgi_temp_path $web/fastcgi;
    uwsgi_temp_path $web/uwsgi; scgi_temp_path $web/scgi;
    sendfile on; tcp_nopush on; keepalive_requests 100000;
    server {
        listen 127.0.0.1:$port ssl http2;
        ssl_certificate $web/certificate; ssl_certificate_key $web/key; ssl_protocols TLSv1.3;
        root $work/$1;
    }
}
CONFIG
    "$(command -v nginx)" -c "$web/config" -e "$web/log" &
    server=$!
    reachable "$port"
    local file
    for file in "$work/$1"/*; do
        printf 'url = "https://localhost:%s/%s"\noutput = "%s"\n' "$port" "${file##*/}" "$scratch/to/${file##*/}"
    done >"$web/list"
    # shellcheck disable=SC2016
    clock bash -c 'curl --silent --show-error --fail --noproxy "*" --cacert "$3" --config "$4" && '"$CHECKED" \
        - "$scratch/to" "$scratch/sums" "$web/certificate" "$web/list"
    local receiver=$peak
    finish
    figures "$seconds" "$receiver" "$peak"
}

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

# Waits until somebody listens at a port of this machine.
reachable() {
    local tries
    for ((tries = 0; tries < 200; tries++)); do
        if (: <"/dev/tcp/127.0.0.1/$1") 2>/dev/null; then return; fi
        sleep 0.05
    done
    echo "nobody listens at port $1" >&2
    return 1
}

cargomail() { target/release/cargomail "$@"; }

# This project measures itself: two real nodes, from the notification until the origin has the receipts of all.
row_cargomail_tcp() { transferred "$1" tcp; }
row_cargomail_quic() { transferred "$1" quic; }

transferred() {
    local count size
    read -r count size <<<"$(load_of "$1")"
    cargomail bench transfer --count "$count" --size "$size" --transport "$2" --runs 1 --folder "$scratch" --json |
        python3 -c '
import json, sys
seen = json.load(sys.stdin)
memory = {end: seen[name]["peak_memory"] // 1024 for end, name in (("receiver_kib", "destination"), ("sender_kib", "origin"))}
print(json.dumps({"seconds": seen["seconds"]["median"]} | memory))'
}

row_cp_sha256sum() {
    # shellcheck disable=SC2016
    clock bash -c 'cp "$3"/* "$1" && '"$CHECKED" - "$scratch/to" "$scratch/sums" "$work/large"
    figures "$seconds" "$peak" null
}

row_cargomail_import() {
    cargomail bench import "$work"/large/* --runs 1 --folder "$scratch" --json |
        python3 -c 'import json, sys; print(json.dumps({"seconds": json.load(sys.stdin)["seconds"]["median"]}))'
}
