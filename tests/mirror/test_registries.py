"""Crates and Go modules as builds read them through the farm: checked, kept, recorded."""

from __future__ import annotations

import hashlib
import json
import os
from datetime import timedelta

import pytest
from sqlalchemy import select

from buildfarm import clock
from buildfarm.farm.model import Dependency
from buildfarm.mirror.model import RegistryFile

CRATE = b"the bytes of a crate"
ZIP = b"PK the bytes of a module"
MODULE = "go.example/Deep/thing"
GO = "/go/go.example/!deep/thing"
SENTENCES = {
    "crates": "This farm has no crates registry; an administrator sets mirror.crates_index.\n",
    "go": "This farm has no Go module proxy; an administrator sets mirror.go_proxy.\n",
}


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def entry(name: str, version: str, data: bytes = CRATE, **more: object) -> str:
    line = {"name": name, "vers": version, "deps": [], "cksum": sha256(data), "features": {}, "yanked": False}
    return json.dumps(line | more) + "\n"


class Site:
    """A farm with both registries, and a build on it."""

    def __init__(self, house, token: str) -> None:
        self.house, self.token = house, token

    def get(self, path: str, token: str | None = None):
        headers = {"Authorization": f"Bearer {token or self.token}"}
        return self.house.app.test_client().get(f"/jobapi/v1/attempt/index{path}", headers=headers)

    def record(self) -> list[tuple[str, ...]]:
        with self.house.database.read() as session:
            rows = session.scalars(select(Dependency).order_by(Dependency.filename))
            return [(r.ecosystem, r.project, r.version, r.filename, r.sha256, r.origin) for r in rows]

    def lose(self, data: bytes) -> None:
        """The bytes go, as eviction takes them."""
        self.house.farm.blobs.delete(sha256(data))


@pytest.fixture
def root(upstream) -> str:
    return upstream.url.removesuffix("/simple")


@pytest.fixture
def site_with(open_house, root):
    """Opens such a site; with a token, the same farm again with other settings."""

    def make(token: str = "", **mirror: object) -> Site:
        named = {"crates_index": f"sparse+{root}/index/", "go_proxy": f"{root}/proxy", "timeout_s": 30}
        house = open_house(mirror=named | mirror)
        if not token:
            _, jobs = house.build(house.source(), "cp313-manylinux_2_28_x86_64")
            token = house.claim(*jobs.values())
        return Site(house, token)

    return make


@pytest.fixture
def site(site_with, upstream, root) -> Site:
    upstream.put("/index/config.json", json.dumps({"dl": f"{root}/dl"}).encode())
    upstream.put("/index/le/af/leaf", (entry("Leaf", "1.0.0") + entry("Leaf", "1.1.0+b.2")).encode())
    upstream.put("/dl/Leaf/1.0.0/download", CRATE)
    upstream.put("/dl/Leaf/1.1.0+b.2/download", CRATE)
    upstream.put("/proxy/go.example/!deep/thing/@v/list", b"v1.0.0\n")
    upstream.put("/proxy/go.example/!deep/thing/@latest", b'{"Version":"v1.0.0"}')
    upstream.put("/proxy/go.example/!deep/thing/@v/v1.0.0.info", b'{"Version":"v1.0.0"}')
    upstream.put("/proxy/go.example/!deep/thing/@v/v1.0.0.mod", f"module {MODULE}\n".encode())
    upstream.put("/proxy/go.example/!deep/thing/@v/v1.0.0.zip", ZIP)
    return site_with()


def later(monkeypatch, **much: float) -> None:
    moment = clock.now() + timedelta(**much)
    monkeypatch.setattr(clock, "now", lambda: moment)


def test_a_crate_comes_through_the_farm_once_and_is_on_the_record(site, upstream, root) -> None:
    door = json.loads(site.get("/crates/index/config.json").text)
    assert door == {"dl": "http://127.0.0.1:8080/crates/files"}
    assert site.get("/crates/index/le/af/leaf").text.splitlines()[0] == entry("Leaf", "1.0.0").strip()
    assert site.record() == []
    for _ in range(2):
        answer = site.get("/crates/files/Leaf/1.0.0/download")
        assert (answer.status_code, answer.data) == (200, CRATE)
    assert site.get("/crates/files/Leaf/1.1.0+b.2/download").data == CRATE
    assert site.record() == [
        ("cargo", "Leaf", version, f"Leaf-{version}.crate", sha256(CRATE), f"{root}/index")
        for version in ("1.0.0", "1.1.0+b.2")
    ]
    assert len(upstream.paths()) == len(set(upstream.paths())) == 4


@pytest.mark.parametrize(
    ("template", "path"),
    [
        ("/dl", "/dl/Leaf/1.0.0/download"),
        ("/{crate}-{version}.crate", "/Leaf-1.0.0.crate"),
        ("/{prefix}/{lowerprefix}/{crate}/{version}", "/Le/af/le/af/Leaf/1.0.0"),
        ("/by/{sha256-checksum}", f"/by/{sha256(CRATE)}"),
    ],
)
def test_downloads_lie_where_the_upstream_index_says(site, upstream, root, template, path) -> None:
    upstream.put("/index/config.json", json.dumps({"dl": root + template}).encode())
    upstream.put(path, CRATE)
    assert site.get("/crates/files/Leaf/1.0.0/download").data == CRATE
    assert path in upstream.paths()


def test_bytes_that_the_index_does_not_announce_are_kept_from_the_build(site, upstream) -> None:
    upstream.put("/dl/Leaf/1.0.0/download", b"other bytes")
    answer = site.get("/crates/files/Leaf/1.0.0/download")
    assert (answer.status_code, answer.content_type) == (422, "text/plain; charset=utf-8")
    assert answer.text == "The bytes of Leaf-1.0.0.crate are not those that the crates registry announces.\n"
    assert site.record() == []
    assert not site.house.farm.blobs.has(sha256(b"other bytes"))


def test_a_crate_means_the_bytes_of_its_first_sight(site, upstream, monkeypatch) -> None:
    assert site.get("/crates/files/Leaf/1.0.0/download").data == CRATE
    upstream.put("/index/le/af/leaf", entry("Leaf", "1.0.0", b"other bytes").encode())
    later(monkeypatch, hours=1)
    assert site.get("/crates/files/Leaf/1.0.0/download").data == CRATE
    site.lose(CRATE)
    for sent in (b"other bytes", CRATE):  # a registry that contradicts itself is not believed either
        upstream.put("/dl/Leaf/1.0.0/download", sent)
        answer = site.get("/crates/files/Leaf/1.0.0/download")
        assert (answer.status_code, "another digest for Leaf-1.0.0.crate" in answer.text) == (422, True)


def test_a_module_comes_through_the_farm_once_and_its_zip_is_on_the_record(site, upstream, root) -> None:
    for _ in range(2):
        assert site.get(f"{GO}/@v/list").text == "v1.0.0\n"
        assert site.get(f"{GO}/@latest").text == '{"Version":"v1.0.0"}'
        assert site.get(f"{GO}/@v/v1.0.0.info").text == '{"Version":"v1.0.0"}'
        assert site.get(f"{GO}/@v/v1.0.0.mod").text == f"module {MODULE}\n"
    assert site.record() == []
    for _ in range(2):
        assert site.get(f"{GO}/@v/v1.0.0.zip").data == ZIP
    row = ("golang", MODULE, "v1.0.0", f"{MODULE}@v1.0.0.zip", sha256(ZIP), f"{root}/proxy")
    assert site.record() == [row]
    assert len(upstream.paths()) == len(set(upstream.paths())) == 5


def test_a_module_means_the_bytes_of_its_first_sight(site, upstream) -> None:
    assert site.get(f"{GO}/@v/v1.0.0.zip").data == ZIP
    upstream.put("/proxy/go.example/!deep/thing/@v/v1.0.0.zip", b"PK other bytes")
    site.lose(ZIP)
    answer = site.get(f"{GO}/@v/v1.0.0.zip")
    assert (answer.status_code, "another digest" in answer.text) == (422, True)
    upstream.put("/proxy/go.example/!deep/thing/@v/v1.0.0.zip", ZIP)
    assert site.get(f"{GO}/@v/v1.0.0.zip").data == ZIP


def test_what_may_change_is_confirmed_when_it_is_old_and_what_may_not_never(
    site, upstream, monkeypatch
) -> None:
    for path in ("/crates/index/le/af/leaf", f"{GO}/@v/list", f"{GO}/@v/v1.0.0.mod"):
        site.get(path)
    upstream.put("/index/le/af/leaf", entry("Leaf", "2.0.0").encode())
    upstream.put("/proxy/go.example/!deep/thing/@v/list", b"v2.0.0\n")
    upstream.put("/proxy/go.example/!deep/thing/@v/v1.0.0.mod", b"module other\n")
    assert '"1.0.0"' in site.get("/crates/index/le/af/leaf").text
    later(monkeypatch, minutes=11)
    assert site.get("/crates/index/le/af/leaf").text == entry("Leaf", "2.0.0")
    assert site.get(f"{GO}/@v/list").text == "v2.0.0\n"
    assert site.get(f"{GO}/@v/v1.0.0.mod").text == f"module {MODULE}\n"


def test_what_is_here_is_served_on_while_upstream_is_away(site, upstream, monkeypatch) -> None:
    paths = ("/crates/index/le/af/leaf", "/crates/files/Leaf/1.0.0/download", f"{GO}/@v/v1.0.0.zip")
    before = [site.get(path).data for path in paths]
    for path in list(upstream.pages):
        upstream.put(path, b"", status=500)
    later(monkeypatch, minutes=11)
    assert [site.get(path).data for path in paths] == before
    assert site.get(f"{GO}/@v/list").status_code == 503
    assert site.get("/crates/files/Leaf/1.1.0+b.2/download").status_code == 503


def test_an_isolated_site_asks_nobody(site, site_with, upstream) -> None:
    kept = ("/crates/index/le/af/leaf", "/crates/files/Leaf/1.0.0/download", f"{GO}/@v/v1.0.0.zip")
    before = [site.get(path).data for path in kept]
    upstream.asked.clear()
    alone = site_with(site.token, isolated=True, fresh_s=0.0)
    assert [alone.get(path).data for path in kept] == before
    for path in ("/crates/index/3/o/one", "/crates/files/Leaf/1.1.0+b.2/download", f"{GO}/@v/list"):
        answer = alone.get(path)
        assert (answer.status_code, "isolated site" in answer.text) == (404, True)
    assert upstream.paths() == []


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        ("crates", "/crates/index/config.json"),
        ("crates", "/crates/index/le/af/leaf"),
        ("crates", "/crates/files/Leaf/1.0.0/download"),
        ("go", f"{GO}/@v/list"),
        ("go", f"{GO}/@v/v1.0.0.zip"),
    ],
)
def test_a_farm_without_a_registry_says_so_in_words_that_cargo_and_go_show(site_with, kind, path) -> None:
    answer = site_with(crates_index="", go_proxy="").get(path)
    # Not a 404, whose text Cargo keeps to itself.
    assert (answer.status_code, answer.text) == (403, SENTENCES[kind])
    assert answer.content_type == "text/plain; charset=utf-8"


@pytest.mark.parametrize(
    "path",
    [
        "/crates/index/3/o/one",
        "/crates/index/le/af/other",
        "/crates/index/config.json/x",
        "/crates/files/Leaf/9.0.0/download",
        "/crates/files/leaf/1.0.0/download",
        "/crates/files/Leaf/1.0/download",
        f"{GO}/@v/v9.0.0.mod",
        f"{GO}/@v/master.info",
        "/go/go.example/other/@latest",
        "/go/sumdb/sum.example/supported",
    ],
)
def test_what_there_is_not_is_a_404(site, path) -> None:
    assert site.get(path).status_code == 404


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/index/config.json", b"[]"),
        ("/index/config.json", b"{}"),
        ("/index/config.json", b'{"dl": "file:///etc/{crate}"}'),
        ("/index/config.json", b"[" * 100_000),
        ("/index/le/af/leaf", b"<html>"),
        ("/index/le/af/leaf", b"\xff"),
        ("/index/le/af/leaf", b"\0"),
        ("/index/le/af/leaf", b'{"name": "Leaf", "vers": "1.0.0", "cksum": "../../etc"}'),
        ("/index/le/af/leaf", b'{"name": "Leaf", "vers": "1.0.0"}'),
    ],
)
def test_a_registry_that_breaks_its_protocol_is_told_apart_from_a_missing_crate(
    site, upstream, path, body
) -> None:
    upstream.put(path, body)
    answer = site.get("/crates/files/Leaf/1.0.0/download")
    assert (answer.status_code, "does not follow its protocol" in answer.text) == (503, True)


def test_crates_and_modules_give_room_like_upstream_files(site_with, site, monkeypatch) -> None:
    site.get("/crates/files/Leaf/1.0.0/download")
    site.get(f"{GO}/@v/v1.0.0.zip")
    site.house.farm.upstream.tally.write()
    with site.house.database.begin() as session:
        for file in session.scalars(select(RegistryFile)):
            file.last_used_at = clock.now() - timedelta(days=60)
            moment = (clock.now() - timedelta(days=50 if file.ecosystem == "golang" else 5)).timestamp()
            os.utime(site.house.farm.blobs.path(file.sha256), (moment, moment))
    small = site_with(site.token, max_bytes=len(CRATE) + 5).house.farm
    small.mirrored.make_room()
    assert small.blobs.has(sha256(ZIP))
    later(monkeypatch, minutes=11)
    small.mirrored.make_room()
    assert (small.blobs.has(sha256(ZIP)), small.blobs.has(sha256(CRATE))) == (False, True)
    assert site.get(f"{GO}/@v/v1.0.0.zip").data == ZIP  # it comes back when it is asked for


def test_a_stranger_gets_nothing(site, upstream) -> None:
    for path in ("/crates/index/config.json", "/crates/files/Leaf/1.0.0/download", f"{GO}/@v/list"):
        assert site.get(path, "bft_wrong").status_code == 401
    assert upstream.paths() == []
