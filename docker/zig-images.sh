#!/bin/bash
# Make builder images whose compiler is zig, on top of that of bookworm, for a C library of 2012: for x86_64, and
# where the engine has images of arm64 to test in, for aarch64. Tests run in the test images there are.
#
#   docker/zig-images.sh
#
# zig compiles its own run-time libraries on first use, for minutes; that is done here, in a container without a
# network, and kept in the image. What is there and as its base and the scripts say is kept.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
suite=bookworm python=python3.11 glibc=2.17
cache=${BUILDFARM_IMAGE_CACHE:-$here/../.cache/images}
mkdir -p "$cache"
cache=$(cd "$cache" && pwd -P)
scratch=
container=
leave() {
    if [[ $container ]]; then docker rm --force --volumes "$container" >/dev/null 2>&1; fi
    if [[ $scratch ]]; then rm -rf --one-file-system "$scratch"; fi
}
trap leave EXIT

say() { printf 'image: %4ds zig %s\n' "$SECONDS" "$*" >&2; }
fail() { say "$*"; exit 1; }
# shellcheck source=/dev/null
source "$here/archive.sh"
id() { docker image inspect --format '{{.Id}}' "buildfarm/builder:$1" 2>/dev/null; }
recipe() {
    { printf '%s\n' "$1" "$2"; cat "$here"/{zig-images,zig-inside,archive}.sh "$here/zig.txt"; } | sha256sum | cut -d' ' -f1
}
current() {
    [[ $(docker image inspect --format '{{index .Config.Labels "org.buildfarm.recipe"}}' \
        "buildfarm/builder:zig_$1" 2>/dev/null) == "$(recipe "$1" "$2")" ]]
}

# The folder `ziglang` of the wheel, as a tree from the root of an image.
compiler() {
    local pip=$here/../.venv/bin/python
    [[ -x $pip ]] || pip=python3
    "$pip" -m pip download --quiet --require-hashes --no-deps --only-binary :all: --requirement "$here/zig.txt" \
        --dest "$cache/zig" >&2 2>"$scratch/log" || { cat "$scratch/log" >&2; fail "the wheel cannot be downloaded"; }
    mkdir -p "$scratch/tree/opt/_internal"
    python3 -m zipfile -e "$cache"/zig/ziglang-*.whl "$scratch/wheel"
    mv "$scratch/wheel/ziglang" "$scratch/tree/opt/_internal/zig"
    chmod 0755 "$scratch/tree/opt/_internal/zig/zig"
}

# What the arm64 CPython of the suite says of itself, as a tree from the root of an image. Its programs are not
# needed, and apt checks its signature.
foreign_python() {
    local deb unpacked=$scratch/unpacked include=usr/include/aarch64-linux-gnu/$python apt=(
        apt-get -qq -o Dir::State="$scratch/state" -o Dir::State::status="$scratch/status" -o Dir::Cache="$scratch"
        -o Dir::Etc::sourcelist="$scratch/sources.list" -o Dir::Etc::sourceparts=/dev/null -o Debug::NoLocking=1
        -o APT::Architecture=arm64 -o APT::Architectures=arm64 -o Acquire::Languages=none)
    mkdir -p "$scratch"/{state/lists/partial,archives/partial,debs,unpacked}
    touch "$scratch/status"
    sources "$suite" >"$scratch/sources.list"
    "${apt[@]}" update >"$scratch/log" 2>&1 &&
        (cd "$scratch/debs" && "${apt[@]}" download "lib$python-dev" "lib$python-minimal" >>"$scratch/log" 2>&1) ||
        { tail -n 5 "$scratch/log" >&2; fail "the packages of arm64 cannot be fetched"; }
    for deb in "$scratch"/debs/*.deb; do dpkg-deb -x "$deb" "$unpacked"; done
    mkdir -p "$scratch/foreign/opt/_internal/zig/include/aarch64-linux-gnu" "$scratch/foreign/usr/lib/$python"
    cp -R "$unpacked/$include" "$scratch/foreign/opt/_internal/zig/include/aarch64-linux-gnu/"
    cp "$unpacked/usr/lib/$python/_sysconfigdata__aarch64-linux-gnu.py" "$scratch/foreign/usr/lib/$python/"
}

# MACHINE BASE TREE: an image on BASE with what is in TREE, whose compiler is for MACHINE.
make_image() {
    local machine=$1 base=$2 tree=$3 started=$SECONDS laid
    say "$machine: compiling its run-time libraries"
    # A layer of its own, for zig takes a file of its library for another one when its inode changes.
    container=$(docker create "$base" true)
    tar --create --owner=0 --group=0 --directory "$tree" . | docker cp - "$container:/"
    laid=$(docker commit "$container")
    docker rm "$container" >/dev/null
    container=$(docker create --network none --user 0 --interactive "$laid" bash -s -- "$machine" "$glibc" "$python")
    docker start --attach --interactive "$container" <"$here/zig-inside.sh" >"$scratch/log" 2>&1 ||
        { tail -n 15 "$scratch/log" >&2; fail "$machine: the compiler does not work"; }
    docker commit --change 'USER builder' --change 'CMD ["/bin/bash"]' \
        --change "LABEL org.buildfarm.toolchain=zig org.buildfarm.target=manylinux_${glibc/./_}_$machine \
org.buildfarm.recipe=$(recipe "$machine" "$base")" \
        "$container" "buildfarm/builder:zig_$machine" >/dev/null
    docker rm "$container" >/dev/null
    container=
    say "$machine: ready, took $((SECONDS - started)) s"
}

base=$(id "$suite") || fail "there is no image buildfarm/builder:$suite to put it on"
[[ $(uname -m) == x86_64 ]] || fail "only x86_64 hosts are known to this script"
exec 9>"$cache/zig.lock"
flock 9
scratch=$(mktemp -d "$cache/scratch.XXXXXX")
if current x86_64 "$base"; then
    say "x86_64: up to date"
else
    compiler
    make_image x86_64 "$base" "$scratch/tree"
fi
if [[ $(docker image ls --quiet "buildfarm/test:${suite}_arm64") ]]; then
    base=$(id zig_x86_64)
    if current aarch64 "$base"; then
        say "aarch64: up to date"
    else
        foreign_python
        make_image aarch64 "$base" "$scratch/foreign"
    fi
fi
