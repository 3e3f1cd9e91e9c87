#!/bin/sh
# Writes deploy/requirements.lock and deploy/requirements-test.lock anew from pyproject.toml.
#
#   sh deploy/lock.sh              keep what is locked, add what is new
#   sh deploy/lock.sh --upgrade    take the newest release of everything
#
# The locks are universal (any system, Python 3.11 and later) and carry a hash for every file, so that pip refuses
# anything that is not what was looked at here. No address of a registry is written: that is the installer's choice.
set -eu
cd "$(dirname "$0")/.."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT INT TERM

uv=$(command -v uv || true)
if [ -z "$uv" ]; then
    python3 -m venv "$work/venv"
    "$work/venv/bin/pip" install --quiet --disable-pip-version-check uv
    uv="$work/venv/bin/uv"
fi

lock() {  # lock FILE ARGUMENT... : resolve, then strip every line that is about this machine
    file=$1
    shift
    [ ! -f "$file" ] || cp "$file" "$work/out"
    "$uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
        --no-emit-index-url --no-emit-find-links --no-config \
        --output-file "$work/out" "$@" >/dev/null
    {
        echo "# Made by deploy/lock.sh from pyproject.toml; do not edit."
        grep -v -E '^[[:space:]]*#[[:space:]]*-c deploy/|^--' "$work/out"
    } >"$file.new"
    if grep -n -E '(://|--(extra-)?index-url|--find-links)' "$file.new" >&2; then
        echo "lock.sh: an address got into $file; nothing was written. Run it with a plain configuration of pip and uv." >&2
        rm -f "$file.new"
        exit 70
    fi
    mv "$file.new" "$file"
    rm -f "$work/out"
    echo "$file: $(grep -c '==' "$file") packages"
}

# What builds this very package is locked too: --no-build-isolation takes it from here.
echo 'hatchling>=1.27' >"$work/build.in"

lock deploy/requirements.lock "$@" pyproject.toml "$work/build.in"
lock deploy/requirements-test.lock "$@" pyproject.toml --group test --constraint deploy/requirements.lock
