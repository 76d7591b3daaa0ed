"""Source archives: the same members, the same bytes whoever packed them when.

Wheels with a build number, and with a local version.
"""

import base64
import gzip
import hashlib
import io
import tarfile
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildfarm.sandbox.inside.archives import localise, normalise, number

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


def packed_wheel(folder, name, members):
    """A wheel whose members have a time, a mode and a packing of their own."""
    path = folder / name
    with zipfile.ZipFile(path, "w") as archive:
        for place, (member, data) in enumerate(members.items()):
            about = zipfile.ZipInfo(member, (2021, 2, 1 + place, 3, 4, 6))
            about.external_attr = (0o100644 + place % 2 * 0o111) << 16
            about.compress_type = (zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED)[place % 2]
            archive.writestr(about, data)
    return path


INFO = "p-1.dist-info"
WHEEL = {
    "p.py": b"x = 1\n",
    "odd, name.txt": b"",
    f"{INFO}/WHEEL": b"Wheel-Version: 1.0\nBuild: 7local\nTag: py3-none-any\n",
    f"{INFO}/METADATA": b"Name: p\n",
    f"{INFO}/RECORD": f'p.py,sha256=aaa,6\n"odd, name.txt",sha256=bbb,0\n{INFO}/WHEEL,sha256=ccc,9\n'
    f"{INFO}/METADATA,sha256=ddd,8\n{INFO}/RECORD,,\n".encode(),
}


def about(archive):
    return [(one.filename, one.date_time, one.external_attr, one.compress_type) for one in archive.infolist()]


@pytest.mark.parametrize("name", ["p-1-py3-none-any.whl", "p-1-7local-py3-none-any.whl"])
def test_a_number_changes_the_name_and_what_tells_of_it(tmp_path, name):
    old = packed_wheel(tmp_path, name, WHEEL)
    with zipfile.ZipFile(old) as archive:
        before = about(archive)
    new = number(str(old), 12)
    assert [one.name for one in tmp_path.iterdir()] == ["p-1-12-py3-none-any.whl"]
    with zipfile.ZipFile(new) as archive:
        assert about(archive) == before
        assert archive.testzip() is None
        said = archive.read(f"{INFO}/WHEEL")
        assert said == b"Wheel-Version: 1.0\nTag: py3-none-any\nBuild: 12\n"
        digest = base64.urlsafe_b64encode(hashlib.sha256(said).digest()).rstrip(b"=").decode()
        was = f"{INFO}/WHEEL,sha256=ccc,9"
        now = WHEEL[f"{INFO}/RECORD"].decode().replace(was, f"{INFO}/WHEEL,sha256={digest},{len(said)}")
        assert archive.read(f"{INFO}/RECORD").decode() == now
        for member in ("p.py", "odd, name.txt", f"{INFO}/METADATA"):
            assert archive.read(member) == WHEEL[member]


def test_what_is_no_wheel_gets_no_number(tmp_path):
    broken = tmp_path / "p-1-py3-none-any.whl"
    broken.write_bytes(b"no archive")
    empty = packed_wheel(tmp_path, "p-2-py3-none-any.whl", {"p.py": b""})
    for path in (broken, empty, packed_wheel(tmp_path, "p.whl", WHEEL)):
        with pytest.raises(RuntimeError, match=r"p.*\.whl"):
            number(str(path), 1)


LOCAL = "p-1+pr17.g0123"
METADATA = b"Metadata-Version: 2.1\r\nName: p\r\nversion: 1\r\n\r\nVersion: 9 is the next one.\n"


def test_a_local_version_changes_the_name_the_folders_and_what_tells_of_it(tmp_path):
    members = WHEEL | {
        f"{INFO}/METADATA": METADATA,
        "p-1.data/scripts/run": b"#!python\n",
        "p-1.datas/x": b"",
        f"{INFO}/RECORD": WHEEL[f"{INFO}/RECORD"] + b"p-1.data/scripts/run,sha256=eee,9\np-1.datas/x,,\n",
    }
    old = packed_wheel(tmp_path, "p-1-py3-none-any.whl", members)
    with zipfile.ZipFile(old) as archive:
        before = about(archive)
    new = localise(str(old), "pr17.g0123")
    assert [one.name for one in tmp_path.iterdir()] == [f"{LOCAL}-py3-none-any.whl"]

    def moved(name):
        return name.replace(f"{INFO}/", f"{LOCAL}.dist-info/").replace("p-1.data/", f"{LOCAL}.data/")

    with zipfile.ZipFile(new) as archive:
        assert about(archive) == [(moved(name), *more) for name, *more in before]
        assert archive.testzip() is None
        said = archive.read(f"{LOCAL}.dist-info/METADATA")
        assert said == METADATA.replace(b"version: 1", b"version: 1+pr17.g0123")
        digest = base64.urlsafe_b64encode(hashlib.sha256(said).digest()).rstrip(b"=").decode()
        told = f"{INFO}/METADATA,sha256={digest},{len(said)}"
        now = members[f"{INFO}/RECORD"].decode().replace(f"{INFO}/METADATA,sha256=ddd,8", told)
        assert archive.read(f"{LOCAL}.dist-info/RECORD").decode() == moved(now)
        for member in ("p.py", "odd, name.txt", f"{INFO}/WHEEL", "p-1.data/scripts/run", "p-1.datas/x"):
            assert archive.read(moved(member)) == members[member]
    with zipfile.ZipFile(number(new, 3)) as archive:
        assert f"{LOCAL}.dist-info/WHEEL" in archive.namelist()
    assert [one.name for one in tmp_path.iterdir()] == [f"{LOCAL}-3-py3-none-any.whl"]


def test_a_local_version_of_the_project_s_own_stays(tmp_path):
    path = packed_wheel(tmp_path, "p-1.1.dev3+g1a2b-py3-none-any.whl", WHEEL)
    before = path.read_bytes()
    assert localise(str(path), "g0123") == str(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("metadata", [b"Name: p\n\nVersion: 1\n", b""])
def test_a_wheel_that_states_no_version_gets_no_local_one(tmp_path, metadata):
    path = packed_wheel(tmp_path, "p-1-py3-none-any.whl", WHEEL | {f"{INFO}/METADATA": metadata})
    with pytest.raises(RuntimeError, match=r"p-1-py3-none-any.whl cannot be made p-1\+g0-py3-none-any.whl"):
        localise(str(path), "g0")
