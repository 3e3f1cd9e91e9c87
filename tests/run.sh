#!/bin/sh
# Sets everything up and runs the whole test suite.
#
#   sh tests/run.sh                  everything, with fixed seeds
#   sh tests/run.sh --long           the same with the long counts, and the scripts that take minutes
#   sh tests/run.sh --quick          without types and shell; the last line says so
#   sh tests/run.sh -- -k journey    what follows -- goes to pytest
#
# Exit code: 0 if every group passed, 1 if one failed, 64 for an unknown option, 69 if a part of the machine is missing.
set -eu
cd "$(dirname "$0")/.."

quick=
while [ $# -gt 0 ]; do
    case $1 in
        --long) export POC24_LONG=1 ;;
        --quick) quick=1 ;;
        --help | -h)
            sed -n '2,9s/^# \{0,1\}//p' tests/run.sh
            exit 0
            ;;
        --)
            shift
            break
            ;;
        *)
            echo "tests/run.sh: unknown option $1. Type: sh tests/run.sh --help" >&2
            exit 64
            ;;
    esac
    shift
done

# shellcheck disable=SC2034  # read by bootstrap.sh
poc24_needs="test"
# shellcheck source=deploy/bootstrap.sh
. deploy/bootstrap.sh
# shellcheck source=deploy/operators.sh
. deploy/operators.sh
PATH=$POC24_BIN:$PATH
export PATH PYTHONHASHSEED=0

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
: >"$work/summary"
failed=
left_out=

group() {  # group NAME WHAT COMMAND... : run one group, note its result and its minutes
    name=$1 what=$2
    shift 2
    printf '\n== %s: %s\n' "$name" "$what"
    begun=$(date +%s)
    result=ok
    "$@" || result=FAILED
    [ "$result" = ok ] || failed="$failed $name"
    minutes=$(awk -v seconds=$(($(date +%s) - begun)) 'BEGIN { printf "%.1f", seconds / 60 }')
    printf '%-6s %-6s %5s min   %s\n' "$name" "$result" "$minutes" "$what" | tee -a "$work/summary"
}

leave_out() {
    left_out="$left_out $1"
}

lint() {
    # Both run, whatever the first says: one round shows everything.
    lint_result=0
    ruff check --quiet || lint_result=1
    ruff format --quiet --check || lint_result=1
    return "$lint_result"
}

walls() {
    lint-imports --no-logo >"$work/walls" 2>&1 || {
        cat "$work/walls"
        return 1
    }
    tail -n 1 "$work/walls"
}

shell() {
    find . -name .venv -prune -o -name '*.sh' -print >"$work/scripts"
    xargs shellcheck --external-sources .ci/run <"$work/scripts"
}

tests() {
    # A pipe hides the exit code of its first part, so it is written down.
    { pytest "$@" && echo 0 >"$work/code" || echo 1 >"$work/code"; } 2>&1 | tee "$work/pytest"
    [ "$(cat "$work/code")" = 0 ]
}

group lint "ruff check, ruff format" lint
if [ -n "$quick" ]; then
    leave_out types
    leave_out shell
else
    group types "mypy --strict" mypy
    group shell "shellcheck" shell
fi
group walls "import-linter" walls
group tests "pytest${POC24_LONG:+, long counts}" tests "$@"
if [ "${POC24_LONG:-}" = 1 ] && [ -f tests/mutation.py ]; then
    group mutants "each check removed, and a test that notices" python tests/mutation.py
fi

echo
cat "$work/summary"
tail -n 1 "$work/pytest"
if [ -n "$failed" ]; then
    echo "poc24: FAILED:$failed${left_out:+; left out because of --quick:$left_out}"
    exit 1
fi
echo "poc24: all groups passed${left_out:+; left out because of --quick:$left_out}"
