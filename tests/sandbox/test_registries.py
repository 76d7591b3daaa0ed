"""Real Cargo and Go in a container without a network: what they need comes by the door, on the record."""

from __future__ import annotations

import ast
import base64
import hashlib
import io
import json
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from sqlalchemy import select

from buildfarm.farm.model import Dependency
from buildfarm.sandbox.images import list_images
from buildfarm.sandbox.port import IndexAnswer
from tests.mirror.conftest import Stub, upstream  # noqa: F401 - the same fixture
from tests.sandbox.conftest import FakeFarm, hostile

pytestmark = [pytest.mark.engine, pytest.mark.exhaustive]
PASSED = ("content-type", "content-length")


class DoorFarm(FakeFarm):
    """Its registries are those of a real farm's job API."""

    def __init__(self, house, token: str, wheelhouse: Path) -> None:
        super().__init__(b"", wheelhouse)
        self.house, self._token = house, token

    def index_get(self, path: str, headers: Mapping[str, str]) -> IndexAnswer:
        if path.startswith(("/simple/", "/files/")):
            return super().index_get(path, headers)
        self.asked.append(path)
        answer = self.house.app.test_client().get(
            f"/jobapi/v1/attempt/index{path}", headers={"Authorization": f"Bearer {self._token}"}
        )
        passed = {name: value for name, value in answer.headers.items() if name.lower() in PASSED}
        return IndexAnswer(answer.status_code, passed, iter([answer.data]))


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def crate(name: str, body: str, **needs: str) -> tuple[bytes, str]:
    """A crate and its line in the index."""
    lines = [f'{other} = "{version}"' for other, version in needs.items()]
    manifest = f'[package]\nname = "{name}"\nversion = "1.0.0"\nedition = "2021"\n[dependencies]\n'
    files = {"Cargo.toml": manifest + "\n".join(lines) + "\n", "src/lib.rs": body}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for path, text in files.items():
            member = tarfile.TarInfo(f"{name}-1.0.0/{path}")
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    deps = [
        {"name": other, "req": f"^{version}", "features": [], "optional": False, "default_features": True,
         "target": None, "kind": "normal"}
        for other, version in needs.items()
    ]  # fmt: skip
    data = buffer.getvalue()
    line = {
        "name": name,
        "vers": "1.0.0",
        "deps": deps,
        "cksum": sha256(data),
        "features": {},
        "yanked": False,
    }
    return data, json.dumps(line) + "\n"


def crate_files(name: str, data: bytes) -> dict[str, str]:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return {
            member.name.removeprefix(f"{name}-1.0.0/"): archive.extractfile(member).read().decode()
            for member in archive.getmembers()
        }


def module(path: str, body: str, *needs: str) -> tuple[bytes, str, str]:
    """A Go module's zip, its go.mod, and its two lines of a go.sum."""
    mod = f"module {path}\n\ngo 1.21\n" + "".join(f"\nrequire {need} v1.0.0\n" for need in needs)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        files = {f"{path}@v1.0.0/{name}": text for name, text in (("go.mod", mod), ("it.go", body))}
        for name, text in files.items():
            archive.writestr(name, text)
    sums = f"{path} v1.0.0 {h1(files)}\n{path} v1.0.0/go.mod {h1({'go.mod': mod})}\n"
    return buffer.getvalue(), mod, sums


def h1(files: Mapping[str, str]) -> str:
    """Go's hash of a tree: of lines as sha256sum prints them."""
    lines = "".join(f"{sha256(files[name].encode())}  {name}\n" for name in sorted(files))
    return "h1:" + base64.b64encode(hashlib.sha256(lines.encode()).digest()).decode()


LEAF, LEAF_LINE = crate("leaf", "pub fn one() -> i64 { 1 }\n")
TWIG, TWIG_LINE = crate("twig", "pub fn two() -> i64 { leaf::one() + leaf::one() }\n", leaf="1.0.0")
RUST = {
    **hostile("""
locked = ["--locked"] if os.path.exists("Cargo.lock") else []
subprocess.run(["cargo", "build", "--release", *locked], check=True)
print("LOCK", repr(open("Cargo.lock").read()), flush=True)
name = "quick-1-cp313-cp313-linux_x86_64.whl"
with zipfile.ZipFile(os.path.join(directory, name), "w") as wheel:
    wheel.write("target/release/libquick.so", "quick/libquick.so")
    wheel.write("quick/__init__.py")
    wheel.writestr("quick-1.dist-info/METADATA", "Metadata-Version: 2.1\\nName: quick\\nVersion: 1\\n")
    tag = "Root-Is-Purelib: false\\nTag: cp313-cp313-linux_x86_64"
    wheel.writestr("quick-1.dist-info/WHEEL", "Wheel-Version: 1.0\\n" + tag + "\\n")
    files = [*wheel.namelist(), "quick-1.dist-info/RECORD"]
    wheel.writestr("quick-1.dist-info/RECORD", "".join(file + ",,\\n" for file in files))
return name
"""),
    "quick/__init__.py": """
import ctypes, pathlib
two = ctypes.CDLL(pathlib.Path(__file__).parent / "libquick.so").quick_two
""",
    "Cargo.toml": """
[package]
name = "quick"
version = "1.0.0"
edition = "2021"
[lib]
crate-type = ["cdylib"]
[dependencies]
twig = "1"
""",
    "src/lib.rs": '#[no_mangle]\npub extern "C" fn quick_two() -> i64 { twig::two() }\n',
}

#: What `cargo vendor` leaves, in short.
RUST_VENDORED = {
    ".cargo/config.toml": """
[source.crates-io]
replace-with = "vendored-sources"
[source.vendored-sources]
directory = "vendor"
""",
    **{
        f"vendor/{name}/{path}": text
        for name, data in (("leaf", LEAF), ("twig", TWIG))
        for path, text in {
            **crate_files(name, data),
            ".cargo-checksum.json": json.dumps({"files": {}, "package": sha256(data)}),
        }.items()
    },
}

GO_LEAF_BODY = "package leaf\n\nfunc One() int { return 1 }\n"
GO_TWIG_BODY = """package twig

import "go.example/Deep/leaf"

func Two() int { return leaf.One() + leaf.One() }
"""
GO_LEAF = module("go.example/Deep/leaf", GO_LEAF_BODY)
GO_TWIG = module("go.example/twig", GO_TWIG_BODY, "go.example/Deep/leaf")
#: What `go mod vendor` leaves.
GO_VENDORED = {
    "vendor/modules.txt": "".join(
        f"# {path} v1.0.0\n## explicit; go 1.21\n{path}\n"
        for path in ("go.example/Deep/leaf", "go.example/twig")
    ),
    "vendor/go.example/Deep/leaf/it.go": GO_LEAF_BODY,
    "vendor/go.example/twig/it.go": GO_TWIG_BODY,
}
GO = {
    **hostile("""
subprocess.run(["go", "build", "-o", "quick", "."], check=True)
said = subprocess.run(["./quick"], check=True, capture_output=True, text=True).stdout
name = "quick-1-py3-none-any.whl"
with zipfile.ZipFile(os.path.join(directory, name), "w") as wheel:
    wheel.writestr("quick.py", "two = " + said)
    wheel.writestr("quick-1.dist-info/METADATA", "Metadata-Version: 2.1\\nName: quick\\nVersion: 1\\n")
    wheel.writestr("quick-1.dist-info/WHEEL", "Wheel-Version: 1.0\\nTag: py3-none-any\\n")
    wheel.writestr("quick-1.dist-info/RECORD", "")
return name
"""),
    "go.mod": "module quick\n\ngo 1.21\n\nrequire go.example/twig v1.0.0\n\n"
    "require go.example/Deep/leaf v1.0.0 // indirect\n",
    "go.sum": GO_LEAF[2] + GO_TWIG[2],
    "main.go": 'package main\n\nimport "fmt"\nimport "go.example/twig"\n\n'
    "func main() { fmt.Println(twig.Two()) }\n",
}


@pytest.fixture
def on_trixie(engine, attempt):
    """Runs a project in the image of Debian 13, whose Cargo speaks the sparse protocol."""
    images = {image.role: image.image_id for image in list_images(engine) if "cp313" in image.interpreters}

    def run(files, farm, **changes):
        return attempt(
            files, farm=farm, target="cp313-manylinux_2_41_x86_64", interpreter="cp313",
            build_image=images["builder"], test_image=images["test"], **changes,
        )[0]  # fmt: skip

    return run


def record(farm: DoorFarm) -> list[tuple[str, str, str, str]]:
    with farm.house.database.read() as session:
        rows = session.scalars(select(Dependency).order_by(Dependency.filename))
        return [(row.ecosystem, row.project, row.version, row.sha256) for row in rows]


@pytest.fixture
def farm_of(open_house, upstream: Stub, wheelhouse):  # noqa: F811 - pytest's way to name a fixture
    root = upstream.url.removesuffix("/simple")
    upstream.put("/index/config.json", json.dumps({"dl": f"{root}/dl/{{crate}}"}).encode())
    for name, (data, line) in {"leaf": (LEAF, LEAF_LINE), "twig": (TWIG, TWIG_LINE)}.items():
        upstream.put(f"/index/{name[:2]}/{name[2:]}/{name}", line.encode())
        upstream.put(f"/dl/{name}", data)
    for path, (data, mod, _) in {"go.example/!deep/leaf": GO_LEAF, "go.example/twig": GO_TWIG}.items():
        upstream.put(f"/proxy/{path}/@v/v1.0.0.mod", mod.encode())
        upstream.put(f"/proxy/{path}/@v/v1.0.0.info", b'{"Version":"v1.0.0"}')
        upstream.put(f"/proxy/{path}/@v/v1.0.0.zip", data)

    houses = [
        open_house(mirror={"timeout_s": 5.0, **named})
        for named in ({"crates_index": f"{root}/index", "go_proxy": f"{root}/proxy"}, {})
    ]
    _, jobs = houses[0].build(houses[0].source(), "cp313-manylinux_2_41_x86_64")
    token = houses[0].claim(*jobs.values())
    return lambda *, is_set=True: DoorFarm(houses[0 if is_set else 1], token, wheelhouse)


@pytest.mark.timeout(900)  # a compiler is fetched and put into an image first
def test_cargo_takes_the_crates_of_its_lock_file_by_the_door(on_trixie, farm_of):
    farm = farm_of()
    outcome = on_trixie(
        RUST, farm, system_packages=["rustc", "cargo"], expect_native=True,
        test={"command": ["python", "-c", "import quick; assert quick.two() == 2"]},
    )  # fmt: skip
    assert outcome.state == "succeeded", farm.log
    assert record(farm) == [
        ("cargo", "leaf", "1.0.0", sha256(LEAF)),
        ("cargo", "twig", "1.0.0", sha256(TWIG)),
    ]
    (line,) = (line for line in farm.log.splitlines() if line.startswith("LOCK "))
    lock = ast.literal_eval(line.removeprefix("LOCK "))
    locked = farm_of()
    outcome = on_trixie(RUST | {"Cargo.lock": lock}, locked, system_packages=["rustc", "cargo"])
    assert outcome.state == "succeeded", locked.log

    without = farm_of(is_set=False)
    outcome = on_trixie(RUST | {"Cargo.lock": lock}, without, system_packages=["rustc", "cargo"])
    sentence = "This farm has no crates registry; an administrator sets mirror.crates_index."
    assert (outcome.state, outcome.cause, outcome.first_error) == ("failed", "policy", sentence)

    without = farm_of(is_set=False)
    vendored = RUST | RUST_VENDORED | {"Cargo.lock": lock}
    outcome = on_trixie(vendored, without, system_packages=["rustc", "cargo"])
    assert outcome.state == "succeeded", without.log

    other = farm_of()
    changed = lock.replace(sha256(LEAF), "0" * 64)
    outcome = on_trixie(RUST | {"Cargo.lock": changed}, other, system_packages=["rustc", "cargo"])
    assert (outcome.state, outcome.failure_class) == ("failed", "dependency-resolution")
    assert "checksum for `leaf v1.0.0` changed between lock files" in other.log


@pytest.mark.timeout(900)  # a compiler is fetched and put into an image first
def test_go_takes_the_modules_of_its_sum_file_by_the_door(on_trixie, farm_of):
    farm = farm_of()
    outcome = on_trixie(
        GO, farm, system_packages=["golang-go"],
        test={"command": ["python", "-c", "import quick; assert quick.two == 2"]},
    )  # fmt: skip
    assert outcome.state == "succeeded", farm.log
    assert record(farm) == [
        ("golang", "go.example/Deep/leaf", "v1.0.0", sha256(GO_LEAF[0])),
        ("golang", "go.example/twig", "v1.0.0", sha256(GO_TWIG[0])),
    ]

    without = farm_of(is_set=False)
    outcome = on_trixie(GO, without, system_packages=["golang-go"])
    sentence = "This farm has no Go module proxy; an administrator sets mirror.go_proxy."
    assert (outcome.state, outcome.cause) == ("failed", "policy")
    assert outcome.first_error == f"server response: {sentence}"

    without = farm_of(is_set=False)
    outcome = on_trixie(GO | GO_VENDORED, without, system_packages=["golang-go"])
    assert outcome.state == "succeeded", without.log

    other = farm_of()
    sums = GO["go.sum"].replace(h1({"go.mod": GO_LEAF[1]}), h1({"go.mod": "other"}))
    outcome = on_trixie(GO | {"go.sum": sums}, other, system_packages=["golang-go"])
    assert (outcome.state, outcome.failure_class) == ("failed", "dependency-resolution")
    assert outcome.first_error.endswith("checksum mismatch")
