# Within the image that zig-images.sh makes: the programs that builds find, what they are told, zig's own libraries.
#
#   MACHINE GLIBC PYTHON
set -euo pipefail

machine=$1 glibc=$2 python=$3
home=/opt/_internal/zig
triplet=$machine-linux-gnu

# With a target zig searches no folder of the image, so that nothing of its C library comes in; Debian's headers of
# CPython ask for one file by its architecture, which is all that is given. That of another machine is there already.
mkdir -p "$home/bin" "$home/include/$triplet/$python"
[[ $machine != "$(uname -m)" ]] || cp "/usr/include/$triplet/$python/pyconfig.h" "$home/include/$triplet/$python/"
# Debug builds of zig check for undefined behaviour, which is not what the author of an extension asked for.
for name in cc c++; do
    printf '#!/bin/sh\nexec %s/zig %s -target %s.%s -fno-sanitize=undefined -idirafter %s/include "$@"\n' \
        "$home" "$name" "$triplet" "$glibc" "$home" >"$home/bin/$name"
done
for name in ar ranlib; do
    printf '#!/bin/sh\nexec %s/zig %s "$@"\n' "$home" "$name" >"$home/bin/$name"
done
chmod 0755 "$home"/bin/*

{
    echo "CC=$home/bin/cc"
    echo "CXX=$home/bin/c++"
    echo "AR=$home/bin/ar"
    echo "RANLIB=$home/bin/ranlib"
    echo "LDSHARED=$home/bin/cc -shared"
    echo "LDCXXSHARED=$home/bin/c++ -shared"
    if [[ $machine != "$(uname -m)" ]]; then
        echo "_PYTHON_HOST_PLATFORM=linux-$machine"
        echo "_PYTHON_SYSCONFIGDATA_NAME=_sysconfigdata__$triplet"
    fi
} >"$home/environment"

# The cache goes by content, so builds find it under another path. Its folder z is of use to zig's own language alone.
export ZIG_GLOBAL_CACHE_DIR=$home/cache ZIG_LOCAL_CACHE_DIR=/tmp/zig
cd /tmp
echo 'int main(void) { return 0; }' >one.c
printf '#include <string>\nint main() { try { throw std::string("x"); } catch (...) {} return 0; }\n' >one.cc
for compile in "cc one.c" "c++ one.cc"; do
    # shellcheck disable=SC2086
    for how in "" "-shared -fPIC"; do "$home/bin/"${compile% *} -O2 $how ${compile#* } -o one; done
done
rm -rf one* /tmp/zig "$home"/cache/{z,tmp}
