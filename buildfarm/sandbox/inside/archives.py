"""What becomes of the archives that a backend packed, before anybody sees them.

Source archives are made the same bytes whenever they are packed; wheels get the build number of a rebuild.
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

    All other members stay as they are, in their order and with their times. Source: the binary
    distribution format, file name convention and `Build` of WHEEL.

    Raises:
        RuntimeError: it is no wheel that could be read.
    """
    folder, name = os.path.split(path)
    parts = name.removesuffix(".whl").split("-")
    if len(parts) not in (5, 6):
        raise RuntimeError(f"{name} is no name of a wheel")
    numbered = os.path.join(folder, "-".join([*parts[:2], str(build), *parts[-3:]]) + ".whl")
    part = f"{numbered}.part"
    try:
        with zipfile.ZipFile(path) as old, zipfile.ZipFile(part, "w") as new:
            about = next(one for one in old.namelist() if one.endswith(".dist-info/WHEEL"))
            listing = about.removesuffix("WHEEL") + "RECORD"
            said = _with_build(old.read(about), build)
            changed = {about: said, listing: _recorded(old.read(listing), about, said)}
            for member in old.infolist():
                new.writestr(member, changed.get(member.filename, old.read(member)))
    except (zipfile.BadZipFile, StopIteration, KeyError, ValueError, csv.Error, OSError) as error:
        raise RuntimeError(f"{name} cannot be given a build number: {error!r}") from error
    os.unlink(path)
    os.replace(part, numbered)
    print(f"{name} is now {os.path.basename(numbered)}", flush=True)
    return numbered


def _with_build(wheel: bytes, build: int) -> bytes:
    lines = [line for line in wheel.decode().splitlines() if line and not line.lower().startswith("build:")]
    return "\n".join([*lines, f"Build: {build}", ""]).encode()


def _recorded(record: bytes, member: str, data: bytes) -> bytes:
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
    rows = [
        [member, f"sha256={digest}", str(len(data))] if row and row[0] == member else row
        for row in csv.reader(io.StringIO(record.decode()))
    ]
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(rows)
    return out.getvalue().encode()
