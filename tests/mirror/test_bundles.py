"""A mirror's way to a site without a network: export here, carry, import there, install without upstream."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

from buildfarm.cli import bundle as bundles
from buildfarm.cli.client import Client
from buildfarm.cli.main import main
from buildfarm.errors import IntegrityFailure
from buildfarm.index import channels, guarded, names
from buildfarm.journal.log import head, newest_size, store_checkpoint
from buildfarm.journal.model import JournalRow
from buildfarm.journal.record import record
from buildfarm.mirror import advisories, evidence, files
from buildfarm.mirror.folder import BundleFolder
from buildfarm.mirror.model import UpstreamFile
from buildfarm.mirror.policy import parse
from buildfarm.trust import root
from buildfarm.trust.messages import CheckpointRequest
from buildfarm.trust.vault import Vault
from tests.conftest import PUBLIC_URL, House, open_farm, wheel

JSON = "application/vnd.pypi.simple.v1+json"
GADGET, GADGET_BYTES = wheel("gadget", "1.0", requires=("gizmo",))
GIZMO, GIZMO_BYTES = wheel("gizmo", "2.0")
ATTESTED = json.dumps({"version": 1, "attestation_bundles": [{"made": "upstream"}]}).encode()
UV = str(Path(sys.executable).with_name("uv"))


class _Silent(WSGIRequestHandler):
    def log(self, type: str, message: str, *args: object) -> None:  # noqa: A002 - the base class's name
        pass


@dataclass
class Site:
    """A farm that is served, with an administrator's token."""

    house: House
    url: str
    token: str

    def get(self, path: str) -> Any:
        return self.house.client(self.token).get(path, headers={"Accept": JSON})

    def files(self, project: str, channel: str = "mirror") -> list[dict[str, Any]]:
        answer = self.get(f"/{channel}/simple/{project}/")
        assert answer.status_code == 200, answer.text
        return answer.json["files"]

    def kinds(self) -> list[str]:
        with self.house.database.read() as session:
            return list(session.scalars(select(JournalRow.kind).order_by(JournalRow.serial)))


@pytest.fixture
def vault(tmp_path: Path) -> Iterator[Vault]:
    folder = tmp_path / "vault"
    folder.mkdir(mode=0o700)
    vault = Vault(folder, PUBLIC_URL)
    yield vault
    vault.close()


def sign(house: House, vault: Vault) -> None:
    """Have the journal's head signed, as the keeper does within seconds."""
    with house.database.read() as session:
        log, old = head(session), newest_size(session)
        if log.size == old:
            return
        proof = tuple(log.consistency(old)) if old else ()
        request = CheckpointRequest(
            size=log.size, root=log.root, old_size=old, consistency_proof=proof, entries=()
        )
        note = vault.checkpoint(request).note
    with house.database.begin() as session:
        store_checkpoint(session, log.size, note)


@pytest.fixture
def open_site(sqlite_template: Path, tmp_path: Path) -> Iterator[Callable[..., Site]]:
    servers: list[BaseWSGIServer] = []
    houses: list[House] = []

    def start(name: str, **mirror: Any) -> Site:
        folder = tmp_path / name
        folder.mkdir()
        shutil.copy(sqlite_template, folder / "farm.db")
        # No follower runs that a writer would have to wait for.
        house = open_farm(f"sqlite:///{folder / 'farm.db'}", folder, mirror=mirror)
        houses.append(house)
        with house.database.begin() as session:
            channels.create_mirror(session)
        house.follower.catch_up()
        server = make_server("127.0.0.1", 0, house.app, threaded=True, request_handler=_Silent)
        servers.append(server)
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        return Site(house, f"http://127.0.0.1:{server.port}", house.token("admin"))

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()
    for house in houses:
        house.database.close()


@pytest.fixture
def home(open_site, upstream, vault) -> Iterator[Site]:
    """A farm with a network; upstream has `gadget`, which needs `gizmo`. Its journal is signed at once."""
    site = open_site("home", upstreams=[upstream.url], timeout_s=30)
    for name, filename, data in (("gadget", GADGET, GADGET_BYTES), ("gizmo", GIZMO, GIZMO_BYTES)):
        upstream.page(name, entry(filename, data))
        upstream.put(f"/files/{filename}", data)
    upstream.put("/p", ATTESTED, "application/vnd.pypi.integrity.v1+json")
    trust_dir = site.house.farm.settings.trust_dir
    trust_dir.mkdir(parents=True)
    for name, text in vault.health()["documents"].items():
        (trust_dir / name).write_text(text)
    stop = threading.Event()

    def keep_signing() -> None:
        while not stop.wait(0.05):
            sign(site.house, vault)

    keeper = threading.Thread(target=keep_signing)
    keeper.start()
    yield site
    stop.set()
    keeper.join()


@pytest.fixture
def away(open_site) -> Site:
    """A farm on a site without a network."""
    return open_site("away", isolated=True)


def entry(filename: str, data: bytes, **more: Any) -> dict[str, Any]:
    return {
        "filename": filename, "url": f"../../files/{filename}", "size": len(data),
        "hashes": {"sha256": hashlib.sha256(data).hexdigest()}, "upload-time": "2024-01-02T03:04:05.000000Z",
        "provenance": None, "x-future": 1, **more,
    }  # fmt: skip


@pytest.fixture
def run(monkeypatch, capsys) -> Callable[..., tuple[int, str, str]]:
    """Run `buildfarm mirror ARGUMENTS` against a site: exit code, output, errors."""
    monkeypatch.setattr(bundles, "_PAUSE_S", 0.02)

    def command(site: Site, *arguments: object) -> tuple[int, str, str]:
        monkeypatch.setenv("BUILDFARM_URL", site.url)
        monkeypatch.setenv("BUILDFARM_TOKEN", site.token)
        monkeypatch.setattr(sys, "argv", ["buildfarm", "mirror", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return command


@pytest.fixture
def bundle(run, home, tmp_path) -> Path:
    """A bundle of `gadget` and `gizmo`."""
    (tmp_path / "wanted.txt").write_text("gadget\ngizmo\n")
    code, _out, err = run(home, "export", "all", "--out", tmp_path / "b", "--lock", tmp_path / "wanted.txt")
    assert code == 0, err
    return tmp_path / "b"


def trust(bundle: Path) -> list[object]:
    return ["--trust", bundle / root.TRUSTED_ROOT]


# The way there --------------------------------------------------------------------------------------


def test_what_is_carried_installs_with_pip_and_uv_where_no_upstream_is(run, bundle, away, tmp_path) -> None:
    code, out, err = run(away, "import", "mirror", bundle, *trust(bundle), "--json")
    assert code == 0, err
    assert {key: json.loads(out)[key] for key in ("projects", "changed", "new_files")} == {
        "projects": 2, "changed": 2, "new_files": 2,
    }  # fmt: skip
    url = away.url.replace("://", f"://__token__:{away.token}@") + "/all/simple/"
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "UV_"))}
    for number, argv in enumerate(
        (
            [UV, "pip", "install", "--no-cache", "--no-config", "--index-url", url, "-q"],
            [sys.executable, "-m", "pip", "--isolated", "install", "--no-cache-dir", "-q", "-i", url],
        )
    ):
        target = tmp_path / f"target{number}"
        done = subprocess.run(
            [*argv, "--target", str(target), "gadget"], env=env, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert {path.name for path in target.iterdir()} >= {"gadget", "gizmo"}


def test_pages_keep_what_upstream_said_and_first_sights_are_journalled(run, bundle, home, away) -> None:
    assert run(away, "import", "mirror", bundle, *trust(bundle))[0] == 0
    theirs, ours = ([{**one, "_": None} for one in site.files("gadget")] for site in (home, away))
    assert ours == theirs
    assert ours[0]["x-future"] == 1
    assert away.get(f"/mirror/files/gadget/{GADGET}.metadata").data.startswith(b"Metadata-Version")
    kinds = away.kinds()
    assert (kinds.count("mirror.first_sight"), kinds.count("mirror.import")) == (2, 1)
    assert home.kinds().count("mirror.export") == 1


def test_a_second_import_finds_nothing_new(run, bundle, away) -> None:
    run(away, "import", "mirror", bundle, *trust(bundle))
    before = away.kinds()
    code, out, _err = run(away, "import", "mirror", bundle, *trust(bundle), "--json")
    answer = json.loads(out)
    assert (code, answer["changed"], answer["new_files"], answer["old_files"]) == (0, 0, 0, 2)
    assert away.kinds() == before


def test_an_import_that_broke_off_goes_on(run, bundle, away, monkeypatch) -> None:
    send = Client.send_file
    sent: list[Path] = []

    def once(self: Client, *path: str, file: Path) -> Any:
        if sent:
            raise KeyboardInterrupt
        sent.append(file)
        return send(self, *path, file=file)

    with monkeypatch.context() as broken:
        broken.setattr(Client, "send_file", once)
        with contextlib.suppress(KeyboardInterrupt):
            run(away, "import", "mirror", bundle, *trust(bundle))
    assert sent[0].name == GADGET
    assert [one["filename"] for one in away.files("gadget")] == [GADGET]
    assert away.files("gizmo") == []  # what is not here is not listed: nobody could get it
    code, out, _err = run(away, "import", "mirror", bundle, *trust(bundle), "--json")
    assert (code, json.loads(out)["new_files"], json.loads(out)["old_files"]) == (0, 1, 1)
    assert [one["filename"] for one in away.files("gizmo")] == [GIZMO]


def test_a_later_bundle_adds_files_and_a_yank_and_takes_nothing_away(
    run, bundle, home, away, upstream, tmp_path
) -> None:
    run(away, "import", "mirror", bundle, *trust(bundle))
    newer, data = wheel("gadget", "1.1")
    upstream.page("gadget", entry(GADGET, GADGET_BYTES, yanked="broken"), entry(newer, data))
    upstream.put(f"/files/{newer}", data)
    home.house.farm.upstream.pages.refresh("gadget")
    (tmp_path / "wanted.txt").write_text("gadget==1.1\n")
    lock = ["--requirements", tmp_path / "wanted.txt"]
    assert run(home, "export", "all", "--out", tmp_path / "later", *lock)[0] == 0
    assert run(away, "import", "mirror", tmp_path / "later", *trust(bundle))[0] == 0
    assert [one["filename"] for one in away.files("gadget")] == [GADGET, newer]
    assert run(home, "export", "all", "--out", tmp_path / "later", "--all")[0] == 0
    assert run(away, "import", "mirror", tmp_path / "later", *trust(bundle))[0] == 0
    assert [one["yanked"] for one in away.files("gadget")] == ["broken", False]
    assert run(away, "import", "mirror", bundle, *trust(bundle))[0] == 0  # the old one takes nothing back
    assert [one["yanked"] for one in away.files("gadget")] == ["broken", False]


def test_provenance_and_advisories_come_along(run, home, away, upstream, tmp_path) -> None:
    upstream.page("gizmo", entry(GIZMO, GIZMO_BYTES, provenance="/p"))
    record = {
        "id": "GHSA-1", "modified": "2026-11-01T00:00:00Z", "summary": "bad", "aliases": ["CVE-1"],
        "affected": [{"package": {"ecosystem": "PyPI", "name": "gizmo"}, "versions": ["2.0"]}],
    }  # fmt: skip
    with home.house.database.begin() as session:
        advisories.import_records(session, [json.dumps(record).encode()], sha256="0" * 64, actor="ann")
    (tmp_path / "wanted.txt").write_text("gizmo\n")
    out = ["--out", tmp_path / "b", "--lock", tmp_path / "wanted.txt"]
    assert run(home, "export", "mirror", *out)[0] == 0
    code, text, _err = run(away, "import", "mirror", tmp_path / "b", *trust(tmp_path / "b"), "--json")
    assert (code, json.loads(text)["advisories"]) == (0, 1)
    assert away.get(f"/mirror/files/gizmo/{GIZMO}.provenance").data == ATTESTED
    with home.house.database.read() as here, away.house.database.read() as there:
        assert advisories.digest(here) == advisories.digest(there) is not None
    with away.house.database.begin() as session:
        guarded.set_policy(session, "mirror", parse('vulnerabilities = "block"'), actor="ann")
    away.house.follower.catch_up()
    away.house.farm.mirrored.renew("gizmo")
    assert away.files("gizmo") == []  # the isolated site's own policy holds, with the carried advisory
    code, text, _err = run(away, "import", "mirror", tmp_path / "b", *trust(tmp_path / "b"), "--json")
    assert (code, json.loads(text)["advisories"]) == (0, 0)


def test_an_isolated_site_knows_what_it_does_not_have(away, run) -> None:
    assert away.get("/mirror/simple/nothing/").status_code == 404
    assert away.get(f"/mirror/files/gadget/{GADGET}").status_code == 404
    assert away.get("/all/simple/").status_code == 200
    code, _out, err = run(away, "refresh", "gadget")
    assert (code, "is isolated" in err) == (1, True)


# What does not go along ------------------------------------------------------------------------------


def test_the_policy_of_the_channel_holds_for_what_leaves(run, home, tmp_path) -> None:
    home.get(f"/mirror/files/gadget/{GADGET}")
    home.get(f"/mirror/files/gizmo/{GIZMO}")
    with home.house.database.begin() as session:
        guarded.set_policy(session, "mirror", parse('deny = ["gizmo"]'), actor="ann")
    assert run(home, "export", "mirror", "--out", tmp_path / "b", "--all")[0] == 0
    assert [one.page.name for one in BundleFolder(tmp_path / "b").projects()] == ["gadget"]


def test_what_is_missing_is_said_and_an_empty_bundle_is_none(run, home, tmp_path) -> None:
    code, _out, err = run(home, "export", "mirror", "--out", tmp_path / "b", "--all")
    assert (code, "Nothing of that is here" in err) == (2, True)
    (tmp_path / "wanted.txt").write_text("gadget\nnothing\n")
    out = ["--out", tmp_path / "b", "--lock", tmp_path / "wanted.txt"]
    code, text, _err = run(home, "export", "mirror", *out)
    assert (code, "No upstream index knows nothing." in text) == (1, True)
    assert run(home, "export", "mirror", "--out", tmp_path / "b")[0] == 2


def test_a_name_that_is_ours_is_passed_over(run, bundle, away) -> None:
    with away.house.database.begin() as session:
        names.add_local(session, "gizmo", "gizmo", actor="ann")
    code, out, _err = run(away, "import", "mirror", bundle, *trust(bundle), "--json")
    assert [one["rule"] for one in json.loads(out)["passed_over"]] == ["name-is-ours"]
    assert (code, json.loads(out)["new_files"]) == (0, 1)


@pytest.mark.parametrize("what", ["digest", "owner"])
def test_what_is_known_otherwise_is_not_taken_in(run, bundle, open_site, upstream, what) -> None:
    other = wheel("gizmo", "2.0", code="y = 2\n")[1]
    upstream.page("gizmo", entry(GIZMO, other if what == "digest" else GIZMO_BYTES))
    url = upstream.url if what == "digest" else upstream.url.replace("127.0.0.1", "localhost")
    site = open_site("third", upstreams=[url], timeout_s=30)
    before = site.files("gizmo")
    code, out, _err = run(site, "import", "mirror", bundle, *trust(bundle), "--json")
    rule = "mirror.digest_changed" if what == "digest" else "mirror.owner"
    assert [(one["project"], one["rule"]) for one in json.loads(out)["passed_over"]] == [("gizmo", rule)]
    assert (code, site.files("gizmo")) == (1, before)


# Tampering ------------------------------------------------------------------------------------------


def refused(run, away: Site, bundle: Path, *pinned: object) -> str:
    before = away.kinds()
    code, _out, err = run(away, "import", "mirror", bundle, *(pinned or trust(bundle)))
    assert (code, err.count("Traceback")) == (1, 0)
    assert away.kinds() == before, "something was taken in"
    return err


def test_half_a_part_and_a_missing_part_are_refused(run, bundle, away, tmp_path) -> None:
    pinned = tmp_path / "pinned.json"
    shutil.copy(bundle / root.TRUSTED_ROOT, pinned)
    for part, sentence in (
        ("manifest.jsonl", "manifest is not the one that the farm signed"),
        ("evidence.json", "evidence of the bundle cannot be read"),
        (f"files/{GIZMO}", "is not in the bundle as its manifest says"),
        ("trusted_root.json", "trusted root in the bundle is not the one"),
    ):
        path = bundle / part
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
        assert sentence in refused(run, away, bundle, "--trust", pinned)
        path.unlink()
        missing = refused(run, away, bundle, "--trust", pinned)
        assert "cannot be read" in missing or "not in the bundle" in missing
        path.write_bytes(whole)


def test_another_byte_anywhere_is_refused(bundle) -> None:
    folder = BundleFolder(bundle)
    trusted = root.load(folder.trusted_root)
    folder.demand_whole(trusted)
    for path in (folder.manifest, folder.evidence, bundle / "files" / GADGET, bundle / "files" / GIZMO):
        whole = path.read_bytes()
        for place in range(0, len(whole), max(1, len(whole) // 80)):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
            with pytest.raises(IntegrityFailure) as caught:
                folder.demand_whole(trusted)
            assert caught.value.code in {"bundle.evidence", "bundle.manifest", "bundle.file"}
        path.write_bytes(whole)
    folder.demand_whole(trusted)


def test_the_farm_checks_for_itself(bundle, away) -> None:
    folder = BundleFolder(bundle)
    first = {"trusted_root": folder.trusted_root.read_text(), "evidence": folder.evidence.read_text()}
    body = json.dumps(first).encode() + b"\n" + folder.manifest.read_bytes().replace(b"gizmo", b"gismo")
    client = away.house.client(away.token)
    answer = client.post("/api/v1/channels/mirror/imports", data=body)
    assert (answer.status_code, answer.json["code"]) == (422, "bundle.manifest")
    answer = client.post("/api/v1/channels/mirror/imports", data=b"{}\n")
    assert (answer.status_code, answer.json["code"]) == (400, "bundle.evidence")
    answer = client.put(f"/api/v1/mirror/projects/gizmo/files/{GIZMO}", data=GIZMO_BYTES)
    assert (answer.status_code, answer.json["code"]) == (404, "mirror.unknown_file")


def test_files_go_through_the_validator_and_must_have_their_digest(run, bundle, away, monkeypatch) -> None:
    body = BundleFolder(bundle)
    first = {"trusted_root": body.trusted_root.read_text(), "evidence": body.evidence.read_text()}
    client = away.house.client(away.token)
    text = json.dumps(first).encode() + b"\n" + body.manifest.read_bytes()
    assert client.post("/api/v1/channels/mirror/imports", data=text).status_code == 201
    answer = client.put(f"/api/v1/mirror/projects/gizmo/files/{GIZMO}", data=GIZMO_BYTES[:-1] + b"x")
    assert (answer.status_code, answer.json["code"]) == (422, "blob.digest")
    answer = client.put(f"/api/v1/mirror/projects/gizmo/files/{GIZMO}", data=GIZMO_BYTES + b"x")
    assert (answer.status_code, answer.json["code"]) == (413, "blob.too_large")
    with away.house.database.read() as session:
        assert session.scalars(select(UpstreamFile)).all() == []


def test_a_bad_file_that_a_trusted_farm_carries_is_refused_and_remembered(
    run, home, away, upstream, tmp_path, monkeypatch
) -> None:
    name, data = wheel("gizmo", "3.0", code="z = 1\n")
    data = data.replace(b"gizmo/__init__.py", b"gizmo/__init__.pz")  # RECORD names another member
    upstream.page("gizmo", entry(name, data))
    upstream.put(f"/files/{name}", data)
    with monkeypatch.context() as blind:  # the farm that wrote the bundle knew no better
        good = wheel("gizmo", "3.0")[1]
        checked = files.validate_in_sandbox

        def trusting(path: Path, expectation: Any) -> Any:
            stand_in = tmp_path / name
            stand_in.write_bytes(good)
            return checked(stand_in, expectation)

        blind.setattr(files, "validate_in_sandbox", trusting)
        (tmp_path / "wanted.txt").write_text("gizmo\n")
        out = ["--out", tmp_path / "b", "--lock", tmp_path / "wanted.txt"]
        assert run(home, "export", "mirror", *out)[0] == 0
    code, text, _err = run(away, "import", "mirror", tmp_path / "b", *trust(tmp_path / "b"), "--json")
    assert (code, [one["rule"] for one in json.loads(text)["failed"]]) == (1, ["mirror.refused"])
    assert "mirror.refuse" in away.kinds()
    assert away.files("gizmo") == []


def test_a_row_of_another_farm_or_of_another_kind_proves_nothing(home, bundle, tmp_path, vault) -> None:
    folder = BundleFolder(bundle)
    manifest = hashlib.sha256(folder.manifest.read_bytes()).hexdigest()
    stranger = tmp_path / "stranger"
    stranger.mkdir(mode=0o700)
    other = Vault(stranger, PUBLIC_URL)
    believed = root.load(other.health()["documents"][root.TRUSTED_ROOT].encode())
    other.close()
    with pytest.raises(IntegrityFailure) as caught:
        evidence.check(folder.evidence.read_text(), believed, manifest)
    assert caught.value.code == "bundle.evidence"
    with home.house.database.begin() as session:
        row = record(session, "mirror.first_sight", sha256=manifest, filename="x")
    sign(home.house, vault)
    with home.house.database.read() as session, pytest.MonkeyPatch.context() as patched:
        patched.setattr(evidence, "KIND", "mirror.first_sight")
        text = evidence.collect(session, row.serial).to_json()
    with pytest.raises(IntegrityFailure) as caught:
        evidence.check(text, root.load(folder.trusted_root), manifest)
    assert caught.value.code == "bundle.manifest"
