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
        pytest.param("E-03", GLIBC, MODULE, (), {"needs": "libc-0123abcd.so"}, id="musl in the wheel"),
        pytest.param(
            "E-03",
            GLIBC,
            MODULE,
            (),
            {"needs": "libc-0123abcd.musl-x86_64.so.1"},
            id="musl in the wheel, long",
        ),
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


def test_a_cross_built_module_that_kept_the_name_of_the_machine_it_was_built_on_is_refused(make, compile_c):
    elf = bytearray(compile_c())
    struct.pack_into("<H", elf, 18, 183)  # e_machine: AArch64
    tag = "cp311-cp311-manylinux_2_17_aarch64"
    error = make.refusal(native(make, bytes(elf), tag=tag))
    assert error.facts["rule"] == "E-04"
    assert "the module's name is for x86_64, the tag for aarch64" in error.message
    renamed = MODULE.replace("x86_64", "aarch64")
    assert make.check(native(make, bytes(elf), tag=tag, name=renamed)).findings == []


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
        assert "needs GLIBC_2.34" in error.message


def test_a_linux_wheel_without_machine_code_is_refused_even_where_the_tag_is_allowed(make, compile_c):
    waived = frozenset({"N-07"})
    tag = "cp311-cp311-linux_x86_64"
    assert make.refusal(make.wheel(tag=tag), waived=waived).facts["rule"] == "W-04"
    facts = make.check(native(make, compile_c(), tag=tag), waived=waived)
    assert [finding.rule for finding in facts.findings] == ["N-07"]


def pe(machine):
    """The smallest start of a Windows library."""
    return b"MZ".ljust(0x3C, b"\0") + struct.pack("<I", 0x40) + b"PE\0\0" + struct.pack("<H", machine)


def macho(*slices):
    """A macOS library: for each slice its processor and the oldest system; more than one make a fat file."""
    thin = []
    for cpu, oldest in slices:
        packed = oldest and oldest[0] << 16 | oldest[1] << 8
        commands = struct.pack("<6I", 0x32, 24, 1, packed, 0, 0) if packed else b""
        thin.append(struct.pack("<8I", 0xFEEDFACF, cpu, 0, 6, bool(commands), len(commands), 0, 0) + commands)
    if len(thin) == 1:
        return thin[0]
    at, head, body = 64, struct.pack(">2I", 0xCAFEBABE, len(thin)), b""
    for (cpu, _oldest), one in zip(slices, thin, strict=True):
        head += struct.pack(">5I", cpu, 0, at + len(body), len(one), 0)
        body += one
    return head.ljust(at, b"\0") + body


X86_64, ARM64 = 0x1000007, 0x100000C
FOREIGN = [
    ("win_amd64", "x.pyd", pe(0x8664), None),
    ("win_arm64", "x.pyd", pe(0xAA64), None),
    ("win32", "x.pyd", pe(0x8664), "E-06"),
    ("win_amd64", "x.pyd", pe(0x14C), "E-06"),
    ("win_amd64", "x.pyd", b"MZ", "E-06"),
    ("win_amd64", "x.pyd", pe(1), "E-06"),
    ("win_amd64", "inject_x86.dll", pe(0x14C), None),
    ("macosx_10_9_x86_64", "x.so", macho((X86_64, (10, 9))), None),
    ("macosx_10_9_x86_64", "x.so", macho((X86_64, None)), None),
    ("macosx_10_9_universal2", "x.so", macho((X86_64, (10, 9)), (ARM64, (11, 0))), None),
    ("macosx_11_0_arm64", "x.so", macho((X86_64, (10, 9)), (ARM64, (11, 0))), None),
    ("macosx_11_0_arm64", "x.so", macho((X86_64, (10, 9))), "E-06"),
    ("macosx_10_9_universal2", "x.so", macho((X86_64, (10, 9))), "E-06"),
    ("macosx_10_9_x86_64", "x.so", macho((X86_64, (10, 15))), "E-06"),
    ("macosx_11_0_arm64", "x.so", macho((ARM64, (14, 2))), "E-06"),
    ("macosx_11_0_arm64", "x.so", macho((ARM64, (11, 0)))[:40], "E-06"),
    ("macosx_11_0_arm64", "x.so", macho((7, None), (ARM64, (11, 0)))[:60], "E-06"),
]


@pytest.mark.parametrize(("platform_tag", "member", "data", "rule"), FOREIGN)
def test_windows_and_macos_modules_keep_their_tag(make, platform_tag, member, data, rule):
    wheel = make.wheel(tag=f"cp311-cp311-{platform_tag}", files={f"demo/{member}": data})
    if rule is None:
        assert make.check(wheel).findings == []
    else:
        assert make.refusal(wheel).facts["rule"] == rule


C_API = "extern int {symbol}(void); int one(void) {{ return {symbol}(); }}"


@pytest.mark.parametrize("style", ["sysv", "gnu"])
@pytest.mark.parametrize(
    ("tag", "symbol", "accepted"),
    [
        ("cp39-abi3", "PyModule_Create2", True),
        ("cp39-abi3", "other_function", True),
        ("cp39-abi3", "PyUnicode_AsUTF8", False),
        ("cp313-abi3", "PyUnicode_AsUTF8AndSize", True),
        ("cp39-abi3", "PyUnicode_AsUTF8AndSize", False),
        ("cp311-abi3", "_PyObject_CallMethodId", False),
    ],
)
def test_a_module_for_the_stable_abi_asks_for_nothing_else(make, compile_c, tag, symbol, accepted, style):
    code = compile_c(f"-Wl,--hash-style={style}", code=C_API.format(symbol=symbol))
    wheel = native(make, code, tag=f"{tag}-manylinux_2_17_x86_64", name="demo/_fast.abi3.so")
    if accepted:
        assert make.check(wheel).findings == []
    else:
        error = make.refusal(wheel)
        assert error.facts["rule"] == "E-04"
        assert symbol in error.message


def test_a_library_that_is_neither_in_the_wheel_nor_of_the_system_is_noted(make, compile_c):
    needy = compile_c(needs="libfar.so.1")
    assert [f.rule for f in make.check(native(make, needy)).findings] == ["E-03"]
    there = make.wheel(tag=GLIBC, files={MODULE: needy, "demo.libs/libfar.so.1": compile_c()})
    assert make.check(there).findings == []


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
