#!/bin/sh
# Starts one node of the store that several relays share, and refuses where a start would lose something.
#
#   node.sh first       once, on one single node, before anything else: it may begin with an empty folder
#   node.sh redis       a Redis: a replica of whom the Sentinels name; on its own data where it is the master itself
#   node.sh sentinel    a Sentinel
#   node.sh switch      let a replica take over from the master, and lose nothing: planned work on the master's machine
#   node.sh passwords   make the four passwords that are missing in POC24_SECRETS, and users.acl from their hashes
#
# Variables:
#   POC24_NODE        this node's name, as all others reach it: redis1.example.org
#   POC24_PORT        6379, or 26379 for a Sentinel
#   POC24_DATA        a folder of its own
#   POC24_ETC         /etc/poc24: redis/redis.conf, redis/sentinel.conf, redis/users.acl, tls/ca.crt, redis.crt, redis.key
#   POC24_SECRETS     the folder with the files redis-replica and redis-sentinel, each a password; otherwise what
#                     systemd's LoadCredential= fills
#   POC24_SENTINELS   every Sentinel, HOST:PORT HOST:PORT HOST:PORT
#   POC24_MASTER      for a Sentinel that knows nobody yet: HOST:PORT of the node that began
#
# Exit code: the server's; 64 for an unknown command, 78 if it must not start, with a sentence that says what to do.
set -eu
umask 077

stop() {
    printf 'node.sh: %s\n' "$@" >&2
    exit 78
}

what=${1:-}
data=${POC24_DATA:-/var/lib/poc24-redis}
etc=${POC24_ETC:-/etc/poc24}
secrets=${POC24_SECRETS:-${CREDENTIALS_DIRECTORY:-/run/secrets}}
name=${POC24_NAME:-poc24}
node=${POC24_NODE:-}
marker=$data/poc24.node
damaged=$data/poc24.damaged

secret() {  # secret NAME : a password out of its file, never out of the environment
    [ -r "$secrets/$1" ] || stop "The password $secrets/$1 cannot be read. Make it: node.sh passwords"
    tr -d '\n' <"$secrets/$1"
}

master() {  # what the Sentinels say, as HOST PORT; nothing if none of them answers
    for sentinel in ${POC24_SENTINELS:-}; do
        found=$(redis-cli -h "${sentinel%:*}" -p "${sentinel##*:}" --tls --cacert "$etc/tls/ca.crt" \
            SENTINEL GET-MASTER-ADDR-BY-NAME "$name" 2>/dev/null | tr '\n' ' ') || continue
        found=${found% }
        case $found in
            *' '*[0-9])
                echo "$found"
                return 0
                ;;
        esac
    done
}

ask() {  # ask HOST PORT : commands on standard input, as the operator; the password is no argument
    { printf 'AUTH operator %s\n' "$(secret redis-operator)" && cat; } |
        redis-cli -h "$1" -p "$2" --tls --cacert "$etc/tls/ca.crt" | tr -d '\r'
}

has_data() {
    for file in "$data"/appendonlydir/*.manifest "$data"/appendonly.aof; do
        [ ! -s "$file" ] || return 0
    done
    return 1
}

copied() {  # copied FILE : the settings with this node's paths
    sed "s|/etc/poc24/|$etc/|" "$etc/redis/$1"
}

passwords() {
    for account in relay replica sentinel operator; do
        [ -s "$secrets/redis-$account" ] ||
            od -An -N32 -tx1 /dev/urandom | tr -d ' \n' >"$secrets/redis-$account"
    done
    rules=$(cat "$etc/redis/users.acl")
    for account in relay replica sentinel operator; do
        hash=$(tr -d '\n' <"$secrets/redis-$account" | sha256sum | cut -d ' ' -f 1)
        word=$(echo "$account" | tr '[:lower:]' '[:upper:]')_SHA256
        rules=$(printf '%s\n' "$rules" | sed "s/#$word/#$hash/")
    done
    printf '%s\n' "$rules" >"$etc/redis/users.acl"
}

first() {
    ! has_data || stop "There is data in $data: this is not the first start. Type: node.sh redis"
    [ -z "$(master)" ] || stop "The Sentinels know a master already: this node begins as its replica. Type: node.sh redis"
    echo "$node first" >"$marker"
}

redis() {
    port=${POC24_PORT:-6379}
    now=$(master)
    # Nobody to ask: then what it was last. A replica that waits for its master does no harm; two masters do.
    was=$(sed -n 's/^replicaof //p' "$data/redis.conf" 2>/dev/null | tr -d '"') || was=
    [ -n "$now" ] || now=$was
    [ "$now" != "$node $port" ] || now=
    if [ -e "$damaged" ]; then
        [ -n "$now" ] || stop \
            "This node stopped because a write to its disk failed, so its own file may lack what was acknowledged." \
            "It starts again as a replica of another node only: type SENTINEL FAILOVER $name at a Sentinel, then start it again."
        aside=$data/aside-$(date +%s)
        mkdir "$aside"
        for file in "$data"/appendonlydir "$data"/*.aof "$data"/*.rdb "$damaged"; do
            [ ! -e "$file" ] || mv "$file" "$aside/"
        done
    fi
    if [ -z "$now" ]; then
        case $(cat "$marker" 2>/dev/null || true) in
            "$node first") ;;
            "$node") has_data || stop \
                "The data of this node are gone from $data, and started as the master it would empty its replicas, too." \
                "Leave it: the Sentinels promote a replica within seconds, and then it starts as a replica by itself." ;;
            *) stop \
                "$data is not the folder of $node: another one is mounted, or it is empty; and no Sentinel names another master." \
                "The first start of all? On one single node type: node.sh first" ;;
        esac
    fi
    echo "$node" >"$marker"
    {
        copied redis.conf
        printf 'dir "%s"\ntls-port %s\n' "$data" "$port"
        printf 'replica-announce-ip %s\nreplica-announce-port %s\n' "$node" "$port"
        printf 'masteruser replica\nmasterauth %s\n' "$(secret redis-replica)"
        [ -z "$now" ] || printf 'replicaof %s\n' "$now"
    } >"$data/redis.conf.new"
    mv "$data/redis.conf.new" "$data/redis.conf"
    begun=$(date +%s)
    redis-server "$data/redis.conf" &
    pid=$!
    trap 'kill -TERM "$pid" 2>/dev/null || true' TERM INT
    while :; do
        code=0
        wait "$pid" || code=$?
        kill -0 "$pid" 2>/dev/null || break
    done
    # With appendfsync always a write that the disk did not take ends the server, with 1. What the disk has is then
    # unknown, also to itself. A setting that is wrong ends it at once, with 1, too: that is no such case.
    if [ "$code" = 1 ] && [ $(($(date +%s) - begun)) -ge "${POC24_SETTLED_S:-5}" ]; then
        touch "$damaged"
    fi
    exit "$code"
}

sentinel() {
    port=${POC24_PORT:-26379}
    if [ ! -s "$data/sentinel.conf" ]; then
        now=$(master)
        [ -n "$now" ] || now="${POC24_MASTER%:*} ${POC24_MASTER##*:}"
        {
            copied sentinel.conf
            printf 'dir "%s"\ntls-port %s\n' "$data" "$port"
            printf 'sentinel announce-ip %s\nsentinel announce-port %s\n' "$node" "$port"
            printf 'sentinel monitor %s %s 2\n' "$name" "$now"
            printf 'sentinel auth-user %s sentinel\nsentinel auth-pass %s %s\n' "$name" "$name" "$(secret redis-sentinel)"
            printf 'sentinel down-after-milliseconds %s 3000\nsentinel failover-timeout %s 30000\n' "$name" "$name"
            printf 'sentinel parallel-syncs %s 1\n' "$name"
        } >"$data/sentinel.conf.new"
        mv "$data/sentinel.conf.new" "$data/sentinel.conf"
    fi
    exec redis-server "$data/sentinel.conf" --sentinel
}

even() {  # even HOST PORT : every replica has all that the master has
    echo 'INFO replication' | ask "$1" "$2" | awk -F '[:,=]' '
        $1 == "master_repl_offset" { all = $2 }
        /^slave[0-9]+:/ { there++; for (at = 2; at < NF; at++) if ($at == "offset") has[there] = $(at + 1) }
        /^connected_slaves/ { count = $2 }
        END {
            for (one in has) if (has[one] != all) exit 1
            exit !(count > 0 && there == count)
        }'
}

switch() {
    before=$(master)
    [ -n "$before" ] || stop "No Sentinel names a master: nothing was touched. See POC24_SENTINELS."
    host=${before% *} port=${before#* }
    # Writes wait in their connections: for the relays this is a slow second, and nothing is refused or repeated.
    echo 'CLIENT PAUSE 15000 WRITE' | ask "$host" "$port" >/dev/null
    tries=0
    until even "$host" "$port"; do
        tries=$((tries + 1))
        if [ "$tries" -gt 50 ]; then
            echo 'CLIENT UNPAUSE' | ask "$host" "$port" >/dev/null
            stop "The replicas do not have all that $host:$port has, after 5 s: nothing was switched. Look at INFO replication."
        fi
        sleep 0.1
    done
    echo "$host:$port takes no writes, and its replicas have everything"
    said=
    for sentinel in $POC24_SENTINELS; do
        said=$(redis-cli -h "${sentinel%:*}" -p "${sentinel##*:}" --tls --cacert "$etc/tls/ca.crt" SENTINEL FAILOVER "$name") || true
        [ "$said" != OK ] || break
    done
    tries=0
    until after=$(master) && [ "$said" = OK ] && [ -n "$after" ] && [ "$after" != "$before" ]; do
        tries=$((tries + 1))
        if [ "$said" != OK ] || [ "$tries" -gt 100 ]; then
            echo 'CLIENT UNPAUSE' | ask "$host" "$port" >/dev/null
            stop "The Sentinels did not switch (${said:-no answer}); $host:$port takes writes again."
        fi
        sleep 0.1
    done
    echo 'CLIENT UNPAUSE' | ask "$host" "$port" >/dev/null || true
    echo "${after% *}:${after#* } is the master now"
}

case $what in
    passwords | switch)
        "$what"
        exit 0
        ;;
    first | redis | sentinel) ;;
    *)
        sed -n '2,9s/^# \{0,1\}//p' "$0"
        exit 64
        ;;
esac
[ -n "$node" ] || stop "POC24_NODE is not set: it must be this node's name, as all others reach it."
"$what"
