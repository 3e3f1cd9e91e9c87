#!/bin/sh
# Sets everything up and runs poc24's main journey with real processes on loopback: a key ceremony, a relay, three desks,
# one sealed urgent request, its receipts, its answer, and the timeline that each side re-derives for itself.
#
#   sh deploy/demo.sh              leave it running afterwards, until Ctrl-C
#   sh deploy/demo.sh --once       end by itself with exit code 0
#   sh deploy/demo.sh --cluster    two relays over a real Redis with Sentinel, and its master killed in the middle
#   sh deploy/demo.sh --into DIR   keep the network in DIR (otherwise .demo); remove DIR to hold a new ceremony
#
# Exit code: 0 as shown, 1 if a step failed, 64 for an unknown option, 69 if a part of the machine is missing.
set -eu
cd "$(dirname "$0")/.."

case ${1:-} in
    --help | -h)
        sed -n '2,10s/^# \{0,1\}//p' deploy/demo.sh
        exit 0
        ;;
esac

# shellcheck source=deploy/bootstrap.sh
. deploy/bootstrap.sh
PATH=$POC24_BIN:$PATH
export PATH
script=deploy/demo.py
case " $* " in
    *" --cluster "*)
        POC24_OPERATORS=redis
        # shellcheck source=deploy/operators.sh
        . deploy/operators.sh
        script=deploy/cluster.py
        ;;
esac
exec "$POC24_BIN/python" "$script" "$@"
