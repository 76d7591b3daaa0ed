"""What becomes of the archives that a backend packed, before anybody sees them.

Source archives are made the same bytes whenever they are packed; wheels get the build number of a rebuild,
and the local version of a dev build. Source: the binary distribution format (file name convention, the
.dist-info and .data folders, `Build` of WHEEL) and PEP 440.
"""

from __future__ import annotations

import base64
import csv
import gzip
import hashlib
import io
import os
import tarfile
import zipfile
from collections.abc import Callable, Mapping


def normalise(path: str, epoch: int) -> None:
    """Write a `.tar.gz` again with the members it has, in their order, but with no trace of who made it when.

    No member is younger than `epoch` (seconds since 1970); owners are root, and the compression knows no
    time. An archive that cannot be read is left as it is: the farm will say what is wrong with it.
    """
    part = f"{path}.part"
    try:
        with (
            tarfile.open(path, "r:gz") as old,
            open(part, "wb") as raw,
            gzip.GzipFile("", "wb", mtime=0, fileobj=raw) as packed,
            tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as new,
        ):
            for member in old:
                member.mtime = min(int(member.mtime), epoch)
                member.uid = member.gid = 0
                member.uname = member.gname = ""
                member.pax_headers = {}
                new.addfile(member, old.extractfile(member) if member.isreg() else None)
    except (tarfile.TarError, EOFError, ValueError, OSError) as error:
        print(f"{os.path.basename(path)} is left as the backend made it: {error}", flush=True)
        if os.path.exists(part):
            os.unlink(part)
        return
    os.replace(part, path)


def number(path: str, build: int) -> str:
    """Give a wheel a build number in its name, in WHEEL and so in RECORD; the path that it has then.

    All other members stay as they are, in their order and with their times.

    Raises:
        RuntimeError: it is no wheel that could be read.
    """
    parts = _parts(path)
    edits = {"WHEEL": lambda text: _with_build(text, build)}
    return _again(path, [*parts[:2], str(build), *parts[-3:]], edits)


def localise(path: str, label: str) -> str:
    """Give a wheel a local version in its name, its folders and METADATA; the path that it has then.

    One whose project gave it a local version stays as it is, and so do all other members of one that gets it.

    Raises:
        RuntimeError: it is no wheel that could be read.
    """
    name, version, *rest = _parts(path)
    if "+" in version:
        return path
    edits = {"METADATA": lambda text: _with_local(text, label)}
    return _again(path, [name, f"{version}+{label}", *rest], edits, label)


def _parts(path: str) -> list[str]:
    name = os.path.basename(path)
    parts = name.removesuffix(".whl").split("-")
    if len(parts) not in (5, 6):
        raise RuntimeError(f"{name} is no name of a wheel")
    return parts


def _again(
    path: str, parts: list[str], edits: Mapping[str, Callable[[bytes], bytes]], label: str = ""
) -> str:
    """Write a wheel again under another name: `edits` of files in .dist-info, a `label` for its folders."""
    name, new_name = os.path.basename(path), "-".join(parts) + ".whl"
    renamed = os.path.join(os.path.dirname(path), new_name)
    part = f"{renamed}.part"
    try:
        with zipfile.ZipFile(path) as old, zipfile.ZipFile(part, "w") as new:
            info = next(one.split("/")[0] for one in old.namelist() if one.endswith(".dist-info/WHEEL"))
            stem = info.removesuffix(".dist-info")
            folders = {f"{stem}{kind}": f"{stem}+{label}{kind}" for kind in (".dist-info", ".data") if label}
            changed = {f"{info}/{file}": edit(old.read(f"{info}/{file}")) for file, edit in edits.items()}
            record = f"{info}/RECORD"
            changed[record] = _recorded(old.read(record), changed, folders)
            for member in old.infolist():
                data = changed.get(member.filename) or old.read(member)
                member.filename = _moved(member.filename, folders)
                new.writestr(member, data)
    except (zipfile.BadZipFile, StopIteration, KeyError, ValueError, csv.Error, OSError) as error:
        raise RuntimeError(f"{name} cannot be made {new_name}: {error!r}") from error
    os.unlink(path)
    os.replace(part, renamed)
    print(f"{name} is now {new_name}", flush=True)
    return renamed


def _moved(member: str, folders: Mapping[str, str]) -> str:
    top, slash, rest = member.partition("/")
    return folders.get(top, top) + slash + rest


def _with_build(wheel: bytes, build: int) -> bytes:
    lines = [line for line in wheel.decode().splitlines() if line and not line.lower().startswith("build:")]
    return "\n".join([*lines, f"Build: {build}", ""]).encode()


def _with_local(metadata: bytes, label: str) -> bytes:
    lines = metadata.splitlines(keepends=True)
    for at, line in enumerate(lines):
        if not line.strip():
            break
        if line.lower().startswith(b"version:"):
            stated = line.rstrip()
            lines[at] = stated + b"+" + label.encode() + line[len(stated) :]
            return b"".join(lines)
    raise ValueError("METADATA has no Version")


def _recorded(record: bytes, changed: Mapping[str, bytes], folders: Mapping[str, str]) -> bytes:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    for row in csv.reader(io.StringIO(record.decode())):
        if row and row[0] in changed:
            data = changed[row[0]]
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            row[1:] = [f"sha256={digest}", str(len(data))]
        writer.writerow([_moved(row[0], folders), *row[1:]] if row else row)
    return out.getvalue().encode()
