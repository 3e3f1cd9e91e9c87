#!/bin/sh
# Puts Debian's rabbitmq-server (with its Erlang) and redis-server into a folder, and prints that folder's name.
#
#   tests/bench/peers.sh            unpack what is missing
#   POC24_PEERS=DIR                 where they are kept   (otherwise ~/.cache/poc24/peers)
#
# As deploy/operators.sh does it: packages are downloaded and unpacked, nothing is installed, root is not needed, and no
# service is started. Two files are changed in the copy, because they name /usr/lib/erlang: erl and erlc's start script.
# Where there is no apt, the exit code is 69.
set -eu

kept=${POC24_PEERS:-${HOME:-/tmp}/.cache/poc24/peers}
packages="rabbitmq-server erlang-base erlang-asn1 erlang-crypto erlang-eldap erlang-ftp erlang-inets erlang-mnesia
    erlang-os-mon erlang-parsetools erlang-public-key erlang-runtime-tools erlang-snmp erlang-ssl erlang-syntax-tools
    erlang-tftp erlang-tools erlang-xmerl redis-server redis-tools libjemalloc2 liblzf1 libatomic1"

if [ -f "$kept/whole" ]; then
    echo "$kept"
    exit 0
fi
for name in apt-get dpkg-deb; do
    command -v "$name" >/dev/null 2>&1 || {
        echo "poc24: there is no $name to fetch Debian's packages with: measure on a Debian or Ubuntu machine." >&2
        exit 69
    }
done
echo "poc24: unpacking Debian's rabbitmq-server and redis-server into $kept ..." >&2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/state/lists/partial" "$work/cache/archives/partial" "$work/root"
cat >"$work/apt.conf" <<CONF
Dir::State "$work/state";
Dir::State::status "/var/lib/dpkg/status";
Dir::Cache "$work/cache";
APT::Sandbox::User "root";
CONF
cd "$work"
export APT_CONFIG="$work/apt.conf"
# shellcheck disable=SC2086 # a list of names
{ apt-get -q update && apt-get -q download $packages; } >"$work/said" 2>&1 || {
    cat "$work/said" >&2
    echo "poc24: the packages could not be fetched; see above." >&2
    exit 69
}
: >"$work/root/versions"
for file in "$work"/*.deb; do
    dpkg-deb -x "$file" "$work/root"
    # shellcheck disable=SC2016 # dpkg-deb's own words
    dpkg-deb -W --showformat='${Package} ${Version}\n' "$file" >>"$work/root/versions"
done
for script in "$work"/root/usr/lib/erlang/bin/erl "$work"/root/usr/lib/erlang/erts-*/bin/erl; do
    [ ! -f "$script" ] || [ -L "$script" ] || sed -i "s|ROOTDIR=/usr/lib/erlang|ROOTDIR='$kept/usr/lib/erlang'|" "$script"
done
mkdir -p "$(dirname "$kept")"
rm -rf "$kept"
cp -a "$work/root" "$kept.$$"
: >"$kept.$$/whole"
mv "$kept.$$" "$kept"
echo "$kept"
