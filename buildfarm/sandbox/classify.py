"""From lines of a log to a class of failure, purely.

A rule reads one line. Many an error line only says that another one tells why (`collect2: error`,
`error: failed to run custom build command`): such a line is weak, and a strong one below it decides.
`tests/sandbox/test_classify.py` has what the tools print.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from buildfarm.sandbox.spec import FailureClass, Phase

_Rules = Mapping[FailureClass, re.Pattern[str]]


def _any(*patterns: str) -> re.Pattern[str]:
    return re.compile("|".join(patterns))


#: The first rule, in this order, that finds something in a line says what it is.
_STRONG: _Rules = {
    "dependency-refused": _any("This farm has no (?:crates registry|Go module proxy);"),  # ours
    "network-attempted": _any(
        "Network is unreachable",
        "Temporary failure in name resolution",
        "Could not resolve host",
        "Name or service not known",
        "failed to lookup address information",
    ),
    "out-of-memory": _any(
        "Killed signal terminated program",  # gcc
        "[Cc]annot allocate memory",
        "signal: 9, SIGKILL",  # cargo
        "out of memory allocating",
        "LLVM ERROR: out of memory",
    ),
    "dependency-build": _any(
        "[Ff]ailed to (?:download and )?build `",  # uv
        "The build backend returned an error",
        "Failed building wheel for ",  # pip
        "Failed to build installable wheels",
    ),
    "dependency-resolution": _any(
        "No solution found when resolving",  # uv
        "was not found in the package registry",
        "Could not find a version that satisfies",  # pip
        "No matching distribution found",
        "ResolutionImpossible",
        "no matching package named `",  # cargo
        "failed to select a version",
        "checksum for `.*` changed between lock files",
        "the lock file .* needs to be updated but --locked",
        "^verifying .*: checksum mismatch$",  # go
        r"missing go\.sum entry",
        "no required module provides package",
    ),
    "missing-header": _any(
        r"fatal error: \S+(?<!\.c)(?<!\.cc)(?<!\.cpp)(?<!\.cxx): No such file or directory",  # gcc
        "fatal error: '[^']+' file not found",  # clang
    ),
    "missing-library": _any(
        "cannot find -l",  # ld
        "unable to find library -l",  # lld
        r"Dependency \"?[\w.+-]+\"? (?:\(.*\) )?not found",  # meson
        "shared or static library '.*' not found",
        r"Could NOT find \w+ ",  # CMake
        "find a package configuration file provided by",
        "No package '.*' found",  # pkg-config
        "was not found in the pkg-config search path",
        "[Tt]he system library `.*` required by crate",
        "Could not find directory of OpenSSL",
    ),
    "missing-program": _any(
        r"^\S*sh: (?:line )?(?:\d+: )?\S+: (?:command )?not found$",
        r"^make(?:\[\d+\])?: [\w.+-]+: No such file or directory$",
        r"No such file or directory: '[\w+-]+'$",  # subprocess
        r"command '\S+' failed: No such file or directory",  # distutils
        r"linker `\S+` not found",
        r"Unknown compiler\(s\)",  # meson
        "Program '?.+?'? not found or not executable",
        "(?:CMake|Ninja)NotFoundError",  # scikit-build-core
        r"No CMAKE_\w+_COMPILER could be found",
        "can't find Rust compiler",  # setuptools-rust
        "Rust package manager, is not installed",  # maturin
    ),
    "backend": _any(
        "the build backend '.*' cannot be loaded",  # ours
        r"the backend's \w+ named no file",
        "BackendUnavailable",
    ),
    "missing-module": _any("(?:ModuleNotFound|Import)Error: No module named"),
    "metadata": _any(
        r"pyproject\.toml cannot be read",  # ours
        r"invalid pyproject\.toml config",  # setuptools
        "configuration error: `",
        "InvalidConfigError",
        "Multiple top-level (?:packages|modules) discovered",
        "error in .+ setup command",
        "unable to detect version for",  # setuptools-scm
        "TOMLDecodeError",
        "Config(?:uration)?Error: ",  # flit, pdm, meson-python
        "Poetry configuration is invalid",
        "Unable to determine which files to ship",  # hatchling
        "Readme file does not exist",
        "InvalidVersion: ",
    ),
    "link": _any(
        "undefined reference to ",
        "multiple definition of ",
        "undefined symbol: ",
    ),
    "compile": _any(
        r"^\S+?:\d+(?::\d+)?: (?:fatal )?error: ",  # gcc, clang
        r"^error\[E\d+\]",  # rustc
        "^error: expected ",
        r"Cython\.Compiler\.Errors\.CompileError",
    ),
}
#: What a line that leaves the reason to others is, when they do not tell.
_WEAK: _Rules = {
    "configure": _any(
        "^CMake Error", r"meson\.build:\d+:\d+: ERROR: ", "^configure: error: ", "CMake configuration failed"
    ),
    "dependency-resolution": _any(
        "error: failed to (?:get|download|load source for) ",  # cargo
        r": reading http://\S+: \d{3} ",  # go
    ),
    "link": _any(r"ld returned \d+ exit status", "error: linking with `", "linker command failed"),
    "compile": _any(
        "error: could not compile `", r"error: command '\S+' failed with exit code", "error: aborting due to"
    ),
    "build": _any(
        "error: failed to run custom build command",  # cargo
        "subprocess-exited-with-error",  # pip
        "metadata-generation-failed",
    ),
}
_IN_TEST: frozenset[FailureClass] = frozenset({"dependency-build", "dependency-resolution", "out-of-memory"})
_NOT_IMPORTED = re.compile(r"(?:ModuleNotFound|Import)Error: ")
_OTHERWISE: dict[Phase, FailureClass] = {
    "image": "engine",
    "source": "source",
    "repair": "repair",
    "test": "test",
    "upload": "farm",
}


def classify(phase: Phase, telling: Sequence[str], before: Sequence[str] = ()) -> tuple[FailureClass, int]:
    """What went wrong in a phase that ended badly, and which line says so.

    Args:
        phase: where it ended.
        telling: the first telling line and what was printed after it, without control sequences.
        before: what was printed right before it.

    Returns:
        The class, and the index of the line in `telling`; a negative one counts from the end of `before`.
    """
    first = telling[0] if telling else ""
    if phase == "test":
        if _NOT_IMPORTED.search(first):
            return "import", 0
        found = _strong(first)
        return (found if found in _IN_TEST else "test"), 0
    if phase in _OTHERWISE:
        return _OTHERWISE[phase], 0
    if found := _strong(first):
        return found, 0
    weak = _first_of(_WEAK, first)
    for index, line in enumerate(telling[1:], start=1) if weak else ():
        if found := _strong(line):
            return found, index
    for back, line in enumerate(reversed(before), start=1):
        if _STRONG["network-attempted"].search(line):
            return "network-attempted", -back
    return weak or "build", 0


def _strong(line: str) -> FailureClass | None:
    return _first_of(_STRONG, line)


def _first_of(rules: _Rules, line: str) -> FailureClass | None:
    return next((name for name, pattern in rules.items() if pattern.search(line)), None)
