#!/bin/bash
# Make the builder image and the compiler-free test image of one Debian suite, without a registry.
#
#   docker/build-image.sh SUITE      bookworm (cp311) or trixie (cp313)
#
# mmdebstrap makes a signature-checked root file system from the mirror this host's own apt uses
# (or BUILDFARM_DEBIAN_MIRROR), `docker import` makes it an image. An image whose recipe label
# equals the digest of the inputs is kept, so a second run takes a moment.
# BUILDFARM_IMAGE_CACHE (default .cache/images) holds tool wheels and, while it runs, scratch.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
suite=${1:?usage: build-image.sh SUITE}
conf=$here/suites/$suite.conf
[[ -f $conf ]] || { echo "image: no such suite: $suite" >&2; exit 2; }
# shellcheck source=/dev/null
source "$conf"
# shellcheck source=/dev/null
source "$here/suites/packages.conf"

arch=$(dpkg --print-architecture)
cache=${BUILDFARM_IMAGE_CACHE:-$here/../.cache/images}
mkdir -p "$cache"
cache=$(cd "$cache" && pwd -P)

say() { printf 'image: %4ds %s %s\n' "$SECONDS" "$suite" "$*" >&2; }
fail() { say "$*"; exit 1; }
# shellcheck source=/dev/null
source "$here/archive.sh"

recipe() {
    { printf '%s\n' "$1" "$suite" "$arch"; cat "$conf" "$here"/{suites/packages.conf,tools.txt,archive.sh,customize.sh,build-image.sh}; } |
        sha256sum | cut -d' ' -f1
}

current() {
    [[ $(docker image inspect --format '{{index .Config.Labels "org.buildfarm.recipe"}}' \
        "buildfarm/$1:$suite" 2>/dev/null) == "$(recipe "$1")" ]]
}

# Tool wheels, downloaded on the host with the host's pip settings and checked against the lock.
wheelhouse() {
    local python house
    house=$cache/tools-$(sha256sum <"$here/tools.txt" | cut -c1-16)
    python=$here/../.venv/bin/python
    [[ -x $python ]] || python=python3
    (
        flock 8
        [[ -d $house ]] && exit 0
        rm -rf "$house.part"
        "$python" -m pip download --quiet --require-hashes --no-deps --only-binary :all: \
            --requirement "$here/tools.txt" --dest "$house.part" >&2 2>"$scratch/pip.log" ||
            { cat "$scratch/pip.log" >&2; exit 1; }
        mv "$house.part" "$house"
    ) 8>"$cache/tools.lock" || fail "the tool wheels cannot be downloaded"
    echo "$house"
}

make_image() {
    local role=$1 packages started=$SECONDS house=$2 glibc digest
    packages=${role}_packages
    say "$role: making the root file system"
    sources "$suite" >"$scratch/sources.list"
    # Proxies and checks as this host's apt has them; customize.sh takes them out of the image again.
    apt-config dump | grep -E '^Acquire::(https?::|Retries|Check-)[^ ]* "[^"]+";' >"$scratch/apt.conf" || true
    TMPDIR=$scratch mmdebstrap --quiet --variant=minbase --arch="$arch" --format=tar \
        --include="${!packages}" \
        --dpkgopt='force-unsafe-io' \
        --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
        --aptopt="$scratch/apt.conf" --aptopt='Acquire::Languages "none"' \
        --customize-hook="$(printf '%q ' bash "$here/customize.sh")\"\$1\" $(printf '%q ' \
            "$role" "$interpreter" "$python" "$house" "$scratch/facts")" \
        "$suite" "$scratch/root.tar" "$scratch/sources.list" >&2 2>"$scratch/log" ||
        { tail -n 15 "$scratch/log" >&2; fail "$role: mmdebstrap failed"; }
    glibc=$(sed -n 's/^glibc=//p' "$scratch/facts")
    digest=$(sed -n 's/^packages=//p' "$scratch/facts")
    docker import --platform "linux/$arch" \
        --change 'ENV PATH=/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin LANG=C.UTF-8' \
        --change 'USER builder' --change 'WORKDIR /work' --change 'CMD ["/bin/bash"]' \
        --change "LABEL org.buildfarm.role=$role org.buildfarm.suite=$suite org.buildfarm.arch=$(uname -m) \
org.buildfarm.glibc=$glibc org.buildfarm.interpreters=$interpreter org.buildfarm.packages=$digest \
org.buildfarm.recipe=$(recipe "$role")" \
        "$scratch/root.tar" "buildfarm/$role:$suite" >/dev/null
    rm -f "$scratch/root.tar"
    say "$role: ready, glibc $glibc, took $((SECONDS - started)) s"
}

exec 9>"$cache/$suite.lock"
flock 9
missing=()
for role in builder test; do
    if current "$role"; then say "$role: up to date"; else missing+=("$role"); fi
done
(( ${#missing[@]} )) || exit 0
command -v mmdebstrap >/dev/null || fail "mmdebstrap is not installed"
[[ -f $keyring ]] || fail "the package debian-archive-keyring is not installed"
scratch=$(mktemp -d "$cache/scratch.XXXXXX")
trap 'rm -rf --one-file-system "$scratch"' EXIT
chmod 0755 "$scratch"
house=$(wheelhouse)
for role in "${missing[@]}"; do make_image "$role" "$house"; done
