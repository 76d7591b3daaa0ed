"""Each row is a wheel that is right but for one thing, with the rule that has to refuse it."""

import base64
import hashlib
import io
import struct
import time
import zlib
from dataclasses import replace

import pytest

from buildfarm.errors import InvalidInput
from buildfarm.wheels.rules import Report
from buildfarm.wheels.stream import Budget
from buildfarm.wheels.zipwalk import agree_with_zipfile


def part(make, name, data=b"x", **how):
    """A wheel with one more member."""
    return make.wheel(more=(make.Part(name, data, **how),))


def metadata(make, text="", *, base=None):
    return make.wheel(metadata=(make.METADATA if base is None else base) + text)


def places(make, path):
    return make.wheel(files={path: b"x"})


def record(make, change):
    """A wheel whose RECORD was changed after it was made."""
    parts = make.parts()
    parts[-1] = replace(parts[-1], data=change(parts[-1].data))
    return made(make, make.zip_bytes(parts))


def made(make, data, filename="demo-1.0-py3-none-any.whl"):
    return replace(make.wheel(), data=data, filename=filename)


def other_hash(data):
    """RECORD with a sha512 of other bytes of the same size for its first member."""
    wrong = base64.urlsafe_b64encode(hashlib.sha512(b"x = 2\n").digest()).rstrip(b"=")
    return b"demo/__init__.py,sha512=" + wrong + b",6\n" + data.split(b"\n", 1)[1]


def named(make, filename):
    return make.wheel(filename=filename)


def zip64_end(make, *, locator=True, off=0, disks=1, where=0):
    """The same wheel with a Zip64 end record and locator before the end."""
    data = make.wheel().data
    cut = data.rindex(b"PK\5\6")
    _disk, _start, here, total, size, offset, _comment = struct.unpack("<4H2IH", data[cut + 4 :])
    wide = b"PK\6\6" + struct.pack("<Q2H2I4Q", 44, 45, 45, 0, 0, here, total, size, offset + off)
    pointer = b"PK\6\7" + struct.pack("<IQI", 0, cut + where, disks) if locator else b""
    return made(make, data[:cut] + wide + pointer + data[cut:])


def listed_twice(make):
    """The directory's last entry, RECORD's, stands there once more."""
    data = make.wheel().data
    cut, entry = data.rindex(b"PK\5\6"), data.rindex(b"PK\1\2")
    return made(make, data[:cut] + data[entry:cut] + data[cut:])


def overlapped(make):
    parts = make.parts()
    parts[1] = replace(parts[1], offset=0)
    return made(make, make.zip_bytes(parts))


def hidden_inside(make):
    """A directory entry that points into the bytes of another member (a quoted overlap)."""
    parts = make.parts()
    parts[1] = replace(parts[1], offset=40)
    return made(make, make.zip_bytes(parts))


def deflated_more(make):
    data = b"x" * 100
    raw = zlib.compressobj(9, zlib.DEFLATED, -15)
    blob = raw.compress(data) + raw.flush() + b"tail"
    return part(make, "demo/x.py", data, packed=blob)


def entry_points(text):
    return {"files": {"demo-1.0.dist-info/entry_points.txt": text.encode()}}


def wheel_file(rest):
    return {"wheel": f"Wheel-Version: 1.0\n{rest}"}


CORE = "Metadata-Version: 2.4\nName: demo\nVersion: 1.0\n"
UTF8 = 0x800
ZIP64 = struct.pack("<HH", 1, 0)
RENAME = struct.pack("<HHBI", 0x7075, 5, 1, 0)
DUP = "demo/__init__.py"

HOSTILE = [
    ("N-01", "slash", lambda m: named(m, "../demo-1.0-py3-none-any.whl")),
    ("N-01", "backslash", lambda m: named(m, "..\\demo-1.0-py3-none-any.whl")),
    ("N-01", "newline", lambda m: named(m, "demo-1.0-py3-none-any\n.whl")),
    ("N-01", "NUL", lambda m: named(m, "demo-1.0-py3-none-any\0.whl")),
    ("N-01", "letters beyond ASCII", lambda m: named(m, "d\u0435mo-1.0-py3-none-any.whl")),
    ("N-01", "very long", lambda m: named(m, f"{'d' * 300}-1.0-py3-none-any.whl")),
    ("N-01", "hidden", lambda m: named(m, ".demo-1.0-py3-none-any.whl")),
    ("N-01", "empty", lambda m: replace(m.wheel(), filename="")),
    ("N-02", "egg", lambda m: named(m, "demo-1.0-py3.11.egg")),
    ("N-02", "upper case", lambda m: named(m, "demo-1.0-py3-none-any.WHL")),
    ("N-02", "zip sdist", lambda m: named(m, "demo-1.0.zip")),
    ("N-03", "name ends with a sign", lambda m: named(m, "demo_-1.0-py3-none-any.whl")),
    ("N-04", "too few parts", lambda m: named(m, "demo-1.0-any.whl")),
    ("N-04", "version", lambda m: named(m, "demo-one-py3-none-any.whl")),
    ("N-04", "name not normalised", lambda m: named(m, "Demo-1.0-py3-none-any.whl")),
    ("N-04", "version not canonical", lambda m: named(m, "demo-1.0.RC1-py3-none-any.whl")),
    ("N-04", "tags without end", lambda m: named(m, f"demo-1.0-{'a.' * 39}a-{'a.' * 39}a-any.whl")),
    ("N-07", "unknown platform", lambda m: m.wheel(tag="cp311-cp311-amiga_68k")),
    ("N-07", "this machine", lambda m: m.wheel(tag="cp311-cp311-linux_x86_64")),
    ("Z-01", "empty", lambda m: made(m, b"")),
    ("Z-01", "random bytes", lambda m: made(m, bytes(range(256)) * 9)),
    ("Z-01", "empty archive", lambda m: made(m, m.zip_bytes([]))),
    ("Z-01", "prefix", lambda m: m.wheel(archive={"before": b"#!/bin/sh\n"})),
    ("Z-01", "trailer", lambda m: m.wheel(archive={"after": b"x"})),
    ("Z-01", "two archives", lambda m: made(m, m.wheel().data * 2)),
    ("Z-01", "comment", lambda m: m.wheel(archive={"comment": b"hi"})),
    ("Z-01", "member comment", lambda m: part(m, "demo/x.py", comment=b"hi")),
    ("Z-01", "cut in the end record", lambda m: made(m, m.wheel().data[:-3])),
    ("Z-02", "gap before the directory", lambda m: m.wheel(archive={"between": b"gap!"})),
    ("Z-02", "Zip64 end without locator", lambda m: zip64_end(m, locator=False)),
    ("Z-02", "directory in another order", lambda m: m.wheel(archive={"reverse": True})),
    ("Z-03", "name", lambda m: part(m, "demo/x.py", central={"name": "demo/y.py"})),
    ("Z-03", "size", lambda m: part(m, "demo/x.py", central={"size": 9})),
    ("Z-03", "CRC", lambda m: part(m, "demo/x.py", central={"crc": 9})),
    ("Z-03", "method", lambda m: part(m, "demo/x.py", method=0, central={"method": 8, "packed": b"x"})),
    ("Z-03", "flags", lambda m: part(m, "demo/x.py", central={"flags": UTF8})),
    ("Z-03", "not in the directory", lambda m: part(m, "demo/x.py", hidden=True)),
    ("Z-03", "listed twice in the directory", listed_twice),
    ("Z-03", "stored with two sizes", lambda m: part(m, "demo/x.py", method=0, size=2)),
    ("Z-04", "directory size 0", lambda m: m.wheel(archive={"end": {"size": 0}})),
    ("Z-04", "directory offset", lambda m: m.wheel(archive={"end": {"offset": 1}})),
    ("Z-04", "count", lambda m: m.wheel(archive={"end": {"total": 1}})),
    ("Z-04", "count on disk", lambda m: m.wheel(archive={"end": {"here": 1}})),
    ("Z-04", "Zip64 end lies", lambda m: zip64_end(m, off=1)),
    ("Z-04", "Zip64 locator points elsewhere", lambda m: zip64_end(m, where=1)),
    ("Z-05", "encrypted", lambda m: part(m, "demo/x.py", flags=1)),
    ("Z-05", "streamed", lambda m: part(m, "demo/x.py", flags=8)),
    ("Z-05", "patched", lambda m: part(m, "demo/x.py", flags=32)),
    ("Z-05", "bzip2", lambda m: part(m, "demo/x.py", method=12)),
    ("Z-06", "same name", lambda m: part(m, DUP, b"x = 1\n")),
    ("Z-06", "same after folding", lambda m: part(m, "demo/__INIT__.py")),
    ("Z-06", "same after NFC", lambda m: m.wheel(files={"demo/é.py": b"", "demo/e\u0301.py": b""})),
    ("Z-06", "file and folder", lambda m: part(m, "demo")),
    ("Z-07", "climbs", lambda m: part(m, "demo/../../x.py")),
    ("Z-07", "absolute", lambda m: part(m, "/etc/passwd")),
    ("Z-07", "drive", lambda m: part(m, "C:x.py")),
    ("Z-07", "backslash", lambda m: part(m, "demo\\x.py")),
    ("Z-07", "NUL", lambda m: part(m, "demo/x.py\0.txt")),
    ("Z-07", "line end", lambda m: part(m, "demo/x\n.py")),
    ("Z-07", "device", lambda m: part(m, "demo/NUL.txt")),
    ("Z-07", "trailing dot", lambda m: part(m, "demo/x.py.")),
    ("Z-07", "not UTF-8", lambda m: part(m, "x", raw_name=b"demo/\xff.py", flags=UTF8)),
    ("Z-07", "neither ASCII nor marked", lambda m: part(m, "demo/é.py", flags=0)),
    ("Z-07", "empty", lambda m: part(m, "")),
    ("Z-08", "renaming field", lambda m: part(m, "demo/x.py", extra=RENAME)),
    ("Z-08", "Zip64 twice", lambda m: part(m, "demo/x.py", extra=ZIP64 * 2)),
    ("Z-08", "Zip64 that says otherwise",
     lambda m: part(m, "demo/x.py", method=0, extra=struct.pack("<HHQQ", 1, 16, 1, 2))),
    ("Z-08", "cut", lambda m: part(m, "demo/x.py", extra=b"\1\2\xff\0")),
    ("Z-09", "symbolic link", lambda m: part(m, "demo/x.py", b"/etc/passwd", mode=0o120777)),
    ("Z-09", "device", lambda m: part(m, "demo/x.py", mode=0o060644)),
    ("Z-09", "setuid", lambda m: part(m, "demo/x.py", mode=0o104755)),
    ("Z-09", "folder with content", lambda m: part(m, "demo/", mode=0o040755)),
    ("Z-09", "empty folder", lambda m: part(m, "empty/", b"", mode=0o040755)),
    ("Z-11", "one offset twice", overlapped),
    ("Z-11", "offset into a member", hidden_inside),
    ("Z-12", "disk in the end record", lambda m: m.wheel(archive={"end": {"disk": 1}})),
    ("Z-12", "disk of a member", lambda m: part(m, "demo/x.py", disk=1)),
    ("Z-12", "disks in the Zip64 locator", lambda m: zip64_end(m, disks=2)),
    ("Z-13", "CRC", lambda m: part(m, "demo/x.py", crc=1)),
    ("Z-13", "shorter than said", lambda m: part(m, "demo/x.py", size=2)),
    ("Z-13", "longer than said", lambda m: part(m, "demo/x.py", b"xxx", size=1)),
    ("Z-13", "deflate without end", lambda m: part(m, "demo/x.py", b"", packed=b"\0\0\0\xff\xff")),
    ("Z-13", "not deflate", lambda m: part(m, "demo/x.py", packed=b"\xff\xff\xff")),
    ("Z-13", "bytes after deflate", deflated_more),
    ("W-01", "no dist-info", lambda m: made(m, m.zip_bytes([m.Part("demo.py")]))),
    ("W-01", "two", lambda m: m.wheel(files={"other-1.0.dist-info/METADATA": b""})),
    ("W-01", "of another project", lambda m: m.wheel(info="other-1.0.dist-info")),
    ("W-01", "of another version", lambda m: m.wheel(info="demo-1.1.dist-info")),
    ("W-02", "no WHEEL", lambda m: m.wheel(drop=("WHEEL",))),
    ("W-02", "no METADATA", lambda m: m.wheel(drop=("METADATA",))),
    ("W-02", "no RECORD", lambda m: m.wheel(drop=("RECORD",))),
    ("W-02", "WHEEL is huge", lambda m: m.wheel(**wheel_file("Tag: x\n" * 10_000))),
    ("W-02", "WHEEL of version 2", lambda m: m.wheel(wheel="Wheel-Version: 2.0\nRoot-Is-Purelib: true\n")),
    ("W-02", "WHEEL without version", lambda m: m.wheel(wheel="Tag: py3-none-any\n")),
    ("W-02", "purity unclear", lambda m: m.wheel(**wheel_file("Root-Is-Purelib: so\nTag: py3-none-any\n"))),
    ("W-03", "another tag", lambda m: m.wheel(filename="demo-1.0-py2.py3-none-any.whl")),
    ("W-03", "no tag", lambda m: m.wheel(**wheel_file("Root-Is-Purelib: true\n"))),
    ("W-03", "broken", lambda m: m.wheel(**wheel_file("Root-Is-Purelib: true\nTag: a\n"))),
    ("W-04", "for a platform, no code", lambda m: m.wheel(tag="cp311-cp311-manylinux_2_17_x86_64")),
    ("W-04", "pure with a module",
     lambda m: m.wheel(tag="py3-none-manylinux_2_17_x86_64", pure=True, files={"x.pyd": b"MZ"})),
    ("W-06", "not UTF-8", lambda m: record(m, lambda data: data + b"\xff,,\n")),
    ("W-06", "two columns", lambda m: record(m, lambda data: data + b"a,b\n")),
    ("W-06", "listed twice", lambda m: record(m, lambda data: data + data.splitlines(keepends=True)[0])),
    ("W-06", "backslash", lambda m: record(m, lambda data: data.replace(b"demo/__", b"demo\\__"))),
    ("W-06", "open quote", lambda m: record(m, lambda data: data + b'"a,,')),
    ("W-07", "unlisted member", lambda m: record(m, lambda data: data.split(b"\n", 1)[1])),
    ("W-08", "ghost", lambda m: record(m, lambda data: data + m.hashed("demo/y.py", b"").encode())),
    ("W-09", "hash", lambda m: record(m, lambda data: data.replace(b"sha256=", b"sha256=A", 1))),
    ("W-09", "size", lambda m: record(m, lambda data: data.replace(b",6\n", b",7\n"))),
    ("W-09", "no hash", lambda m: record(m, lambda data: b"demo/__init__.py,,\n" + data.split(b"\n", 1)[1])),
    ("W-09", "weak hash", lambda m: record(m, lambda data: data.replace(b"sha256=", b"md5=", 1))),
    ("W-09", "sha512", lambda m: record(m, other_hash)),
    ("W-09", "RECORD of itself", lambda m: record(m, lambda data: data.replace(b"RECORD,,", b"RECORD,,1"))),
    ("W-10", "not readable", lambda m: m.wheel(**entry_points("a = b"))),
    ("W-10", "script climbs", lambda m: m.wheel(**entry_points("[console_scripts]\n../../evil = demo:x"))),
    ("W-10", "script is code", lambda m: m.wheel(**entry_points("[gui_scripts]\nx = demo:x();evil"))),
    ("W-10", "script without object", lambda m: m.wheel(**entry_points("[gui_scripts]\nx = demo"))),
    ("W-11", ".pth", lambda m: places(m, "evil.pth")),
    ("W-11", ".pth in purelib", lambda m: places(m, "demo-1.0.data/purelib/evil.pth")),
    ("W-11", ".pth through data",
     lambda m: places(m, "demo-1.0.data/data/lib/python3.11/site-packages/evil.pth")),
    ("W-11", ".start", lambda m: places(m, "evil.start")),
    ("W-11", "sitecustomize", lambda m: places(m, "sitecustomize.py")),
    ("W-12", "unknown scheme", lambda m: places(m, "demo-1.0.data/stdlib/os.py")),
    ("W-12", "data of another project", lambda m: places(m, "other-1.0.data/scripts/x")),
    ("W-12", "replaces the interpreter", lambda m: places(m, "demo-1.0.data/scripts/python3")),
    ("W-12", "replaces it through data", lambda m: places(m, "demo-1.0.data/data/bin/python")),
    ("W-13", "licence is not there", lambda m: metadata(m, "License-File: LICENSE\n")),
    ("E-01", "ELF for any platform", lambda m: m.wheel(pure=False, files={"demo/x.so": b"\x7fELF"})),
    ("E-01", "DLL for any platform", lambda m: m.wheel(pure=False, files={"demo/x.pyd": b"MZ"})),
    ("E-01", "Mach-O for any platform", lambda m: m.wheel(pure=False, files={"demo/x": b"\xcf\xfa\xed\xfe"})),
    ("E-02", "not an ELF after all",
     lambda m: m.wheel(tag="cp311-cp311-manylinux_2_17_x86_64", files={"x.so": b"\x7fELF"})),
    ("M-01", "not UTF-8", lambda m: m.wheel(metadata=m.METADATA.encode() + b"Author: \xff\n")),
    ("M-01", "byte order mark", lambda m: m.wheel(metadata=b"\xef\xbb\xbf" + m.METADATA.encode())),
    ("M-01", "NUL", lambda m: metadata(m, "Author: \0\n")),
    ("M-01", "too long", lambda m: metadata(m, f"Author: {'a' * (1 << 20)}\n")),
    ("M-01", "names without end", lambda m: metadata(m, "".join(f"x{n}: a\n" for n in range(90_000)))),
    ("M-01", "content type without end",
     lambda m: metadata(m, f"Description-Content-Type: text/plain{'; a=b' * 90_000}\n")),
    ("M-01", "unknown field", lambda m: metadata(m, "Colour: blue\n")),
    ("M-01", "summary of two lines", lambda m: metadata(m, base=f"{CORE}Summary: a\n  b\n")),
    ("M-01", "no name", lambda m: metadata(m, base="Metadata-Version: 2.1\nVersion: 1.0\n")),
    ("M-01", "a number without end",
     lambda m: metadata(m, base=f"Metadata-Version: 2.1\nName: demo\nVersion: {'1' * 5000}\n")),
    ("M-02", "two names", lambda m: metadata(m, "Name: demo\n")),
    ("M-02", "two descriptions", lambda m: metadata(m, "Description: a\n\nb\n")),
    ("M-03", "unknown version", lambda m: metadata(m, base=CORE.replace("2.4", "9.9"))),
    ("M-03", "newer field",
     lambda m: metadata(m, base=CORE.replace("2.4", "2.1") + "License-Expression: MIT\n")),
    ("M-04", "another project", lambda m: metadata(m, base=CORE.replace("demo", "other"))),
    ("M-04", "another version", lambda m: metadata(m, base=CORE.replace("1.0", "1.1"))),
    ("M-04", "the version spelled otherwise", lambda m: metadata(m, base=CORE.replace("1.0", "1"))),
    ("M-05", "not a requirement", lambda m: metadata(m, "Requires-Dist: a b c\n")),
    ("M-05", "from a URL", lambda m: metadata(m, "Requires-Dist: a @ https://host.example/a.whl\n")),
    ("M-06", "not a specifier", lambda m: metadata(m, base=m.METADATA.replace(">=3.9", "three"))),
    ("M-07", "both kinds of licence", lambda m: metadata(m, "License: MIT\nLicense-Expression: MIT\n")),
    ("M-07", "unknown licence", lambda m: metadata(m, "License-Expression: Mine-1.0\n")),
    ("M-08", "dynamic name", lambda m: metadata(m, "Dynamic: Name\n")),
    ("M-08", "dynamic nonsense", lambda m: metadata(m, "Dynamic: Colour\n")),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "make_it"), [pytest.param(r, f, id=f"{r} {i}") for r, i, f in HOSTILE])
def test_a_wheel_with_one_defect_is_refused_by_the_rule_for_it(make, rule, make_it):
    error = make.refusal(make_it(make))
    assert error.facts["rule"] == rule, str(error)
    assert error.code == f"file.{rule.lower()}"
    assert error.message.startswith(f"{rule}: ")
    assert error.message.isascii()


def test_a_wheel_without_defect_is_accepted(make):
    facts = make.check(make.wheel())
    assert (facts.kind, facts.project, facts.version, facts.findings) == ("wheel", "demo", "1.0", [])


HARMLESS = {
    "nothing more": {},
    "a name in UTF-8": {"files": {"demo/é.py": b""}},
    "a script": {"files": {"demo-1.0.data/scripts/demo": b""}},
    "a script launcher": {"files": {"demo/launcher.exe": b"MZ"}},
    "a Java class": {"files": {"demo/Main.class": bytes.fromhex("cafebabe")}},
    "a .pth that nothing reads": {"files": {"demo/evil.pth": b""}},
    "an entry point": entry_points("[console_scripts]\nd-1.x = demo.a:b.c [e]"),
    "a dynamic field": {"metadata": f"{CORE.replace('demo', 'Demo')}Dynamic: License-File\n\nText\n"},
}


@pytest.mark.parametrize("more", HARMLESS.values(), ids=HARMLESS)
def test_what_real_wheels_hold_is_accepted(make, more):
    assert make.check(make.wheel(**more)).findings == []


def test_folders_extra_fields_zip64_and_other_hashes_are_accepted(make):
    folder = make.Part("demo/", b"", mode=0o040755, method=0)
    stamp = struct.pack("<HHBI", 0x5455, 5, 1, 0)
    parts = make.parts(more=(folder, make.Part("demo/x.py", b"x", extra=stamp)))
    parts[-1] = replace(
        parts[-1],
        data=parts[-1].data.replace(
            make.hashed("demo/x.py", b"x").encode(), make.hashed("demo/x.py", b"x", "sha512").encode()
        ),
    )
    assert make.check(made(make, make.zip_bytes(parts))).findings == []
    assert make.check(zip64_end(make)).findings == []


def test_zip64_sizes_that_say_the_header_once_more_are_accepted(make):
    again = struct.pack("<HHQQ", 1, 16, 1, 1)
    assert make.check(part(make, "demo/x.py", method=0, extra=again, central={"extra": b""})).findings == []


def test_zip64_sizes_that_are_right_are_read(make):
    wide = struct.pack("<HHQQ", 1, 16, 1, 1)
    member = make.Part("demo/x.py", b"x", method=0, extra=wide)
    data = bytearray(make.zip_bytes(make.parts(more=(member,))))
    for signature, at in ((b"PK\3\4", 18), (b"PK\1\2", 20)):
        place = data.index(signature) + at
        data[place : place + 8] = b"\xff" * 8
    assert make.check(made(make, bytes(data))).findings == []


OURS = {
    "N-04": {"filename": "Demo-1.0-py3-none-any.whl", "info": "Demo-1.0.dist-info"},
    "N-07": {"tag": "cp311-cp311-amiga_68k", "files": {"demo/x": b"\x7fELF"}},
    "Z-06": {"files": {"demo/A.py": b"", "demo/a.py": b""}},
    "Z-07": {"files": {"demo/aux.py": b""}},
    "W-04": {"tag": "cp311-cp311-manylinux_2_17_x86_64"},
    "W-10": entry_points("a = b"),
    "W-11": {"files": {"demo.pth": b""}},
    "W-13": {"metadata": f"{CORE}License-File: LICENSE\n"},
    "E-01": {"pure": False, "files": {"demo/x.so": b"\x7fELF"}},
    "E-02": {"tag": "cp311-cp311-manylinux_2_17_x86_64", "files": {"x.so": b"\x7fELF"}},
    "M-01": {"metadata": f"{CORE}Colour: blue\n"},
    "M-02": {"metadata": f"{CORE}Summary: a\nSummary: b\n"},
    "M-03": {"metadata": f"{CORE.replace('2.4', '9.9')}"},
    "M-04": {"metadata": f"{CORE.replace('1.0', '1.0.0')}"},
    "M-05": {"metadata": f"{CORE}Requires-Dist: a @ file:///a\n"},
    "M-06": {"metadata": f"{CORE}Requires-Python: three\n"},
    "M-07": {"metadata": f"{CORE}License-Expression: Mine-1.0\n"},
    "M-08": {"metadata": f"{CORE}Dynamic: Colour\n"},
}


@pytest.mark.parametrize("rule", OURS)
def test_what_is_refused_of_ours_is_a_finding_of_a_mirrored_file_or_where_it_is_waived(make, rule):
    wheel = make.wheel(**OURS[rule])
    assert make.refusal(wheel, origin="upload").facts["rule"] == rule
    assert make.refusal(wheel, origin="build").facts["rule"] == rule
    mirrored = make.check(wheel, origin="mirror")
    assert {finding.rule for finding in mirrored.findings} == {rule}
    assert make.check(wheel, waived=frozenset({rule})) == mirrored


def test_a_rule_that_always_refuses_refuses_mirrored_files_and_cannot_be_waived(make):
    wheel = record(make, lambda data: data.replace(b"sha256=", b"sha256=A", 1))
    assert make.refusal(wheel, origin="mirror").facts["rule"] == "W-09"
    assert make.refusal(wheel, waived=frozenset({"W-09"})).code == "settings.invalid"


LOCAL = {
    "filename": "demo-1.0+a-py3-none-any.whl",
    "info": "demo-1.0+a.dist-info",
    "metadata": CORE.replace("1.0", "1.0+a"),
}


@pytest.mark.parametrize(
    ("how", "rule"),
    [
        (LOCAL, "N-06"),
        ({"metadata": f"{CORE.replace('2.4', '2.1')}License-File: a\n"}, "M-03"),
        ({"metadata": f"{CORE}Provides-Extra: A_b\n"}, "M-09"),
        ({"metadata": f"{CORE.replace('2.4', '2.5')}Import-Name: other\n"}, "M-09"),
        ({"metadata": f"{CORE.replace('2.4', '2.99')}"}, "M-03"),
    ],
)
def test_a_small_thing_is_a_finding_and_no_refusal(make, how, rule):
    assert [finding.rule for finding in make.check(make.wheel(**how)).findings] == [rule]


def bomb(make, members=1, size=80 << 20):
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = b"".join(deflate.compress(b"\0" * (1 << 20)) for _ in range(size >> 20)) + deflate.flush()
    crc = zlib.crc32(b"\0" * size)
    names = [f"demo/{index}.bin" for index in range(members)]
    return make.wheel(
        record="", more=tuple(make.Part(name, packed=packed, size=size, crc=crc) for name in names)
    )


@pytest.mark.parametrize(
    "make_it",
    [
        pytest.param(bomb, id="one member of 80 MiB"),
        pytest.param(lambda m: bomb(m, members=9, size=1 << 24), id="many members"),
        pytest.param(
            lambda m: m.wheel(record="", more=tuple(m.Part(f"d/{n}", method=0) for n in range(50_001))),
            id="50,001 members",
        ),
    ],
)
def test_a_bomb_is_refused_early(make, make_it):
    wheel = make_it(make)
    started = time.process_time()
    assert make.refusal(wheel).facts["rule"] == "Z-10"
    assert time.process_time() - started < 5


def test_a_check_that_takes_too_long_is_ended():
    budget = Budget(100, Report(), seconds=0)
    with pytest.raises(InvalidInput, match="V-01"):
        budget.spend(0)


def test_a_reader_that_finds_other_members_than_ours_is_listened_to(make):
    with pytest.raises(InvalidInput, match="Z-04"):
        agree_with_zipfile(io.BytesIO(make.wheel().data), [], Report())


def test_findings_are_bounded(make):
    files = {f"{number}.pth": b"" for number in range(300)}
    assert len(make.check(make.wheel(files=files), waived=frozenset({"W-11"})).findings) == 200
