"""The class of a failure and the line it is read from, for what the tools really print."""

import re
from pathlib import Path

import pytest

from buildfarm.sandbox.failures import FAILURES
from buildfarm.sandbox.firsterror import FirstError
from buildfarm.sandbox.spec import AttemptOutcome

GCC_HEADER = """\
building 'widget._speedups' extension
gcc -Wall -O3 -fPIC -c src/speedups.c -o build/speedups.o
src/speedups.c:1:10: fatal error: zstd.h: No such file or directory
    1 | #include <zstd.h>
      |          ^~~~~~~~
compilation terminated.
error: command '/usr/bin/gcc' failed with exit code 1
"""
CLANG_HEADER = "src/a.cpp:3:10: fatal error: 'Eigen/Dense' file not found\n"
GCC_COMPILE = """\
c.c: In function \u2018f\u2019:
c.c:1:16: error: \u2018x\u2019 undeclared (first use in this function)
    1 | int f(){return x;}
"""
GCC_NO_SOURCE = "cc1: fatal error: src/gone.c: No such file or directory\ncompilation terminated.\n"
GCC_KILLED = """\
g++ -O3 -c big.cpp -o big.o
g++: fatal error: Killed signal terminated program cc1plus
compilation terminated.
"""
LD_LIBRARY = """\
gcc -shared build/speedups.o -lzstd -o _speedups.so
/usr/bin/ld: cannot find -lzstd: No such file or directory
collect2: error: ld returned 1 exit status
error: command '/usr/bin/gcc' failed with exit code 1
"""
LD_SYMBOL = """\
/usr/bin/ld: /tmp/cc2YLse2.o: in function `main':
b.c:(.text+0x5): undefined reference to `g'
collect2: error: ld returned 1 exit status
"""
RUSTC = """\
error[E0432]: unresolved import `nothere`
 --> src/lib.rs:1:5
error: aborting due to 1 previous error
"""
RUST_LINKER = """\
error: linking with `cc` failed: exit status: 1
  |
  = note:  "cc" "-m64" "symbols.o" "-Wl,--as-needed" "-lnothere"
  = note: some arguments are omitted. use `--verbose` to show all linker arguments
  = note: rust-lld: error: unable to find library -lnothere
          collect2: error: ld returned 1 exit status

error: aborting due to 1 previous error
"""
CARGO_LIBRARY = """\
   Compiling zstd-sys v2.0.13+zstd.1.5.6
error: failed to run custom build command for `zstd-sys v2.0.13+zstd.1.5.6`

Caused by:
  process didn't exit successfully: `/work/release/build/zstd-sys-1f2/build-script-build` (exit status: 1)
  --- stderr
  The system library `libzstd` required by crate `zstd-sys` was not found.
"""
CARGO_NETWORK = """\
error: failed to get `serde` as a dependency of package `widget v0.1.0`

Caused by:
  [6] Could not resolve hostname (Could not resolve host: index.crates.example)
"""
CARGO_UNSET = """\
error: failed to get `twig` as a dependency of package `quick v1.0.0 (/src)`

Caused by:
  failed to get successful HTTP response from `http://127.0.0.1:8080/crates/index/config.json`, got 403
  body:
  This farm has no crates registry; an administrator sets mirror.crates_index.
"""
CARGO_LOCK = """\
    Updating `farm` index
error: checksum for `leaf v1.0.0` changed between lock files
"""
GO_UNSET = """\
go: downloading go.example/twig v1.0.0
main.go:4:8: go.example/twig@v1.0.0: reading http://127.0.0.1:8080/go/go.example/@v/v1.zip: 403 Forbidden
\tserver response: This farm has no Go module proxy; an administrator sets mirror.go_proxy.
Traceback (most recent call last):
  File "/src/backend.py", line 3, in build_wheel
subprocess.CalledProcessError: Command '['go', 'build']' returned non-zero exit status 1.
"""
GO_AWAY = """\
go: go.example/twig@v1.0.0: reading http://127.0.0.1:8080/go/go.example/@v/v1.mod: 503 SERVICE UNAVAILABLE
\tserver response: The upstream index does not give what was asked: ConnectionError.
"""
GO_SUM = """\
go: downloading go.example/Deep/leaf v1.0.0
verifying go.example/Deep/leaf@v1.0.0/go.mod: checksum mismatch
\tdownloaded: h1:xq3iBUaMEzMn969QFjqpPvMSflwvdwTVpdCoqoxVf+U=
SECURITY ERROR
"""
CMAKE_CONFIG = """\
-- Detecting C compile features - done
CMake Error at CMakeLists.txt:3 (find_package):
  By not providing "FindFoo.cmake" in CMAKE_MODULE_PATH this project has
  asked CMake to find a package configuration file provided by "Foo", but
  CMake did not find one.

  Could not find a package configuration file provided by "Foo" with any of
  the following names:
"""
CMAKE_MODULE = """\
CMake Error at /usr/share/cmake-3.25/Modules/FindPackageHandleStandardArgs.cmake:230 (message):
  Could NOT find GSL (missing: GSL_INCLUDE_DIR GSL_LIBRARY GSL_CBLAS_LIBRARY)
  (found version "")
Call Stack (most recent call first):
"""
CMAKE_OWN = """\
CMake Error at CMakeLists.txt:3 (message):
  nope, not like this


-- Configuring incomplete, errors occurred!
"""
CMAKE_FETCH = """\
Cloning into 'foo-src'...
fatal: unable to access 'https://git.example/foo.git/': Could not resolve host: git.example
-- Had to git clone more than once: 3 times.
CMake Error at foo-subbuild/foo-populate-prefix/tmp/foo-populate-gitclone.cmake:39 (message):
  Failed to clone repository: 'https://git.example/foo.git'
"""
MESON_DEPENDENCY = """\
Run-time dependency nothere found: NO  (tried pkg-config and cmake)

../meson.build:2:0: ERROR: Dependency "nothere" not found (tried pkg-config and cmake)

A full log can be found at /src/build/meson-logs/meson-log.txt
"""
MESON_LIBRARY = "../meson.build:3:3: ERROR: C shared or static library 'nothere' not found\n"
MESON_PROGRAM = "../meson.build:2:0: ERROR: Program 'cython' not found or not executable\n"
MESON_COMPILER = "../meson.build:1:0: ERROR: Unknown compiler(s): [['gfortran'], ['flang']]\n"
MESON_OWN = "../meson.build:9:2: ERROR: Problem encountered: widget needs a newer kernel\n"
UV_NOTHING = """\
$ uv pip install --python /work/env/bin/python packaging>=99
Using Python 3.11.7 environment at: /work/env
error: No solution found when resolving dependencies
  cause: Because only packaging<=26.4 is available and you require packaging>=99, we can conclude \
that your requirements are unsatisfiable.
"""
UV_OLDER = """\
  \u00d7 No solution found when resolving dependencies:
  \u2570\u2500\u25b6 Because nothere was not found in the package registry and you require nothere
"""
UV_BUILD = """\
error: The build backend returned an error
  cause: Call to `setuptools.build_meta:__legacy__.get_requires_for_build_wheel` failed (exit status: 1)

         [stderr]
         Traceback (most recent call last):
"""
PIP_NOTHING = (
    "ERROR: Could not find a version that satisfies the requirement packaging>=99 (from versions: 26.4)\n"
)
PIP_WEAK = """\
  error: subprocess-exited-with-error

  \u00d7 Getting requirements to build wheel did not run successfully.
  \u2502 exit code: 1
  \u2570\u2500> [21 lines of output]
      Traceback (most recent call last):
        File "<string>", line 2, in <module>
      ModuleNotFoundError: No module named 'numpyx'
      [end of output]
"""
FLAT_LAYOUT = "error: Multiple top-level packages discovered in a flat-layout: ['b', 'a'].\n\nTo avoid\n"
LICENSE = """\
Traceback (most recent call last):
  File "setuptools/config/pyprojecttoml.py", line 61, in validate
    raise ValueError(f"{error}\\n{summary}") from None
ValueError: invalid pyproject.toml config: `project.license`.
configuration error: `project.license` must be valid exactly by one definition (0 matches found):
"""
OUR_HOOK = """\
ERROR: the build backend 'no.such' cannot be loaded: No module named 'no'
Traceback (most recent call last):
  File "/farm/buildfarm/sandbox/inside/hook.py", line 44, in <module>
ModuleNotFoundError: No module named 'no'
"""
PIP_BACKEND = """\
Traceback (most recent call last):
  File "pip/_vendor/pyproject_hooks/_impl.py", line 321, in _call_hook
    raise BackendUnavailable(data.get('traceback', ''))
pip._vendor.pyproject_hooks._impl.BackendUnavailable: Traceback (most recent call last):
"""
SETUP_IMPORT = """\
Traceback (most recent call last):
  File "setup.py", line 2, in <module>
    import numpy
ModuleNotFoundError: No module named 'numpy'
"""
NO_PROGRAM = """\
Traceback (most recent call last):
  File "/opt/python/cp311/lib/python3.11/subprocess.py", line 1950, in _execute_child
    raise child_exception_type(errno_num, err_msg, err_filename)
FileNotFoundError: [Errno 2] No such file or directory: 'cmake'
"""
NO_FILE = NO_PROGRAM.replace("'cmake'", "'data/words.txt'")
URLLIB = """\
Traceback (most recent call last):
  File "/opt/python/cp311/lib/python3.11/socket.py", line 962, in getaddrinfo
socket.gaierror: [Errno -2] Name or service not known

During handling of the above exception, another exception occurred:
"""
PYTEST_COLLECT = """\
_________________________ ERROR collecting t/test_a.py _________________________
ImportError while importing test module '/work/scratch/t/test_a.py'.
Traceback:
t/test_a.py:1: in <module>
    import numpyx
E   ModuleNotFoundError: No module named 'numpyx'
ERROR t/test_a.py
"""
PYTEST_FAILED = """\
>   def test_a(): assert 1 == 2
E   assert 1 == 2

t/test_a.py:1: AssertionError
E   ModuleNotFoundError: of the next test
"""
IMPORT = """\
Traceback (most recent call last):
  File "<string>", line 4, in <module>
ImportError: /work/env/lib/python3.11/site-packages/a.so: undefined symbol: zstd_open
"""
AUDITWHEEL = """\
Traceback (most recent call last):
  File "auditwheel/repair.py", line 92, in repair_wheel
ValueError: Cannot repair wheel, because required library "libzstd.so.1" could not be located
"""
AUDITWHEEL_TAG = (
    'auditwheel: error: cannot repair "a.whl" to "manylinux_2_28_x86_64" ABI because of the presence of '
    "too-recent versioned symbols.\n"
)
TESTS_IN_BUILD = "all is well so far\nexit 3\n"

LOGS = [
    ("build", GCC_HEADER, "missing-header", 3),
    ("build", CLANG_HEADER, "missing-header", 1),
    ("build", GCC_COMPILE, "compile", 2),
    ("build", GCC_NO_SOURCE, "build", 1),
    ("build", GCC_KILLED, "out-of-memory", 2),
    ("build", LD_LIBRARY, "missing-library", 2),
    ("build", LD_SYMBOL, "link", 2),
    ("build", RUSTC, "compile", 1),
    ("build", RUST_LINKER, "missing-library", 5),
    ("build", CARGO_LIBRARY, "missing-library", 7),
    ("build", CARGO_NETWORK, "network-attempted", 4),
    ("build", CARGO_UNSET, "dependency-refused", 6),
    ("build", CARGO_LOCK, "dependency-resolution", 2),
    ("build", GO_UNSET, "dependency-refused", 3),
    ("build", GO_AWAY, "dependency-resolution", 1),
    ("build", GO_SUM, "dependency-resolution", 2),
    (
        "build",
        "main.go:3:8: no required module provides package go.example/x; to add it:\n",
        "dependency-resolution",
        1,
    ),
    ("build", "go: go.example/x@v1.0.0: missing go.sum entry for go.mod file\n", "dependency-resolution", 1),
    ("build", CMAKE_CONFIG, "missing-library", 2),
    ("build", CMAKE_MODULE, "missing-library", 1),
    ("build", CMAKE_OWN, "configure", 1),
    ("build", CMAKE_FETCH, "network-attempted", 2),
    ("build", MESON_DEPENDENCY, "missing-library", 3),
    ("build", MESON_LIBRARY, "missing-library", 1),
    ("build", MESON_PROGRAM, "missing-program", 1),
    ("build", MESON_COMPILER, "missing-program", 1),
    ("build", MESON_OWN, "configure", 1),
    ("deps", UV_NOTHING, "dependency-resolution", 3),
    ("deps", UV_OLDER, "dependency-resolution", 1),
    ("deps", UV_BUILD, "dependency-build", 1),
    ("deps", PIP_NOTHING, "dependency-resolution", 1),
    ("deps", PIP_WEAK, "missing-module", 8),
    ("deps", FLAT_LAYOUT, "metadata", 1),
    ("deps", LICENSE, "metadata", 4),
    ("deps", OUR_HOOK, "backend", 1),
    ("deps", PIP_BACKEND, "backend", 4),
    ("build", SETUP_IMPORT, "missing-module", 4),
    ("build", NO_PROGRAM, "missing-program", 4),
    ("build", NO_FILE, "build", 4),
    ("build", "$ sh -c x\nsh: 1: cmake: not found\n", "missing-program", 2),
    ("build", "bash: line 1: cargo: command not found\n", "missing-program", 1),
    ("build", "make: nosuch: No such file or directory\n", "missing-program", 1),
    ("build", "error: linker `cc` not found\n", "missing-program", 1),
    ("build", URLLIB, "network-attempted", 3),
    ("build", TESTS_IN_BUILD, "build", 2),
    ("test", UV_NOTHING, "dependency-resolution", 3),
    ("test", PYTEST_COLLECT, "import", 6),
    ("test", PYTEST_FAILED, "test", 2),
    ("test", IMPORT, "import", 3),
    ("test", GCC_COMPILE, "test", 2),
    ("repair", AUDITWHEEL, "repair", 3),
    ("repair", AUDITWHEEL_TAG, "repair", 1),
    ("source", "tar: This does not look like a tar archive\n", "source", 1),
]


@pytest.mark.parametrize(("phase", "log", "failure_class", "number"), LOGS)
def test_a_log_tells_what_went_wrong_and_where(phase, log, failure_class, number):
    scanner = FirstError()
    for at, line in enumerate(log.splitlines(), start=101):
        scanner.feed(line, at)

    told = scanner.telling(phase)

    assert (told.failure_class, told.number - 100) == (failure_class, number)
    assert told.line.startswith(log.splitlines()[number - 1].strip()[:200])


def test_what_lies_far_below_a_weak_line_is_not_taken_for_its_reason():
    scanner = FirstError()
    scanner.feed("error: failed to run custom build command for `a`", 1)
    for at in range(2, 200):
        scanner.feed("noise", at)
    scanner.feed("/usr/bin/ld: cannot find -lfoo", 200)

    assert scanner.telling("build").failure_class == "build"


def test_each_class_has_a_cause_and_one_sentence_of_advice():
    listed = AttemptOutcome.model_fields["failure_class"].annotation.__args__[0].__args__

    assert set(FAILURES) == set(listed)
    for failure in FAILURES.values():
        assert failure.next_step.endswith(".")
        assert ". " not in failure.next_step


def test_each_class_stands_in_the_documentation_with_its_cause():
    text = (Path(__file__).parents[2] / "docs" / "builder-images.md").read_text()
    rows = [row.split("|")[1:3] for row in text.split("## Verdicts")[1].splitlines() if row.startswith("| `")]
    told = {name: cause.strip(" `") for names, cause in rows for name in re.findall(r"`([a-z-]+)`", names)}

    assert {name: told.get(name) for name in FAILURES} == {name: one.cause for name, one in FAILURES.items()}
