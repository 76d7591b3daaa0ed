#!/bin/bash
# Have this host's kernel run programs of another architecture by QEMU, for images and builds of it.
#
#   docker/emulate.sh on ARCH        register the emulator; prints "registered" where it was not before
#   docker/emulate.sh off ARCH       take it out again
#   docker/emulate.sh status ARCH    exit 1, and say what is missing, when programs of ARCH cannot run
#
# ARCH is Debian's name: arm64. `on` and `off` need root, and the packages qemu-user-static and binfmt-support.
# The emulator is opened once, when it is registered (flag F), so that containers need none inside. It is a setting of
# the kernel, which all of this host shares, and it is gone after a restart: a host that emulates does `on` at its start.
set -euo pipefail

verb=${1:-} arch=${2:-}
misc=/proc/sys/fs/binfmt_misc
fail() { echo "emulate: $*" >&2; exit 2; }
case $arch in
    arm64) name=qemu-aarch64 ;;
    *) fail "no emulator of ${arch:-nothing} is known; there is one of arm64" ;;
esac

ready() { grep -qsx enabled "$misc/$name" && grep -qsE '^flags:.*F' "$misc/$name"; }

case $verb in
    on)
        ready && exit 0
        (( EUID == 0 )) || fail "programs of $arch do not run here; registering their emulator needs root"
        command -v update-binfmts >/dev/null && [[ -x /usr/bin/$name-static ]] ||
            fail "programs of $arch do not run here; install the packages qemu-user-static and binfmt-support"
        [[ -e $misc/register ]] || mount -t binfmt_misc none "$misc" || fail "this kernel has no binfmt_misc"
        update-binfmts --enable "$name" || true
        ready || fail "the kernel did not take the emulator of $arch"
        echo registered ;;
    off)
        [[ -e $misc/$name ]] || exit 0
        (( EUID == 0 )) || fail "taking an emulator out needs root"
        echo -1 >"$misc/$name" ;;
    status)
        ready || fail "programs of $arch do not run here; \`docker/emulate.sh on $arch\`, as root, has them run" ;;
    *) sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}" >&2; exit 2 ;;
esac
