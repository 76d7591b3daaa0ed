"""`make real-files`: what the validator says of the files that the world downloads most.

For each project of `real_files.txt` the newest wheel for this machine (or for any) and the newest source
archive are fetched from the index that pip is configured for, kept in `.cache/real-files`, and checked as
an upload and as a mirrored file. Nothing of them is run. Exit 1 when one is refused as a mirrored
file: uploads are held to more.
"""

from __future__ import annotations

import collections
import hashlib
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import requests
from packaging.tags import sys_tags
from packaging.utils import (
    InvalidSdistFilename,
    InvalidWheelFilename,
    parse_sdist_filename,
    parse_wheel_filename,
)
from packaging.version import Version

from buildfarm.config import pip_index_url
from buildfarm.errors import FarmError
from buildfarm.wheels.facts import Expectation, Origin
from buildfarm.wheels.validate import validate_in_sandbox

LARGEST = 120 * 2**20
ACCEPT = {"Accept": "application/vnd.pypi.simple.v1+json"}
NAMES = Path(__file__).with_suffix(".txt")
FOLDER = Path(".cache/real-files")
TAGS = frozenset(sys_tags())


def newest(root: str, project: str) -> list[tuple[str, str, str]]:
    """URL, file name and SHA-256 of a project's newest usable wheel and source archive."""
    page = requests.get(f"{root}/{project}/", headers=ACCEPT, timeout=60)
    page.raise_for_status()
    best: dict[str, tuple[Version, dict[str, Any]]] = {}
    for file in page.json()["files"]:
        found = _kind(file["filename"])
        if found is None or file["yanked"] or file["size"] > LARGEST or found[1].is_prerelease:
            continue
        kind, version = found
        if kind not in best or version > best[kind][0]:
            best[kind] = version, file
    return [
        (urljoin(page.url, file["url"]), file["filename"], file["hashes"]["sha256"])
        for _version, file in best.values()
    ]


def _kind(filename: str) -> tuple[str, Version] | None:
    try:
        if filename.endswith(".whl"):
            _name, version, _build, tags = parse_wheel_filename(filename)
            return ("wheel", version) if tags & TAGS else None
        if filename.endswith(".tar.gz"):
            return "sdist", parse_sdist_filename(filename)[1]
    except (InvalidWheelFilename, InvalidSdistFilename):
        pass
    return None


def fetch(root: str, project: str) -> list[Path]:
    """The project's files, downloaded where they are not there yet."""
    paths = []
    for url, filename, sha256 in newest(root, project):
        path = FOLDER / filename
        if not path.exists():
            body = requests.get(url, timeout=300)
            body.raise_for_status()
            if hashlib.sha256(body.content).hexdigest() != sha256:
                sys.exit(f"{filename} is not what the index said")
            path.write_bytes(body.content)
        paths.append(path)
    return paths


def judge(path: Path, origin: Origin) -> str:
    """`accepted`, `findings RULE...` or `refused RULE: sentence (entry)`."""
    try:
        facts = validate_in_sandbox(path, Expectation(path.name, None, None, 2**30, origin))
    except FarmError as refused:
        entry = refused.facts.get("entry")
        return f"refused {refused.message}" + (f" ({entry})" if entry else "")
    rules = sorted({finding.rule for finding in facts.findings})
    return " ".join(["findings", *rules]) if rules else "accepted"


def main() -> None:
    """Fetch, check, print one line for each file that is not plainly accepted, and the sums."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    root = pip_index_url()
    with ThreadPoolExecutor(4) as pool:
        fetched = pool.map(partial(fetch, root), NAMES.read_text().split())
        paths = [path for found in fetched for path in found]
    refused = False
    origins: tuple[Origin, ...] = ("upload", "mirror")
    for origin in origins:
        sums: collections.Counter[str] = collections.Counter()
        rules: collections.Counter[str] = collections.Counter()
        started = time.monotonic()
        for path in paths:
            verdict = judge(path, origin)
            kind = "wheel" if path.suffix == ".whl" else "sdist"
            sums[f"{kind} {verdict.split()[0]}"] += 1
            rules.update(verdict.split()[1:] if verdict.startswith("findings") else [])
            if verdict.startswith("refused"):
                refused = refused or origin == "mirror"
                print(f"{origin}: {path.name}: {verdict}")
        seconds = time.monotonic() - started
        print(f"{origin}: {len(paths)} files, {dict(sums)}, findings {dict(rules)}, {seconds:.0f} s")
    sys.exit(1 if refused else 0)


if __name__ == "__main__":
    main()
