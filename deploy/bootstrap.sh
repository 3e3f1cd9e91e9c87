# shellcheck shell=sh
# Sourced, not run: sets up what deploy/demo.sh and tests/run.sh need, then leaves
#
#   POC24_BIN     the folder with python, relay, desk, keys (and the test tools)
#
# The caller stands in the root of the checkout and sets first
#
#   poc24_needs   runtime (when unset) or test
#
# What the reader may set:
#   POC24_PYTHON  the Python to use                       (otherwise the newest found, 3.11 or later)
#   POC24_VENV    where the packages go                   (otherwise .venv in the checkout)
#
# Nothing outside POC24_VENV is changed, with one exception: run as root on a machine with apt, a missing Python is
# installed. On any other machine the line to type is printed, and the exit code is 69 (sysexits: unavailable).
# Progress goes to standard error. A stamp named after the checksum of what was asked for makes a second start quick.

poc24_say() {  # a line that begins with blanks is one to copy, and stands alone
    case $* in
        ' '*) printf '%s\n' "$*" >&2 ;;
        *) printf 'poc24: %s\n' "$*" >&2 ;;
    esac
}

poc24_stop() {  # poc24_stop CODE SENTENCE...
    poc24_code=$1
    shift
    for poc24_line in "$@"; do
        poc24_say "$poc24_line"
    done
    exit "$poc24_code"
}

# --- Which Python ----------------------------------------------------------------------------------------------------

poc24_fit() {  # is this a Python that can make an environment with pip in it?
    # On Debian `venv` without ensurepip leaves a half-made folder behind, so ask before making one.
    "$1" -c 'import sys; assert sys.version_info >= (3, 11); import ensurepip, venv' >/dev/null 2>&1
}

poc24_find_python() {  # sets poc24_python, or leaves it empty
    poc24_python=
    for poc24_name in python3.14 python3.13 python3.12 python3.11 python3; do
        if command -v "$poc24_name" >/dev/null 2>&1 && poc24_fit "$poc24_name"; then
            poc24_python=$poc24_name
            return 0
        fi
    done
}

poc24_apt_packages() {  # the names of the packages with the newest Python that this apt offers, or nothing
    for poc24_version in 3.14 3.13 3.12 3.11; do
        if apt-cache show "python$poc24_version-venv" >/dev/null 2>&1; then
            echo "python$poc24_version python$poc24_version-venv"
            return 0
        fi
    done
}

poc24_install_python() {
    if command -v apt-get >/dev/null 2>&1; then
        if [ "$(id -u)" -ne 0 ]; then
            poc24_packages=$(poc24_apt_packages)
            poc24_stop 69 "Python 3.11 or later with venv is missing. Type this, then start again:" \
                "  sudo apt-get update && sudo apt-get install -y ${poc24_packages:-python3 python3-venv}"
        fi
        poc24_say "installing Python (apt-get) ..."
        apt-get update -qq >&2 || poc24_stop 69 "apt-get update failed; see above. Repair it, then start again."
        poc24_packages=$(poc24_apt_packages)
        [ -n "$poc24_packages" ] || poc24_stop 69 \
            "This system's apt has no Python 3.11 or later; Debian 12 and Ubuntu 24.04 have." \
            "Install one by other means and name it: POC24_PYTHON=/path/to/python3 sh $0"
        # shellcheck disable=SC2086  # two names, two words
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $poc24_packages \
            </dev/null >/dev/null || poc24_stop 69 "apt-get could not install $poc24_packages; see above."
    elif command -v brew >/dev/null 2>&1 || [ "$(uname -s)" = Darwin ]; then
        poc24_stop 69 "Python 3.11 or later is missing. Type this, then start again:" "  brew install python@3.13"
    elif command -v dnf >/dev/null 2>&1; then
        poc24_stop 69 "Python 3.11 or later is missing. Type this, then start again:" "  sudo dnf install -y python3.12"
    elif command -v apk >/dev/null 2>&1; then
        poc24_stop 69 "Python 3.11 or later is missing. Type this, then start again:" "  sudo apk add python3 py3-pip"
    else
        poc24_stop 69 "Python 3.11 or later with venv and ensurepip is missing." \
            "Install it, then start again; or name one: POC24_PYTHON=/path/to/python3 sh $0"
    fi
}

poc24_choose_python() {  # sets poc24_python
    if [ -n "${POC24_PYTHON:-}" ]; then
        poc24_fit "$POC24_PYTHON" || poc24_stop 69 \
            "POC24_PYTHON=$POC24_PYTHON is not a Python 3.11 or later with venv and ensurepip." \
            "Name another, or unset POC24_PYTHON to have one found."
        poc24_python=$POC24_PYTHON
        return 0
    fi
    poc24_find_python
    if [ -z "$poc24_python" ]; then
        poc24_install_python
        poc24_find_python
        [ -n "$poc24_python" ] || poc24_stop 69 \
            "Python was installed, and still none of 3.11 or later is found in PATH." \
            "Name it: POC24_PYTHON=/path/to/python3 sh $0"
    fi
}

# --- The environment -------------------------------------------------------------------------------------------------

poc24_make_venv() {
    if [ -x "$POC24_BIN/pip" ] && poc24_fit "$POC24_BIN/python"; then
        return 0
    fi
    if [ -d "$POC24_VENV" ] && [ ! -f "$POC24_VENV/pyvenv.cfg" ] && [ -n "$(ls -A "$POC24_VENV")" ]; then
        poc24_stop 73 "$POC24_VENV exists and is no Python environment; nothing was touched." \
            "Move it away, or choose another place: POC24_VENV=/path/to/folder sh $0"
    fi
    poc24_choose_python
    poc24_say "making $POC24_VENV with $("$poc24_python" -V 2>&1) ..."
    "$poc24_python" -m venv --clear "$POC24_VENV" >&2 || poc24_stop 73 "The environment could not be made; see above."
}

poc24_pip() {  # what pip says is shown only when it failed
    poc24_said=$(
        "$POC24_BIN/python" -m pip --disable-pip-version-check --no-input install --quiet --no-user "$@" 2>&1
    ) || {
        printf '%s\n' "$poc24_said" >&2
        return 1
    }
}

poc24_stamp() {  # poc24_stamp FILE... : where the stamp for these files lies
    # The place counts too: the commands in an environment name it, so a moved checkout is set up again.
    poc24_sum=$({ cat "$@"; printf '%s %s' "$PWD" "$POC24_VENV"; } | cksum | tr -d ' ')
    echo "$POC24_VENV/poc24-$poc24_sum.stamp"
}

poc24_bootstrap() {
    [ -f pyproject.toml ] && [ -f deploy/requirements.lock ] || poc24_stop 70 \
        "bootstrap.sh must be sourced from the root of the checkout."
    # What the surrounding shell sets for other Pythons must not leak into this one.
    unset PYTHONHOME PYTHONPATH
    # With no home there is no place for a cache; an empty HOME would mean the root of the disk.
    if [ -z "${HOME:-}" ]; then
        unset HOME
        export PIP_NO_CACHE_DIR=1
    fi
    POC24_VENV=${POC24_VENV:-.venv}
    case $POC24_VENV in
        /*) ;;
        *) POC24_VENV=$PWD/$POC24_VENV ;;
    esac
    POC24_BIN=$POC24_VENV/bin

    poc24_runtime=$(poc24_stamp pyproject.toml deploy/requirements.lock)
    poc24_test=$(poc24_stamp pyproject.toml deploy/requirements.lock deploy/requirements-test.lock)
    case ${poc24_needs:-runtime} in
        runtime) poc24_wanted=$poc24_runtime poc24_lock=deploy/requirements.lock ;;
        test) poc24_wanted=$poc24_test poc24_lock=deploy/requirements-test.lock ;;
        *) poc24_stop 64 "poc24_needs is runtime or test, not $poc24_needs." ;;
    esac
    # What tests need contains what the runtime needs, so either stamp will do for the demo.
    if [ -f "$poc24_wanted" ] || { [ "$poc24_wanted" = "$poc24_runtime" ] && [ -f "$poc24_test" ]; }; then
        if "$POC24_BIN/python" -I -c 'import relay' >/dev/null 2>&1; then
            return 0
        fi
        poc24_say "$POC24_VENV no longer works (its Python is gone?); making it again."
    fi

    poc24_make_venv
    rm -f "$POC24_VENV"/poc24-*.stamp
    poc24_say "installing what $poc24_lock names, each file checked against its hash ..."
    poc24_pip --require-hashes -r "$poc24_lock" || poc24_stop 69 "Packages could not be installed; see above." \
        "Without a network, put the files in a folder and type: PIP_NO_INDEX=1 PIP_FIND_LINKS=/that/folder sh $0"
    poc24_pip --no-deps --no-build-isolation -e . || poc24_stop 70 "poc24 itself could not be installed; see above."
    : >"$poc24_wanted"
    poc24_say "ready: $POC24_VENV"
}

poc24_bootstrap
