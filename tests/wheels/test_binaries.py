"""Machine code in wheels: made with the machine's compiler, tagged rightly and wrongly."""

import platform
import shutil
import struct

import pytest

pytestmark = [
    pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc to make ELF files with"),
    pytest.mark.skipif(platform.machine() != "x86_64", reason="the tables below are for x86_64"),
]

GLIBC = "cp311-cp311-manylinux_2_17_x86_64"
MUSL = "cp311-cp311-musllinux_1_2_x86_64"
MODULE = "demo/_fast.cpython-311-x86_64-linux-gnu.so"

IN_TEXT = '__asm__(".text\\n.quad one"); int one(void) { return 1; }'


def native(make, elf, *, tag=GLIBC, name=MODULE, **how):
    return make.wheel(tag=tag, files={name: elf}, **how)


@pytest.mark.parametrize(
    ("tag", "name", "needs"),
    [
        (GLIBC, MODULE, "libc.so.6"),
        ("cp311-cp311-manylinux2014_x86_64.manylinux_2_17_x86_64", MODULE, "libc.so.6"),
        (GLIBC, "demo/_fast.so", "libc.so.6"),
        (GLIBC, "demo/_fast.abi3.so", "libc.so.6"),
        ("cp39-abi3-manylinux_2_17_x86_64", "demo/_fast.abi3.so", "libc.so.6"),
        ("cp313-cp313t-manylinux_2_17_x86_64", "demo/_fast.cpython-313t-x86_64-linux-gnu.so", "libc.so.6"),
        (
            "pp311-pypy311_pp73-manylinux_2_17_x86_64",
            "demo/_fast.pypy311-pp73-x86_64-linux-gnu.so",
            "libc.so.6",
        ),
        ("py3-none-manylinux_2_17_x86_64", "demo/libfast.so", "libc.so.6"),
        ("py3-none-manylinux_2_17_x86_64.musllinux_1_1_x86_64", "demo/tool", None),
        (MUSL, "demo/_fast.cpython-311-x86_64-linux-musl.so", "libc.musl-x86_64.so.1"),
        (MUSL, "demo/_fast.cpython-311-x86_64-linux-musl.so", "libc.so"),
    ],
)
def test_a_module_that_keeps_its_tag_is_accepted(make, compile_c, tag, name, needs):
    facts = make.check(native(make, compile_c(needs=needs), tag=tag, name=name))
    assert facts.is_native
    assert facts.findings == []


@pytest.mark.parametrize(
    ("rule", "tag", "name", "options", "how"),
    [
        pytest.param("E-01", "py3-none-any", "demo/_fast.so", (), {}, id="any platform"),
        pytest.param("E-02", "cp311-cp311-manylinux_2_17_aarch64", "demo/_fast.so", (), {}, id="aarch64"),
        pytest.param("E-02", "cp311-cp311-manylinux_2_17_i686", "demo/_fast.so", (), {}, id="i686"),
        pytest.param("E-03", GLIBC, MODULE, (), {"needs": "libc.musl-x86_64.so.1"}, id="musl as manylinux"),
        pytest.param("E-03", GLIBC, MODULE, (), {"needs": "libc.so"}, id="musl by its other name"),
        pytest.param("E-03", MUSL, "demo/_fast.so", (), {}, id="glibc as musllinux"),
        pytest.param("E-04", GLIBC, "demo/_fast.cpython-312-x86_64-linux-gnu.so", (), {}, id="other Python"),
        pytest.param("E-04", GLIBC, "demo/_fast.cpython-311t-x86_64-linux-gnu.so", (), {}, id="other ABI"),
        pytest.param(
            "E-04", GLIBC, "demo/_fast.cpython-311-aarch64-linux-gnu.so", (), {}, id="other machine"
        ),
        pytest.param("E-04", GLIBC, "demo/_fast.cpython-311-x86_64-linux-musl.so", (), {}, id="other libc"),
        pytest.param("E-04", "cp311-abi3-manylinux_2_17_x86_64", MODULE, (), {}, id="abi3 it is not"),
        pytest.param("E-05", GLIBC, MODULE, ("-Wl,-rpath,/tmp/build",), {}, id="search path"),
        pytest.param("E-05", GLIBC, MODULE, ("-Wl,-z,execstack",), {}, id="executable stack"),
        pytest.param("E-05", GLIBC, MODULE, ("-Wl,-z,notext",), {"code": IN_TEXT}, id="text relocation"),
    ],
)
def test_a_module_that_breaks_its_tag_is_refused(make, compile_c, rule, tag, name, options, how):
    wheel = native(make, compile_c(*options, **how), tag=tag, name=name, pure=False)
    assert make.refusal(wheel).facts["rule"] == rule


def test_a_search_path_inside_the_wheel_is_accepted(make, compile_c):
    elf = compile_c("-Wl,-rpath,$ORIGIN/../demo.libs:$ORIGIN")
    assert make.check(native(make, elf)).findings == []


def versioned(compile_c, tmp_path):
    """A module that needs a symbol of GLIBC 2.34 from a libc made for the purpose."""
    script = tmp_path / "libc.map"
    script.write_text("GLIBC_2.34 { global: nothing; };\n")
    return compile_c(needs="libc.so.6", code="extern int nothing(void); int one(void) { return nothing(); }",
                     version_script=script)  # fmt: skip


@pytest.mark.parametrize(
    ("tag", "accepted"), [("2_17", False), ("2_33", False), ("2_34", True), ("2_39", True)]
)
def test_a_newer_glibc_than_the_tag_promises_is_refused(make, compile_c, tmp_path, tag, accepted):
    wheel = native(make, versioned(compile_c, tmp_path), tag=f"cp311-cp311-manylinux_{tag}_x86_64")
    if accepted:
        assert make.check(wheel).findings == []
    else:
        error = make.refusal(wheel)
        assert (error.facts["rule"], error.facts["entry"]) == ("E-03", MODULE)
        assert "needs glibc 2.34" in error.message


def test_a_linux_wheel_without_machine_code_is_refused_even_where_the_tag_is_allowed(make, compile_c):
    waived = frozenset({"N-07"})
    tag = "cp311-cp311-linux_x86_64"
    assert make.refusal(make.wheel(tag=tag), waived=waived).facts["rule"] == "W-04"
    facts = make.check(native(make, compile_c(), tag=tag), waived=waived)
    assert [finding.rule for finding in facts.findings] == ["N-07"]


def test_forged_section_headers_cost_nothing(make, compile_c):
    elf = bytearray(compile_c())
    struct.pack_into("<Q", elf, 0x28, 64)  # e_shoff
    struct.pack_into("<3H", elf, 0x3A, 0, 0, 0)  # e_shentsize, e_shnum, e_shstrndx: sections without end
    assert make.check(native(make, bytes(elf))).findings == []


def test_forged_tables_are_refused_or_noted(make, compile_c):
    elf = bytearray(compile_c())
    struct.pack_into("<H", elf, 0x38, 0xFFFE)  # e_phnum
    assert make.refusal(native(make, bytes(elf))).facts["rule"] == "E-02"
    facts = make.check(native(make, bytes(elf), name="demo/data.bin"))
    assert [finding.rule for finding in facts.findings] == ["E-02"]
