# The rows of messages of 2 KiB. Each function prints one JSON object: messages accepted and delivered in a second. A message is
# accepted when the receiver has answered and it is durable there, and delivered when it is in the recipient's mailbox.
# shellcheck shell=bash

MESSAGES=(postfix-1 postfix-16 endpoint-1 endpoint-16 endpoint-h2 cargomail)
SIZE=2048

row_postfix_1() { by_postfix 1; }
row_postfix_16() { by_postfix 16; }

# A Postfix of its own on loopback, as it comes: the queue synced, delivery into a Maildir by virtual(8), which syncs too.
by_postfix() {
    local mail=$scratch/postfix port count=$((2000 / part))
    port=$(free_port)
    mkdir -p "$mail"/{etc,queue,data,mailboxes/bob/{new,cur,tmp}}
    chown postfix "$mail/data"
    chown -R nobody "$mail/mailboxes"
    postfix_settings "$mail" >"$mail/etc/main.cf"
    postfix_services "$port" >"$mail/etc/master.cf"
    echo "bob@bar.test bob/" >"$mail/etc/mailboxes"
    postfix -c "$mail/etc" start-fg >"$mail/out" 2>&1 &
    local started=$!
    reachable "$port"
    smtp-source -c -s "$1" -m 20 -l "$SIZE" -f alice@foo.test -t bob@bar.test "127.0.0.1:$port" >/dev/null
    in_mailbox "$mail" 20
    local begin=$EPOCHREALTIME accepted delivered
    smtp-source -s "$1" -m "$count" -l "$SIZE" -f alice@foo.test -t bob@bar.test "127.0.0.1:$port"
    accepted=$EPOCHREALTIME
    in_mailbox "$mail" $((count + 20))
    delivered=$EPOCHREALTIME
    kill "$(cat "$mail/queue/pid/master.pid")"
    wait "$started" || true
    awk "BEGIN { printf \"{\\\"accepted\\\": %f, \\\"delivered\\\": %f}\\n\", \
        $count / ($accepted - $begin), $count / ($delivered - $begin) }"
}

# Waits until so many messages are in the mailbox.
in_mailbox() {
    local tries
    for ((tries = 0; tries < 6000; tries++)); do
        [ "$(find "$1/mailboxes/bob/new" -type f | wc -l)" -lt "$2" ] || return 0
        sleep 0.02
    done
    echo "Postfix did not deliver everything" >&2
    return 1
}

postfix_settings() {
    cat <<CONFIG
compatibility_level = 3.6
queue_directory = $1/queue
data_directory = $1/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
maillog_file_prefixes = $1
maillog_file = $1/log
myhostname = bar.test
inet_protocols = ipv4
inet_interfaces = 127.0.0.1
mynetworks = 127.0.0.0/8
smtpd_relay_restrictions = permit_mynetworks, reject
smtpd_peername_lookup = no
smtpd_tls_security_level = none
mydestination =
alias_maps =
alias_database =
virtual_mailbox_domains = bar.test
virtual_mailbox_base = $1/mailboxes
virtual_mailbox_maps = texthash:$1/etc/mailboxes
virtual_uid_maps = static:$(id -u nobody)
virtual_gid_maps = static:$(id -g nobody)
virtual_minimum_uid = 1
smtp_dns_support_level = disabled
biff = no
CONFIG
}

postfix_services() {
    cat <<CONFIG
127.0.0.1:$1 inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
proxymap unix - - n - - proxymap
virtual unix - n n - - virtual
error unix - - n - - error
retry unix - - n - - error
showq unix n - n - - showq
anvil unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
CONFIG
}

row_endpoint_1() { by_endpoint --connections 1; }
row_endpoint_16() { by_endpoint --connections 16; }
row_endpoint_h2() { by_endpoint --streams 64; }

# HTTPS at its least: mutual TLS, one signature verified, one synced append. There is nothing to deliver.
by_endpoint() {
    start "$(peer endpoint)" serve "$scratch/appended"
    "$(peer endpoint)" load "$address" --size "$SIZE" --seconds $((part > 1 ? 1 : 4)) "$@" >"$scratch/loaded"
    finish
    python3 -c '
import json, sys
print(json.dumps({"accepted": json.load(open(sys.argv[1]))["per_second"], "receiver_kib": int(sys.argv[2])}))' \
        "$scratch/loaded" "$peak"
}

# This project measures itself, in the same ways; a figure for each.
row_cargomail() {
    cargomail bench messages --count $((4000 / part)) --size "$SIZE" --folder "$scratch" --json |
        python3 -c '
import json, sys
for way in json.load(sys.stdin)["ways"]:
    print(json.dumps({
        "row": "cargomail " + way["way"], "accepted": way["accepted_per_second"],
        "delivered": way["delivered_per_second"], "receiver_kib": way["peak_octets"] // 1024}))'
}
