"""What attempts print, by phase, with the colours that uv, gcc and pytest use."""

HOSTILE = '<script>alert("x")</script><img src=x onerror=alert(1)>'
FAILURE = "src/widget/_speedups.c:48:10: fatal error: zstd.h: No such file or directory"

_SOURCE = """\
source sha256:c1d309020e38b428f3414734667ef4128c0f9c0fa549406307788cb6f217d064
$ tar --extract --file /in/source.tar --directory /src --strip-components=1 --no-same-owner
"""
_DEPS = """\
$ uv venv --quiet --python /opt/python/cp311-cp311/bin/python /work/env
$ uv pip install 'setuptools>=77' wheel
\x1b[2mResolved \x1b[1m2 packages\x1b[0m\x1b[2m in 41ms\x1b[0m
\x1b[2mInstalled \x1b[1m2 packages\x1b[0m\x1b[2m in 6ms\x1b[0m
 \x1b[32m+\x1b[39m \x1b[1msetuptools\x1b[0m\x1b[2m==84.2.1\x1b[0m
 \x1b[32m+\x1b[39m \x1b[1mwheel\x1b[0m\x1b[2m==0.47.0\x1b[0m
"""
_COMPILE = """\
$ python -m build --wheel --no-isolation
running build_ext
building 'widget._speedups' extension
gcc -Wall -O3 -fPIC -I/opt/python/include -c src/widget/_speedups.c -o build/_speedups.o
"""
_WARNING = """\
\x1b[01m\x1b[Ksrc/widget/_speedups.c:31:7:\x1b[m\x1b[K \x1b[01;35m\x1b[Kwarning:\x1b[m\x1b[K unused variable
   31 |   int \x1b[01;35m\x1b[Kspare\x1b[m\x1b[K = 0;
      |       \x1b[01;35m\x1b[K^~~~~\x1b[m\x1b[K
adding 'widget/__init__.py'
adding 'widget/_speedups.so'
adding 'widget-1.3.0.dist-info/RECORD'
"""
_REPAIR = """\
checking GLIBC symbol versions against manylinux_2_28
\x1b[32mok\x1b[0m, nothing to vendor
"""
_TEST = """\
$ python -m pytest -q
........................................................................ [ 62%]
............................................                             [100%]
\x1b[32m\x1b[1m116 passed\x1b[0m\x1b[32m in 0.84s\x1b[0m
"""
_ERROR = f"""\
{FAILURE}
   48 | #include <zstd.h>
      |          \x1b[01;31m\x1b[K^~~~~~~~\x1b[m\x1b[K
compilation terminated.
\x1b[31merror: command '/usr/bin/gcc' failed with exit code 1\x1b[0m
{HOSTILE}
"""

LIVE = [("source", _SOURCE), ("deps", _DEPS), ("build", _COMPILE)]
BAD = [("source", _SOURCE), ("deps", _DEPS), ("build", _COMPILE + _ERROR)]
GOOD = [
    ("source", _SOURCE),
    ("deps", _DEPS),
    ("build", _COMPILE + _WARNING),
    ("repair", _REPAIR),
    ("test", _TEST),
    ("upload", "widget-1.3.0-cp311-cp311-manylinux_2_28_x86_64.whl, 143212 bytes\n"),
]
