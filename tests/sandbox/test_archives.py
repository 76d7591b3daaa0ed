"""Source archives: the same members, and the same bytes whoever packed them when."""

import gzip
import io
import tarfile

from hypothesis import given
from hypothesis import strategies as st

from buildfarm.sandbox.inside.archives import normalise

EPOCH = 1_700_000_000
NAMES = st.lists(st.text("abcé-._", min_size=1, max_size=120), min_size=1, max_size=6, unique=True)


def pack(path, members, *, mtime, owner):
    with (
        path.open("wb") as raw,
        gzip.GzipFile(f"{owner}.tar", "wb", mtime=mtime, fileobj=raw) as packed,
        tarfile.open(fileobj=packed, mode="w") as archive,
    ):
        for name, data in members.items():
            member = tarfile.TarInfo(f"p-1/{name}")
            member.size, member.mtime, member.uname, member.uid = len(data), mtime, owner, len(owner)
            member.mode = 0o755
            archive.addfile(member, io.BytesIO(data))


def members_of(path):
    with tarfile.open(path) as archive:
        return [(one.name, one.mode, one.size, archive.extractfile(one).read()) for one in archive]


@given(names=NAMES, later=st.floats(min_value=0, max_value=1e8))
def test_two_that_differ_in_time_and_owner_alone_become_the_same(tmp_path_factory, names, later):
    folder = tmp_path_factory.mktemp("archives")
    members = {name: name.encode() * 3 for name in names}
    pack(folder / "a.tar.gz", members, mtime=EPOCH + 5, owner="a")
    pack(folder / "b.tar.gz", members, mtime=EPOCH + 6 + later, owner="somebody")
    before = members_of(folder / "a.tar.gz")
    for name in ("a", "b"):
        normalise(str(folder / f"{name}.tar.gz"), EPOCH)
    assert (folder / "a.tar.gz").read_bytes() == (folder / "b.tar.gz").read_bytes()
    assert members_of(folder / "a.tar.gz") == before
    assert sorted(path.name for path in folder.iterdir()) == ["a.tar.gz", "b.tar.gz"]


def test_links_and_folders_stay_and_old_members_keep_their_time(tmp_path):
    path = tmp_path / "c.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name, kind in (("p-1", tarfile.DIRTYPE), ("p-1/link", tarfile.SYMTYPE)):
            member = tarfile.TarInfo(name)
            member.type, member.linkname, member.mtime = kind, "target" if kind == tarfile.SYMTYPE else "", 5
            archive.addfile(member)
    normalise(str(path), EPOCH)
    with tarfile.open(path) as archive:
        found = [(one.name, one.type, one.linkname, one.mtime) for one in archive]
    assert found == [("p-1", tarfile.DIRTYPE, "", 5), ("p-1/link", tarfile.SYMTYPE, "target", 5)]


def test_what_is_no_archive_is_left_alone(tmp_path, capsys):
    path = tmp_path / "d.tar.gz"
    path.write_bytes(b"no archive")
    normalise(str(path), EPOCH)
    assert path.read_bytes() == b"no archive"
    assert "is left as the backend made it" in capsys.readouterr().out
    assert [one.name for one in tmp_path.iterdir()] == ["d.tar.gz"]
