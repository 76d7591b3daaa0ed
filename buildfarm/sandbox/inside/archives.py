"""Source archives that are the same bytes whenever they are made: what a backend packs tells its own time."""

from __future__ import annotations

import gzip
import os
import tarfile


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
