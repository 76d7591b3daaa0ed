#!/bin/bash
# Compile a CPython from a distribution's source package, inside a builder image, and print the tarball's path.
#
#   docker/cpython/build.sh TAG BASE_ID      TAG is one of sources.conf, such as cp314t
#
# apt checks the signatures; of the package only upstream's own archive is used, for Debian's patches are for
# Debian's layout. It is compiled without a network and kept by the digest of source, flags, suite and machine,
# so a second run fetches a package list at most. Exit 3, with the reason, when the archive does not give it.
# BUILDFARM_IMAGE_CACHE (default .cache/images) keeps sources and tarballs.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
tag=${1:?usage: cpython/build.sh TAG BASE_ID} base=${2:?usage: cpython/build.sh TAG BASE_ID}
read -r _ suites package extra < <(grep -E "^$tag( |\$)" "$here/sources.conf") ||
    { echo "cpython: no source of $tag is known; see docker/cpython/sources.conf" >&2; exit 2; }

cache=${BUILDFARM_IMAGE_CACHE:-$here/../../.cache/images}
mkdir -p "$cache"
cache=$(cd "$cache" && pwd -P)

say() { printf 'cpython: %4ds %s %s\n' "$SECONDS" "$tag" "$*" >&2; }
fail() { say "$*"; exit 1; }
unavailable() { say "cannot be had: $*"; exit 3; }
# shellcheck source=/dev/null
source "$here/../archive.sh"

# No PGO and no LTO: they multiply the time and change no wheel.
flags=(--disable-test-modules --without-static-libpython --with-ensurepip=no)
[[ $extra ]] && flags+=("$extra")
needs=(libbz2-dev libffi-dev liblzma-dev libsqlite3-dev libssl-dev xz-utils zlib1g-dev)

label() { docker image inspect --format "{{index .Config.Labels \"org.buildfarm.$1\"}}" "$base"; }
home_suite=$(label suite) || fail "the image $base is not in the engine"
machine=$(label arch)
command -v apt-get >/dev/null || fail "this host has no apt; sources come through it"

exec 9>"$cache/cpython-$tag-$home_suite-$machine.lock"
flock 9
scratch=$(mktemp -d "$cache/scratch.XXXXXX")
trap 'rm -rf --one-file-system "$scratch"' EXIT
chmod 0755 "$scratch"

# An apt of its own, which knows the sources of one suite.
apt_get() {
    apt-get -qq \
        -o Dir::State="$scratch/state" -o Dir::State::lists="$lists" -o Dir::State::status="$scratch/status" \
        -o Dir::Cache="$scratch" -o Dir::Etc::sourcelist="$scratch/sources.list" -o Dir::Etc::sourceparts=/dev/null \
        -o Acquire::Languages=none -o APT::Sandbox::User=root -o Debug::NoLocking=1 "$@" >"$scratch/said" 2>"$scratch/log"
}
# Exit codes of apt do not tell these apart; the first two are the lot of testing on a mirror that lags.
reason() {
    if grep -qE 'is expired|not valid yet' "$scratch/log"; then
        echo "the mirror's index has expired (Valid-Until)"
    elif grep -qE '404 +Not Found' "$scratch/log"; then
        echo "the mirror's pool no longer has what its index names"
    elif grep -qE 'NO_PUBKEY|not signed|EXPKEYSIG' "$scratch/log"; then
        echo "its signature cannot be checked (keyring package out of date?)"
    elif grep -q 'Unable to find a source package' "$scratch/log"; then
        echo "it has no $package"
    else
        grep -m1 -E '^(E|W|Err)' "$scratch/log" || echo "apt gave no reason"
    fi
}
# Fetch the lists of a suite once a day, and whenever another archive gives it; `fetched` says which one did.
refresh() {
    [[ $(find "$lists/fetched" -mtime -1 2>/dev/null) ]] && cmp -s "$scratch/sources.list" "$lists/fetched" && return
    apt_get update -o APT::Update::Error-Mode=any && cp "$scratch/sources.list" "$lists/fetched"
}
# Set version, sum and origin to what the suite has, and fetch it unless its tarball is there.
try() {
    local suite=$1 line
    lists=$cache/apt-src-$suite
    line=$(source_line "$suite" 2>"$scratch/log") || return 1
    echo "$line" >"$scratch/sources.list"
    mkdir -p "$lists/partial"
    ( flock 8; refresh ) 8>"$lists.lock" || return 1
    apt_get source --print-uris --only-source "$package" || return 1
    read -r _ origin _ sum < <(grep -E '\.orig\.tar\.[a-z0-9]+ [0-9]+ SHA(256|512):' "$scratch/said") || return 1
    version=$(sed -E 's/^[^_]+_(.+)\.orig\.tar\..*$/\1/' <<<"$origin")
    key=$({ printf '%s\n' "$sum" "${flags[@]}" "$home_suite" "$machine"; cat "$here/inside.sh"; } |
        sha256sum | cut -c1-32)
    tarball=$cache/cpython-$tag-$home_suite-$machine-$key.tar.xz
    [[ -f $tarball ]] && return
    say "fetching $package $version of $suite"
    rm -rf "$scratch/in"
    mkdir "$scratch/in"
    (cd "$scratch/in" && apt_get source --download-only --tar-only --only-source "$package")
}

mkdir "$scratch/state" "$scratch/out"
touch "$scratch/status"
tarball= reasons=
for suite in ${suites//,/ }; do
    try "$suite" && break
    reasons+="${reasons:+; }$suite: $(reason)"
    tarball=
done
[[ $tarball ]] || unavailable "$reasons"
if [[ -f $tarball ]]; then
    say "$version is there"
    echo "$tarball"
    exit 0
fi

image=$("$here/../derive-image.sh" "$base" "${needs[@]}") || fail "what its compilation needs cannot be installed"
say "compiling $version on $home_suite"
install -m 0755 "$here/inside.sh" "$scratch/in/inside.sh"
docker run --rm --pull never --network none --user 0 --volume "$scratch/in:/in:ro" --volume "$scratch/out:/out" \
    "$image" bash /in/inside.sh "$tag" "$version" "/in/$origin" "${flags[@]}" >"$scratch/log" 2>&1 ||
    { tail -n 15 "$scratch/log" >&2; fail "it does not compile on $home_suite"; }
mv "$scratch/out/cpython.tar.xz" "$tarball"
say "ready, took $SECONDS s"
echo "$tarball"
