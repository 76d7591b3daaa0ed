#!/bin/bash
# Make an image with further Debian packages from one of ours, and print its ID.
#
#   docker/derive-image.sh BASE_ID PACKAGE...
#
# One image for each (base, set of packages): what is there already is kept. This host's apt resolves
# the set against the image's own package list and checks signatures; the packages' scripts then run in
# a container without a network. Exit 3 when the archive has no such set of packages.
# BUILDFARM_IMAGE_CACHE (default .cache/images) keeps package lists and, while it runs, scratch.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
base=${1:?usage: derive-image.sh BASE_ID PACKAGE...}
shift
mapfile -t packages < <(printf '%s\n' "$@" | LC_ALL=C sort -u)
(( $# )) || { echo "image: no package was named" >&2; exit 2; }
for package in "${packages[@]}"; do
    [[ $package =~ ^[a-z0-9][a-z0-9+.-]+$ ]] || { echo "image: $package is no name of a package" >&2; exit 3; }
done

cache=${BUILDFARM_IMAGE_CACHE:-$here/../.cache/images}
mkdir -p "$cache"
cache=$(cd "$cache" && pwd -P)

say() { printf 'image: %4ds %s\n' "$SECONDS" "$*" >&2; }
fail() { say "$*"; exit 1; }
# shellcheck source=/dev/null
source "$here/archive.sh"

key=$({ printf '%s\n' "$base" "${packages[@]}"; cat "$here"/{archive.sh,derive-image.sh}; } | sha256sum | cut -d' ' -f1)
made() { docker image ls --quiet --no-trunc --filter "label=org.buildfarm.derived=$key" | head -n1; }

found=$(made)
[[ $found ]] && { echo "$found"; exit 0; }
exec 9>"$cache/derived-${key:0:16}.lock"
flock 9
found=$(made)
[[ $found ]] && { echo "$found"; exit 0; }

label() { docker image inspect --format "{{index .Config.Labels \"org.buildfarm.$1\"}}" "$base"; }
suite=$(label suite) || fail "the image $base is not in the engine"
[[ -f $here/suites/$suite.conf ]] ||
    { say "only images that docker/build-image.sh made take system packages, not those of ${suite:-others}"; exit 3; }
command -v apt-get >/dev/null || fail "this host has no apt; packages for images come through it"

scratch=$(mktemp -d "$cache/scratch.XXXXXX")
container=
leave() {
    [[ $container ]] && docker rm --force --volumes "$container" >/dev/null 2>&1
    rm -rf --one-file-system "$scratch"
}
trap leave EXIT
chmod 0755 "$scratch"

# An apt of its own: the image's package list, this host's way to the archive.
lists=$cache/apt-$suite
mkdir -p "$lists/partial" "$scratch"/{archives/partial,state}
sources "$suite" >"$scratch/sources.list"
container=$(docker create "$base" true)
docker cp --quiet "$container:/var/lib/dpkg/status" "$scratch/status" 2>/dev/null ||
    docker cp "$container:/var/lib/dpkg/status" "$scratch/status" >/dev/null
docker rm "$container" >/dev/null
container=
touch "$scratch/extended_states"
apt_get() {
    apt-get -qq --no-install-recommends \
        -o Dir::State="$scratch/state" -o Dir::State::lists="$lists" -o Dir::State::status="$scratch/status" \
        -o Dir::State::extended_states="$scratch/extended_states" \
        -o Dir::Cache="$scratch" -o Dir::Cache::archives="$scratch/archives" \
        -o Dir::Etc::sourcelist="$scratch/sources.list" -o Dir::Etc::sourceparts=/dev/null \
        -o Dir::Etc::preferences=/dev/null -o Dir::Etc::preferencesparts=/dev/null \
        -o APT::Architecture="$(dpkg --print-architecture)" -o Acquire::Languages=none \
        -o Debug::NoLocking=1 "$@"
}
# Lists of this day are good enough, unless what they name is there no more.
refresh() {
    say "$suite: fetching the package lists"
    ( flock 8; apt_get update >"$scratch/log" 2>&1 && touch "$lists/fetched" ) 8>"$lists.lock" ||
        { tail -n 5 "$scratch/log" >&2; fail "the package lists cannot be fetched"; }
}
fetch() {
    apt_get --simulate install "${packages[@]}" >"$scratch/log" 2>&1 || return 3
    apt_get --yes --download-only install "${packages[@]}" >"$scratch/log" 2>&1
}
[[ $(find "$lists/fetched" -mtime -1 2>/dev/null) ]] || refresh
say "$suite: fetching ${packages[*]}"
if ! fetch; then
    refresh
    status=0
    fetch || status=$?
    if (( status == 3 )); then
        sed -n 's/^E: //p' "$scratch/log" >&2
        exit 3
    fi
    (( status == 0 )) || { tail -n 5 "$scratch/log" >&2; fail "the packages cannot be fetched"; }
fi

# shellcheck disable=SC2016
install='set -e
export DEBIAN_FRONTEND=noninteractive
if ls /debs/*.deb >/dev/null 2>&1; then
    apt-get -qq --yes --no-install-recommends -o Dir::Etc::sourcelist=/dev/null \
        -o DPkg::Options::=--force-unsafe-io \
        -o DPkg::Options::=--path-exclude=/usr/share/man/* -o DPkg::Options::=--path-exclude=/usr/share/locale/* \
        install /debs/*.deb
fi
find / -xdev -type f -perm /6000 -exec chmod ug-s {} +
rm -rf /var/log/apt /var/log/*.log /var/cache/apt/*.bin'
say "$suite: installing $(find "$scratch/archives" -name '*.deb' | wc -l) packages"
container=$(docker create --network none --user 0 --volume "$scratch/archives:/debs:ro" "$base" sh -c "$install")
docker start --attach "$container" >"$scratch/log" 2>&1 ||
    { tail -n 15 "$scratch/log" >&2; fail "the packages cannot be installed"; }
image=$(docker commit --change 'USER builder' --change 'CMD ["/bin/bash"]' \
    --change "LABEL org.buildfarm.derived=$key org.buildfarm.base=$base" "$container" "buildfarm/derived:${key:0:16}")
say "$suite: ready, took $SECONDS s"
echo "$image"
