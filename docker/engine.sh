#!/bin/bash
# A Docker engine for builders: the one that already answers, or a private one kept under DIR.
#
#   docker/engine.sh start  [DIR]   print the DOCKER_HOST value of an engine that answers
#   docker/engine.sh stop   [DIR]   end the private engine; its images stay for the next start
#   docker/engine.sh status [DIR]   print the DOCKER_HOST value, exit 1 when none answers
#
# The private engine has no bridge and touches no iptables: builds run without a network. Where this host has
# a user dockremap with ranges in /etc/subuid and /etc/subgid, its containers have a user name space of their own.
set -euo pipefail

checkout=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
verb=${1:-}
dir=$(realpath -m "${2:-$checkout/.cache/engine}")
tag=$(printf %s "$dir" | sha256sum | cut -c1-12)

# Unix socket paths hold at most 108 bytes, and containerd appends about 40 to ours.
if (( ${#dir} > 60 )); then
    run=/run/buildfarm-engine-$tag
else
    run=$dir/run
fi
host=unix://$run/docker.sock
pidfile=$run/dockerd.pid

say() { printf '%s\n' "engine: $*" >&2; }
fail() { say "$*"; exit 2; }
answers() { timeout 10 docker --host "$1" version --format '{{.Server.Version}}' >/dev/null 2>&1; }

# The pid of our dockerd, or nothing: a stale pid file must never end somebody else's process.
our_pid() {
    local pid
    pid=$(cat "$pidfile" 2>/dev/null) || return 1
    [[ $pid ]] && tr '\0' '\n' <"/proc/$pid/cmdline" 2>/dev/null | grep -qxF -- "$dir/data" || return 1
    echo "$pid"
}

# The engine that answers: the one that DOCKER_HOST names, the private one, that of this machine.
answering() {
    local candidate
    for candidate in "${DOCKER_HOST:-}" "$host" unix:///var/run/docker.sock; do
        [[ $candidate ]] && answers "$candidate" && { echo "$candidate"; return 0; }
    done
    return 1
}

# Wait up to $2 tenths of a second for process $1 to be gone.
gone() {
    local i
    for (( i = 0; i < $2; i++ )); do
        [[ -d /proc/$1 ]] || return 0
        sleep 0.1
    done
    return 1
}

# What a dockerd that was killed leaves: containerd, shims, mounts, sockets. Not its data.
clean() {
    local shim mount
    for shim in /proc/[0-9]*; do
        if { tr '\0' '\n' <"$shim/cmdline"; } 2>/dev/null | grep -qF -- "$run/exec/containerd/"; then
            kill -KILL "${shim#/proc/}" 2>/dev/null || true
            gone "${shim#/proc/}" 50 || true
        fi
    done
    awk '{print $5}' /proc/self/mountinfo | sort -r | while read -r mount; do
        mount=$(printf '%b' "$mount")
        [[ $mount == "$dir"/* || $mount == "$run"/* ]] && umount -l "$mount"
        true
    done
    rm -rf --one-file-system "$run"
}

# Whether this host has ids for user name spaces, and whoever has them may enter the directory.
can_remap() {
    local path=$dir
    getent passwd dockremap >/dev/null && grep -qs ^dockremap: /etc/subuid && grep -qs ^dockremap: /etc/subgid ||
        return 1
    while [[ $path != / ]]; do
        (( 0$(stat -c %a "$path") & 1 )) || { say "no user name spaces: others may not enter $path"; return 1; }
        path=$(dirname "$path")
    done
}

start() {
    local found remap=()
    command -v docker >/dev/null || fail "the docker client is missing; install docker.io or docker-cli"
    if found=$(answering); then
        say "using the engine that already answers at $found"
        echo "$found"
        return
    fi
    command -v dockerd >/dev/null || fail "no engine answers and dockerd is not installed (package docker.io)"
    (( EUID == 0 )) || fail "no engine answers; starting a private one needs root"

    mkdir -p "$dir/data"
    exec 9>"$dir/lock"
    flock 9
    if ! answers "$host"; then
        our_pid >/dev/null || clean
        mkdir -p "$run"
        chmod 0711 "$run"
        if can_remap; then remap=(--userns-remap=default); fi
        setsid dockerd --host "$host" --group "$(id -gn)" --data-root "$dir/data" --exec-root "$run/exec" \
            "${remap[@]}" --pidfile "$pidfile" --bridge=none --iptables=false --ip6tables=false \
            --containerd-namespace "buildfarm-$tag" --containerd-plugins-namespace "buildfarm-plugins-$tag" \
            --shutdown-timeout 5 >>"$dir/dockerd.log" 2>&1 </dev/null 9>&- &
        local child=$!
        for _ in {1..300}; do
            answers "$host" && break
            kill -0 "$child" 2>/dev/null || { tail -n 5 "$dir/dockerd.log" >&2; fail "dockerd ended; see $dir/dockerd.log"; }
            sleep 0.2
        done
        answers "$host" || fail "dockerd did not answer in 60 s; see $dir/dockerd.log"
        say "started a private engine in $dir (pid $child)"
    fi
    echo "$host"
}

stop() {
    local pid
    if pid=$(our_pid); then
        kill -TERM "$pid"
        gone "$pid" 300 || { kill -KILL "$pid"; gone "$pid" 50 || fail "dockerd $pid cannot be ended"; }
        say "stopped the engine (pid $pid)"
    else
        say "no private engine runs in $dir"
    fi
    clean
}

status() { answering || { say "no engine answers; start one with docker/engine.sh start"; return 1; }; }

case $verb in
    start) start ;;
    stop) stop ;;
    status) status ;;
    *) sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}" >&2; exit 2 ;;
esac
