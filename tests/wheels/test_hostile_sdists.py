"""Each row is an sdist that is right but for one thing, with the rule that has to refuse it."""

import gzip
import io
import tarfile
import time
import zlib
from dataclasses import replace

import pytest

TOP = "demo-1.0"
CORE = "Metadata-Version: 2.4\nName: demo\nVersion: 1.0\n"


def data(make, change):
    """An sdist whose bytes were changed after it was made."""
    made = make.sdist()
    return replace(made, data=change(made.data))


def tar(make, change):
    """An sdist whose tar bytes were changed before they were packed."""
    return make.sdist(change=change)


def more(make, name, content=b"", **fields):
    return make.sdist(make.info(name, content, **fields))


def link(make, target, kind=tarfile.SYMTYPE):
    return more(make, f"{TOP}/link", type=kind, linkname=target)


def header(name, size, kind):
    """A raw tar header with a right checksum."""
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    return info.tobuf(tarfile.USTAR_FORMAT)


def sized(field):
    """A raw tar header with any bytes for its size."""
    block = bytearray(header(f"{TOP}/x", 0, b"0"))
    block[124:136] = field
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def pax_line(key, value):
    body = f" {key}={value}\n".encode()
    length = len(body) + 2
    return str(length if length > 9 else length - 1).encode() + body


def pax(line, kind=tarfile.XHDTYPE):
    return header("pax", len(line), kind) + line.ljust(512, b"\0")


def first(extended):
    """Put `extended` before the first member."""
    return lambda plain: extended + plain


def described(make, text):
    return make.sdist(metadata=text)


def nested(make):
    members = make.sdist_members()
    members[-1] = make.info(f"{TOP}/demo.egg-info/PKG-INFO", CORE.encode())
    return replace(make.sdist(), data=gzip.compress(make.tar(members)))


def without_end(plain):
    bare = plain.rstrip(b"\0")
    return bare.ljust(-(-len(bare) // 512) * 512, b"\0")


def polyglot(make):
    """A zip archive's end record inside the gzip stream's last stored block."""
    stored = io.BytesIO()
    with gzip.GzipFile(fileobj=stored, mode="wb", compresslevel=0, mtime=0, filename="") as out:
        out.write(make.tar(make.sdist_members(make.info(f"{TOP}/end", b"PK\5\6" + b"\0" * 18))))
    return replace(make.sdist(), data=stored.getvalue())


def with_gzip_name(make, name):
    made = make.sdist()
    packed = bytearray(made.data)
    packed[3] |= 8
    return replace(made, data=bytes(packed[:10]) + name + b"\0" + bytes(packed[10:]))


LONG = f"{TOP}/" + "d/" * 60 + "x.py"

HOSTILE = [
    ("N-05", "name not normalised", lambda m: m.sdist(filename="Demo-1.0.tar.gz")),
    ("N-05", "version not canonical", lambda m: m.sdist(filename="demo-1.0.RC1.tar.gz")),
    ("N-05", "no version", lambda m: m.sdist(filename="demo.tar.gz")),
    ("S-01", "empty", lambda m: data(m, lambda _: b"")),
    ("S-01", "random", lambda m: data(m, lambda _: bytes(range(256)))),
    ("S-01", "plain tar", lambda m: data(m, gzip.decompress)),
    ("S-01", "cut", lambda m: data(m, lambda d: d[:-12])),
    ("S-01", "CRC", lambda m: data(m, lambda d: d[:-8] + b"\0\0\0\0" + d[-4:])),
    ("S-01", "trailer", lambda m: data(m, lambda d: d + b"x")),
    ("S-01", "second member", lambda m: data(m, lambda d: d + gzip.compress(b""))),
    ("S-01", "path in the header", lambda m: with_gzip_name(m, b"../x.tar")),
    ("S-02", "nothing in it", lambda m: data(m, lambda _: gzip.compress(b""))),
    ("S-02", "no end", lambda m: tar(m, without_end)),
    ("S-02", "bytes after the end", lambda m: tar(m, lambda t: t + header(f"{TOP}/x", 0, b"0"))),
    ("S-02", "checksum", lambda m: tar(m, lambda t: b"e" + t[1:])),
    ("S-02", "old format", lambda m: tar(m, lambda t: t[:257] + b"\0" * 8 + t[265:])),
    ("S-02", "size in another base", lambda m: tar(m, first(sized(b"\x80" + b"\0" * 10 + b"\1")))),
    ("S-02", "file named as a folder", lambda m: tar(m, first(header(f"{TOP}/x/", 0, b"0")))),
    ("S-03", "pyproject.toml too large", lambda m: m.sdist(pyproject=b"#" * (1 << 21))),
    ("S-03", "another folder", lambda m: m.sdist(top="demo")),
    ("S-03", "two folders", lambda m: more(m, "other/x")),
    ("S-03", "PKG-INFO deeper", nested),
    ("S-04", "link out", lambda m: link(m, "/etc/passwd")),
    ("S-04", "link climbs out", lambda m: link(m, "../../x")),
    ("S-04", "hard link out", lambda m: link(m, "../x", tarfile.LNKTYPE)),
    ("S-04", "member behind a link", lambda m: m.sdist(
        m.info(f"{TOP}/a", type=tarfile.SYMTYPE, linkname="b"), m.info(f"{TOP}/a/x"))),
    ("S-04", "character device", lambda m: more(m, f"{TOP}/x", type=tarfile.CHRTYPE)),
    ("S-04", "pipe", lambda m: more(m, f"{TOP}/x", type=tarfile.FIFOTYPE)),
    ("S-04", "sparse (pax)", lambda m: tar(m, first(pax(pax_line("GNU.sparse.size", "9"))))),
    ("S-04", "folder with content", lambda m: tar(m, first(header(f"{TOP}/x", 1, b"5") + bytes(512)))),
    ("S-05", "not UTF-8", lambda m: tar(m, first(header(f"{TOP}/\udcff", 0, b"0")))),
    ("S-05", "climbs", lambda m: more(m, f"{TOP}/../../x")),
    ("S-05", "absolute", lambda m: more(m, "/etc/passwd")),
    ("S-05", "backslash", lambda m: more(m, f"{TOP}\\x")),
    ("S-05", "twice", lambda m: more(m, f"{TOP}/demo.py", b"evil")),
    ("S-06", "size overridden", lambda m: tar(m, first(pax(pax_line("size", "999"))))),
    ("S-06", "global path", lambda m: tar(m, first(pax(pax_line("path", "x"), tarfile.XGLTYPE)))),
    ("S-06", "value twice", lambda m: tar(m, first(pax(pax_line("path", "x") * 2)))),
    ("S-06", "malformed", lambda m: tar(m, first(pax(b"99 path=x\n")))),
    ("S-06", "stacked", lambda m: tar(m, first(pax(pax_line("path", "x")) * 2))),
    ("S-06", "huge", lambda m: tar(m, first(header("pax", 1 << 30, tarfile.XHDTYPE)))),
    ("S-07", "pyproject.toml", lambda m: m.sdist(pyproject=b"= 1")),
    ("S-07", "backend is a number", lambda m: m.sdist(pyproject=b"[build-system]\nbuild-backend = 1")),
    ("S-07", "odd requirement", lambda m: m.sdist(pyproject=b"[build-system]\nrequires = ['a b']")),
    ("S-07", "backend outside", lambda m: m.sdist(pyproject=b"[build-system]\nbackend-path = ['../x']")),
    ("S-08", "licence is not there", lambda m: described(m, f"{CORE}License-File: LICENSE\n")),
    ("S-09", "a zip as well", polyglot),
    ("M-04", "another project", lambda m: described(m, CORE.replace("demo", "other"))),
    ("M-04", "another version", lambda m: described(m, CORE.replace("1.0", "1.1"))),
    ("M-03", "no metadata at all", lambda m: described(m, "")),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "make_it"), [pytest.param(r, f, id=f"{r} {i}") for r, i, f in HOSTILE])
def test_an_sdist_with_one_defect_is_refused_by_the_rule_for_it(make, rule, make_it):
    error = make.refusal(make_it(make))
    assert error.facts["rule"] == rule, str(error)
    assert error.code == f"file.{rule.lower()}"
    assert error.message.isascii()


@pytest.mark.parametrize("tar_format", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_an_sdist_of_every_usual_tar_format_is_accepted(make, tar_format):
    folder = make.info(f"{TOP}/docs/", type=tarfile.DIRTYPE)
    inside = make.info(f"{TOP}/docs/read.me", type=tarfile.SYMTYPE, linkname="../demo.py")
    facts = make.check(make.sdist(folder, inside, make.info(LONG, b"y" * 700), tar_format=tar_format))
    assert (facts.kind, facts.project, facts.tags, facts.is_native) == ("sdist", "demo", [], False)
    assert facts.findings == []
    assert facts.metadata.decode().startswith("Metadata-Version: 2.4\nName: demo")


def test_names_beyond_ascii_times_and_global_comments_are_accepted(make):
    made = make.sdist(
        make.info(f"{TOP}/é.py", mtime=1.5), change=first(pax(pax_line("comment", "abc"), tarfile.XGLTYPE))
    )
    assert make.check(made).findings == []


def test_old_metadata_is_a_finding(make):
    findings = make.check(described(make, "Metadata-Version: 2.1\nName: demo\nVersion: 1.0\n")).findings
    assert [finding.rule for finding in findings] == ["S-07"]


@pytest.mark.parametrize(
    ("rule", "make_it"),
    [
        ("S-03", lambda m: m.sdist(top="De.mo-1.0")),
        ("S-05", lambda m: more(m, f"{TOP}/demo.py", b"x = 2")),
        ("S-07", lambda m: m.sdist(pyproject=b"= 1")),
        ("S-08", lambda m: described(m, f"{CORE}License-File: LICENSE\n")),
    ],
)
def test_what_is_refused_of_ours_is_a_finding_of_a_mirrored_file(make, rule, make_it):
    assert make.refusal(make_it(make)).facts["rule"] == rule
    assert [finding.rule for finding in make.check(make_it(make), origin="mirror").findings] == [rule]


def test_a_second_pkg_info_is_refused_wherever_it_comes_from(make):
    made = more(make, f"{TOP}/PKG-INFO", CORE.encode())
    assert make.refusal(made, origin="mirror").facts["rule"] == "S-05"


def test_a_folder_that_is_only_spelled_otherwise_is_a_finding(make):
    assert [finding.rule for finding in make.check(make.sdist(top="Demo-1.0")).findings] == ["S-03"]


def test_a_path_in_the_gzip_header_is_a_finding(make):
    assert [finding.rule for finding in make.check(with_gzip_name(make, b"dist/x.tar")).findings] == ["S-01"]


def test_a_gzip_bomb_is_refused_early(make):
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    packed = packer.compress(header(f"{TOP}/x", 1 << 32, b"0"))
    packed += b"".join(packer.compress(bytes(1 << 20)) for _ in range(80)) + packer.flush()
    started = time.process_time()
    assert make.refusal(replace(make.sdist(), data=packed)).facts["rule"] == "Z-10"
    assert time.process_time() - started < 5
