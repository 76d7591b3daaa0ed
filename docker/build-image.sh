#!/bin/bash
# Make the builder image and the compiler-free test image of one Debian suite, without a registry.
#
#   docker/build-image.sh SUITE [ARCH]      bookworm (cp311) or trixie (cp313)
#
# ARCH is Debian's name of an architecture, this host's own unless given: i386 runs on amd64 as it is, others where
# this host emulates them (docker/emulate.sh). Their tags have its name, such as buildfarm/test:bookworm_arm64.
#
# mmdebstrap makes a signature-checked root file system from the mirror this host's own apt uses
# (or BUILDFARM_DEBIAN_MIRROR), `docker import` makes it an image. An image whose recipe label
# equals the digest of the inputs is kept, so a second run takes a moment.
# BUILDFARM_IMAGE_CACHE (default .cache/images) holds tool wheels and, while it runs, scratch.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
suite=${1:?usage: build-image.sh SUITE [ARCH]}
conf=$here/suites/$suite.conf
[[ -f $conf ]] || { echo "image: no such suite: $suite" >&2; exit 2; }
# shellcheck source=/dev/null
source "$conf"
# shellcheck source=/dev/null
source "$here/suites/packages.conf"

native=$(dpkg --print-architecture)
arch=${2:-$native}
case $arch in
    amd64) machine=x86_64 ;;
    arm64) machine=aarch64 ;;
    i386) machine=i686 ;;
    "$native") machine=$(uname -m) ;;
    *) echo "image: no such architecture: $arch" >&2; exit 2 ;;
esac
# What makes a 64-bit kernel call itself 32-bit, while the image is made and in whatever runs from it.
personality=() entry=()
[[ $arch == i386 ]] && personality=(linux32) entry=(--change 'ENTRYPOINT ["linux32"]')
tag=$suite
[[ $arch == "$native" ]] || tag+=_$arch
cache=${BUILDFARM_IMAGE_CACHE:-$here/../.cache/images}
mkdir -p "$cache"
cache=$(cd "$cache" && pwd -P)

say() { printf 'image: %4ds %s %s\n' "$SECONDS" "$tag" "$*" >&2; }
fail() { say "$*"; exit 1; }
# shellcheck source=/dev/null
source "$here/archive.sh"

recipe() {
    { printf '%s\n' "$1" "$suite" "$arch"; cat "$conf" "$here"/{suites/packages.conf,tools.txt,archive.sh,customize.sh,build-image.sh,sockets32.c}; } |
        sha256sum | cut -d' ' -f1
}

current() {
    [[ $(docker image inspect --format '{{index .Config.Labels "org.buildfarm.recipe"}}' \
        "buildfarm/$1:$tag" 2>/dev/null) == "$(recipe "$1")" ]]
}

# Tool wheels, downloaded on the host with the host's pip settings and checked against the lock.
wheelhouse() {
    local python house
    house=$cache/tools-$machine-$(sha256sum <"$here/tools.txt" | cut -c1-16)
    python=$here/../.venv/bin/python
    [[ -x $python ]] || python=python3
    (
        flock 8
        [[ -d $house ]] && exit 0
        rm -rf "$house.part"
        "$python" -m pip download --quiet --require-hashes --no-deps --only-binary :all: \
            --platform "manylinux_2_17_$machine" --platform "manylinux2014_$machine" --platform "manylinux_2_5_$machine" \
            --requirement "$here/tools.txt" --dest "$house.part" >&2 2>"$scratch/pip.log" ||
            { cat "$scratch/pip.log" >&2; exit 1; }
        mv "$house.part" "$house"
    ) 8>"$cache/tools.lock" || fail "the tool wheels cannot be downloaded"
    echo "$house"
}

# The test image has no compiler: what the builder image compiled is taken from there.
sockets32() {
    local container
    container=$(docker create "buildfarm/builder:$tag" true)
    docker cp "$container:/opt/_internal/sockets32.so" "$scratch/"
    docker rm "$container" >/dev/null
}

make_image() {
    local role=$1 packages started=$SECONDS house=$2 glibc digest
    packages=${role}_packages
    [[ $arch == i386 && $role == test ]] && sockets32
    say "$role: making the root file system"
    sources "$suite" >"$scratch/sources.list"
    # Proxies and checks as this host's apt has them; customize.sh takes them out of the image again.
    apt-config dump | grep -E '^Acquire::(https?::|Retries|Check-)[^ ]* "[^"]+";' >"$scratch/apt.conf" || true
    TMPDIR=$scratch "${personality[@]}" mmdebstrap --quiet --skip=check/qemu --variant=minbase --arch="$arch" --format=tar \
        --include="${!packages}" \
        --dpkgopt='force-unsafe-io' \
        --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
        --aptopt="$scratch/apt.conf" --aptopt='Acquire::Languages "none"' \
        --customize-hook="$(printf '%q ' bash "$here/customize.sh")\"\$1\" $(printf '%q ' \
            "$role" "$interpreter" "$python" "$house" "$scratch/facts" "$scratch/sockets32.so")" \
        "$suite" "$scratch/root.tar" "$scratch/sources.list" >&2 2>"$scratch/log" ||
        { tail -n 15 "$scratch/log" >&2; fail "$role: mmdebstrap failed"; }
    glibc=$(sed -n 's/^glibc=//p' "$scratch/facts")
    digest=$(sed -n 's/^packages=//p' "$scratch/facts")
    docker import --platform "linux/${arch/i386/386}" "${entry[@]}" \
        --change 'ENV PATH=/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin LANG=C.UTF-8' \
        --change 'USER builder' --change 'WORKDIR /work' --change 'CMD ["/bin/bash"]' \
        --change "LABEL org.buildfarm.role=$role org.buildfarm.suite=$suite org.buildfarm.arch=$machine \
org.buildfarm.glibc=$glibc org.buildfarm.interpreters=$interpreter org.buildfarm.packages=$digest \
org.buildfarm.recipe=$(recipe "$role")" \
        "$scratch/root.tar" "buildfarm/$role:$tag" >/dev/null
    rm -f "$scratch/root.tar"
    say "$role: ready, glibc $glibc, took $((SECONDS - started)) s"
}

exec 9>"$cache/$tag.lock"
flock 9
missing=()
for role in builder test; do
    if current "$role"; then say "$role: up to date"; else missing+=("$role"); fi
done
(( ${#missing[@]} )) || exit 0
command -v mmdebstrap >/dev/null || fail "mmdebstrap is not installed"
[[ -f $keyring ]] || fail "the package debian-archive-keyring is not installed"
[[ $arch == "$native" || $native-$arch == amd64-i386 ]] || "$here/emulate.sh" status "$arch" || exit 1
scratch=$(mktemp -d "$cache/scratch.XXXXXX")
trap 'rm -rf --one-file-system "$scratch"' EXIT
chmod 0755 "$scratch"
house=$(wheelhouse)
for role in "${missing[@]}"; do make_image "$role" "$house"; done
