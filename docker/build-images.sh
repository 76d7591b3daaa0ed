#!/bin/bash
# Make the images of every suite that the engine lacks, and say what there is.
#
#   docker/build-images.sh [--out FILE] [--with TAG,...] [--arch ARCH,...]
#
# Prints a JSON list to standard output or FILE.
#
# bookworm must succeed; a suite this host cannot make (keys, mirror) is named and left out. --with adds
# CPythons such as cp314t, compiled once in minutes, or the compiler zig, --arch the images of bookworm for
# i386 or arm64, as Debian names them; those that are there are kept up without being named.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
wanted=() architectures=()
while (( $# )); do
    case $1 in
        --out) exec >"${2:?--out FILE}" ;;
        --with) IFS=, read -ra wanted <<<"${2:?--with TAG,...}" ;;
        --arch) IFS=, read -ra architectures <<<"${2:?--arch ARCH,...}" ;;
        *) echo "image: unknown argument $1" >&2; exit 2 ;;
    esac
    shift 2
done
zig=
for tag in "${wanted[@]}"; do
    [[ $tag == zig ]] && zig=asked && continue
    grep -qE "^$tag( |\$)" "$here/cpython/sources.conf" ||
        { echo "image: no source of $tag is known; see docker/cpython/sources.conf" >&2; exit 2; }
done

DOCKER_HOST=$("$here/engine.sh" status) || exit 2
export DOCKER_HOST

pids=()
suites=()
for conf in "$here"/suites/*.conf; do
    suite=$(basename "$conf" .conf)
    [[ $suite == packages ]] && continue
    "$here/build-image.sh" "$suite" >&2 &
    pids+=($!)
    suites+=("$suite")
done
status=0
for i in "${!pids[@]}"; do
    wait "${pids[$i]}" && continue
    echo "image: ${suites[$i]} could not be made; the farm goes on without its interpreter" >&2
    [[ ${suites[$i]} == bookworm ]] && status=1
done

# Further architectures, one after the other: the base that runs everywhere newer. What they ask for must be there.
mapfile -t held < <(docker image ls --format '{{.Tag}}' buildfarm/builder | sed -n 's/^bookworm_//p')
for arch in $(printf '%s\n' "${architectures[@]}" "${held[@]}" | LC_ALL=C sort -u); do
    [[ $arch != arm64 || $EUID != 0 || $(dpkg --print-architecture) == arm64 ]] || "$here/emulate.sh" on arm64 >&2 || true
    "$here/build-image.sh" bookworm "$arch" >&2 && continue
    echo "image: those of $arch could not be made; the farm goes on without them" >&2
    [[ " ${architectures[*]} " == *" $arch "* ]] && status=1
done

# Further interpreters, on the base that is there now.
mapfile -t held < <(docker image ls --format '{{.Tag}}' buildfarm/builder | sed -n 's/^bookworm-//p')
for tag in $(printf '%s\n' "${wanted[@]}" "${held[@]}" | grep -vx zig | LC_ALL=C sort -u); do
    "$here/interpreter-images.sh" "$tag" >&2 ||
        echo "image: $tag could not be made; the farm goes on without it" >&2
done

# A compiler for older C libraries and other machines, on the base that is there now.
if [[ $zig || $(docker image ls --quiet buildfarm/builder:zig_x86_64) ]] && ! "$here/zig-images.sh" >&2; then
    echo "image: those with zig could not be made; the farm goes on without them" >&2
    if [[ $zig ]]; then status=1; fi
fi

# Images with system packages are made again from the base that builds use now.
bases=$(docker image ls --quiet --no-trunc --filter label=org.buildfarm.recipe --filter dangling=false)
for image in $(docker image ls --quiet --no-trunc --filter label=org.buildfarm.derived | sort -u); do
    base=$(docker image inspect --format '{{index .Config.Labels "org.buildfarm.base"}}' "$image")
    [[ $bases == *"$base"* ]] || docker image rm "$image" >/dev/null
done
# What a renewed image replaced: untagged, ours by label, and no container uses it.
docker image prune --force --filter label=org.buildfarm.recipe >/dev/null

"$here/list-images.sh"
exit "$status"
