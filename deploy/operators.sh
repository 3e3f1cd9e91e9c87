# shellcheck shell=sh
# Sourced after bootstrap.sh, not run: puts prometheus, promtool, alertmanager, amtool and redis-server into POC24_BIN,
# as links.
#
# What the reader may set:
#   POC24_PROMETHEUS, POC24_PROMTOOL, POC24_ALERTMANAGER, POC24_AMTOOL, POC24_REDIS   programs to use
#   POC24_OPERATORS                                                      "redis": that one alone
#   POC24_CACHE                                                          where unpacked ones are kept
#                                       (otherwise ~/.cache/poc24; without a home, in the environment's own folder)
#
# In this order: the program that was named; the link that is there; one that is installed; Debian's or Ubuntu's
# packages, downloaded and unpacked. Nothing is installed, root is not needed, and no service is started. Where there is
# no apt, the line to type is printed, and the exit code is 69.

poc24_link() {  # poc24_link NAME PROGRAM
    poc24_program=$(command -v "$2") && "$poc24_program" --version >/dev/null 2>&1 || return 1
    case $poc24_program in
        /*) ;;
        *) poc24_program=$PWD/$poc24_program ;;
    esac
    ln -sfn "$poc24_program" "$POC24_BIN/$1"
}

poc24_find() {  # poc24_find NAME GIVEN OTHER_NAME : link it, or fail
    if [ -n "$2" ]; then
        poc24_link "$1" "$2" || poc24_stop 69 "$2 is not a $1 that runs here." \
            "Name another, or unset POC24_$(echo "${1%-server}" | tr '[:lower:]' '[:upper:]') to have one found."
        return 0
    fi
    [ ! -x "$POC24_BIN/$1" ] || return 0
    poc24_link "$1" "$1" || poc24_link "$1" "$3" || poc24_link "$1" "$poc24_kept/$1"
}

poc24_find_operators() {
    [ "${POC24_OPERATORS:-}" != redis ] || { poc24_find redis-server "${POC24_REDIS:-}" redis-server; return; }
    poc24_find prometheus "${POC24_PROMETHEUS:-}" prometheus &&
        poc24_find promtool "${POC24_PROMTOOL:-}" promtool &&
        poc24_find alertmanager "${POC24_ALERTMANAGER:-}" prometheus-alertmanager &&
        poc24_find amtool "${POC24_AMTOOL:-}" amtool &&
        poc24_find redis-server "${POC24_REDIS:-}" redis-server
}

poc24_apt() {  # as apt-get, with lists and files of its own in $poc24_work; what it says is shown only when it failed
    poc24_said=$(cd "$poc24_work" && APT_CONFIG=$poc24_work/apt.conf apt-get -q "$@" 2>&1) || {
        printf '%s\n' "$poc24_said" >&2
        return 1
    }
}

poc24_extract() {
    for poc24_file in "$poc24_work"/*.deb; do
        dpkg-deb -x "$poc24_file" "$poc24_work/root" || return 1
    done
}

poc24_keep() {  # poc24_keep FILE NAME : a name appears when its file is whole, so that two runs at once do no harm
    chmod 755 "$1"
    cp "$1" "$poc24_kept/.$2.$$"
    mv -f "$poc24_kept/.$2.$$" "$poc24_kept/$2"
}

poc24_keep_alertmanager() {  # poc24_keep_alertmanager ROOT
    # Debian's Alertmanager reads its templates from a fixed place in /usr, where only root could put them. In our copy
    # that path is one of equal length, to the folder that a script in front of it opens.
    poc24_share=usr/share/prometheus/alertmanager
    LC_ALL=C sed "s|/$poc24_share|/proc/self/fd/9//././././././././.|g" \
        "$1/usr/bin/prometheus-alertmanager" >"$1/alertmanager.real"
    mkdir -p "$poc24_kept/templates"
    for poc24_file in "$1/$poc24_share"/*.tmpl; do
        [ ! -f "$poc24_file" ] || cp "$poc24_file" "$poc24_kept/templates/"
    done
    {
        echo "#!/bin/sh"
        echo "exec 9<'$poc24_kept/templates'"
        echo "exec '$poc24_kept/alertmanager.real' \"\$@\""
    } >"$1/alertmanager"
    poc24_keep "$1/alertmanager.real" alertmanager.real
    poc24_keep "$1/alertmanager" alertmanager
}

poc24_keep_redis() {  # poc24_keep_redis ROOT : the server is one program with its checkers; its libraries lie beside it
    mkdir -p "$poc24_kept/redis-libraries"
    for poc24_file in "$1"/usr/lib/*/*.so.* "$1"/lib/*/*.so.*; do
        [ ! -f "$poc24_file" ] || cp -P "$poc24_file" "$poc24_kept/redis-libraries/"
    done
    cp "$1/usr/bin/redis-check-rdb" "$1/redis-server.real"
    {
        echo "#!/bin/sh"
        echo "LD_LIBRARY_PATH='$poc24_kept/redis-libraries' exec '$poc24_kept/redis-server.real' \"\$@\""
    } >"$1/redis-server"
    poc24_keep "$1/redis-server.real" redis-server.real
    poc24_keep "$1/redis-server" redis-server
}

poc24_unpack_operators() {
    for poc24_name in apt-get dpkg-deb; do
        command -v "$poc24_name" >/dev/null 2>&1 || poc24_stop 69 \
            "Prometheus, Alertmanager or Redis is missing, and there is no apt to fetch it with. Install all three, then type:" \
            "  POC24_PROMETHEUS=/path/to/prometheus POC24_PROMTOOL=/path/to/promtool POC24_ALERTMANAGER=/path/to/alertmanager POC24_AMTOOL=/path/to/amtool POC24_REDIS=/path/to/redis-server sh $0"
    done
    poc24_packages="redis-tools libjemalloc2 liblzf1 libatomic1"
    [ "${POC24_OPERATORS:-}" = redis ] || poc24_packages="prometheus prometheus-alertmanager $poc24_packages"
    poc24_say "unpacking Debian's $poc24_packages into $poc24_kept ..."
    poc24_work=$(mktemp -d) || poc24_stop 73 "There is no room for a temporary folder."
    mkdir -p "$poc24_work/state/lists/partial" "$poc24_work/cache/archives/partial"
    cat >"$poc24_work/apt.conf" <<CONF
Dir::State "$poc24_work/state";
Dir::State::status "/var/lib/dpkg/status";
Dir::Cache "$poc24_work/cache";
APT::Sandbox::User "root";
CONF
    # shellcheck disable=SC2086  # a list of names
    if poc24_apt update && poc24_apt download $poc24_packages && poc24_extract; then
        poc24_keep_redis "$poc24_work/root"
        if [ "${POC24_OPERATORS:-}" != redis ]; then
            poc24_keep "$poc24_work/root/usr/bin/prometheus" prometheus
            poc24_keep "$poc24_work/root/usr/bin/promtool" promtool
            poc24_keep "$poc24_work/root/usr/bin/amtool" amtool
            poc24_keep_alertmanager "$poc24_work/root"
        fi
        rm -rf "$poc24_work"
        return 0
    fi
    rm -rf "$poc24_work"
    poc24_stop 69 "The packages prometheus, prometheus-alertmanager and redis-tools could not be fetched; see above." \
        "Where apt works, this installs them as services:" \
        "  sudo apt-get update && sudo apt-get install -y --no-install-recommends prometheus prometheus-alertmanager redis-server"
}

poc24_operators() {
    if [ -n "${POC24_CACHE:-}" ]; then
        poc24_kept=$POC24_CACHE
    elif [ -n "${HOME:-}" ]; then
        poc24_kept=$HOME/.cache/poc24
    else
        poc24_kept=$POC24_VENV/cache
    fi
    if poc24_find_operators; then
        return 0
    fi
    mkdir -p "$poc24_kept" 2>/dev/null && [ -w "$poc24_kept" ] || {
        poc24_kept=$POC24_VENV/cache
        mkdir -p "$poc24_kept"
    }
    poc24_unpack_operators
    poc24_find_operators || poc24_stop 69 "What was unpacked into $poc24_kept does not run here." \
        "Name programs that do: POC24_PROMETHEUS, POC24_PROMTOOL, POC24_ALERTMANAGER, POC24_AMTOOL, POC24_REDIS."
}

poc24_operators
