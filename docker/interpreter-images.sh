#!/bin/bash
# Make builder and test images with one further CPython, on top of those of bookworm, the oldest suite.
#
#   docker/interpreter-images.sh TAG      one of docker/cpython/sources.conf, such as cp314t
#
# The images are beside their base, not in its place: they name this interpreter alone. What is there and
# as its base and the scripts say is kept. Exit 3 when no archive gives the source.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
tag=${1:?usage: interpreter-images.sh TAG}
suite=bookworm
container=
leave() {
    if [[ $container ]]; then docker rm --force --volumes "$container" >/dev/null 2>&1; fi
}
trap leave EXIT

say() { printf 'image: %4ds %s %s\n' "$SECONDS" "$tag" "$*" >&2; }
id() { docker image inspect --format '{{.Id}}' "buildfarm/$1:$suite" 2>/dev/null; }
recipe() {
    { printf '%s\n' "$tag" "$(id "$1")"; cat "$here"/interpreter-images.sh "$here"/cpython/*; } | sha256sum | cut -d' ' -f1
}
current() {
    [[ $(docker image inspect --format '{{index .Config.Labels "org.buildfarm.recipe"}}' \
        "buildfarm/$1:$suite-$tag" 2>/dev/null) == "$(recipe "$1")" ]]
}

base=$(id builder) || { say "there is no image buildfarm/builder:$suite to put it on"; exit 1; }
missing=()
for role in builder test; do
    if current "$role"; then say "$role: up to date"; else missing+=("$role"); fi
done
(( ${#missing[@]} )) || exit 0
tarball=$("$here/cpython/build.sh" "$tag" "$base")
for role in "${missing[@]}"; do
    container=$(docker create "$(id "$role")" true)
    xz --decompress --stdout "$tarball" | docker cp - "$container:/"
    docker commit --change 'USER builder' --change 'CMD ["/bin/bash"]' \
        --change "LABEL org.buildfarm.interpreters=$tag org.buildfarm.recipe=$(recipe "$role")" \
        "$container" "buildfarm/$role:$suite-$tag" >/dev/null
    docker rm "$container" >/dev/null
    container=
    say "$role: ready"
done
