"""What a wheel may put where: entry points, start-up files, `.data` folders (W-10 to W-12)."""

from __future__ import annotations

import configparser
import re
from collections.abc import Iterable

from buildfarm.wheels.rules import Report, shown

_SCHEMES = ("purelib", "platlib", "scripts", "headers", "data")
_SCRIPT_GROUPS = ("console_scripts", "gui_scripts")
_SCRIPT_NAME = re.compile(r"[\w.-]*\w[\w.-]*", re.ASCII)
_OBJECT = re.compile(r"\w+(?:\.\w+)*\s*:\s*\w+(?:\.\w+)*\s*(?:\[[^\[\]]*\])?")
_INTERPRETER = re.compile(r"(?:python|pypy)[w\d.]*(?:\.exe)?", re.IGNORECASE)
_AT_START = re.compile(r"(?:site|user)customize\.py|.*\.(?:pth|start)")


def check_entry_points(data: bytes, entry: str, report: Report) -> None:
    """Refuse entry points that installers would turn into odd scripts.

    Raises:
        InvalidInput: W-10.
    """
    parser = configparser.RawConfigParser(delimiters=("=",), default_section="\0")
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    try:
        parser.read_string(data.decode("utf-8"))
    except (UnicodeDecodeError, configparser.Error):
        report.judge("W-10", "entry_points.txt cannot be read.", entry)
        return
    for group in _SCRIPT_GROUPS:
        for name, value in parser.items(group) if parser.has_section(group) else ():
            if not _SCRIPT_NAME.fullmatch(name):
                report.refuse("W-10", f"the script name {shown(name)} is not a plain file name.", entry)
            if not _OBJECT.fullmatch(value):
                report.judge(
                    "W-10", f"the script {shown(name)} does not name an object as module:name.", entry
                )


def check_places(paths: Iterable[str], stem: str, report: Report) -> None:
    """Refuse members that land where they change how Python itself starts.

    Raises:
        InvalidInput: W-11, W-12.
    """
    for path in paths:
        parts = path.split("/")
        scheme = "purelib"
        if parts[0].endswith(".data"):
            if parts[0] != f"{stem}.data" or len(parts) < 3 or parts[1] not in _SCHEMES:
                report.refuse("W-12", "a .data folder has another name, or holds what has no place.", path)
            scheme, parts = parts[1], parts[2:]
        in_scripts = scheme == "scripts" or (scheme == "data" and parts[0].lower() in ("bin", "scripts"))
        if in_scripts and _INTERPRETER.fullmatch(parts[-1]):
            report.refuse("W-12", "a script would replace the interpreter.", path)
        in_site = len(parts) == 1 if scheme in ("purelib", "platlib") else parts[-2:-1] == ["site-packages"]
        if in_site and _AT_START.fullmatch(parts[-1]):
            report.judge("W-11", "the file would run whenever the interpreter starts.", path)
