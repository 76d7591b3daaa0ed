#!/bin/bash
# What docker/cpython/build.sh runs in the container: unpack, compile, install, pack to /out/cpython.tar.xz.
#
#   inside.sh TAG VERSION ARCHIVE FLAG...
set -euo pipefail

tag=$1 version=$2 archive=$3
shift 3
prefix=/opt/_internal/cpython-$version
[[ $tag == *t ]] && prefix+=t

umask 022
mkdir /tmp/cpython
cd /tmp/cpython
tar --extract --file "$archive" --strip-components=1
./configure --quiet --prefix="$prefix" "$@"
make --silent --jobs "$(nproc)"
make --silent install >/dev/null

# What a build of wheels reads: no tests, and bytecode of one level, for images are read-only.
find "$prefix" -depth \( -name '*.opt-?.pyc' -o -path '*/test/*' -o -path '*/idlelib/*' \) -delete
# The names that python.org's own layout lacks, and those that the farm's images promise.
ln -s python3 "$prefix/bin/python"
mkdir -p /opt/python
ln -s "$prefix" "/opt/python/${tag%t}-$tag"
for module in bz2 ctypes lzma sqlite3 ssl zlib; do
    "/opt/python/${tag%t}-$tag/bin/python" -I -c "import $module"
done
tar --create --xz --file /out/cpython.tar.xz -C / "${prefix#/}" "opt/python/${tag%t}-$tag"
