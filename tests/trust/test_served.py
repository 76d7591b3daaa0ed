"""What the web process serves about trust, and `buildfarm key` and `journal verify` over it."""

from __future__ import annotations

import base64
import hashlib
import json

import pytest
from sqlalchemy import select, text, update

from buildfarm.errors import IntegrityFailure
from buildfarm.journal import merkle
from buildfarm.journal.model import JournalRow
from buildfarm.journal.recompute import Recomputed
from buildfarm.trust import note, root, uris


def rows(house):
    with house.database.read() as session:
        return session.scalars(select(JournalRow).order_by(JournalRow.serial)).all()


def test_everybody_reads_the_newest_head_and_the_proof_of_growth_to_it(signed):
    house = signed.house
    client = house.client()
    assert client.get("/tuf/checkpoint").status_code == 404
    signed.publish(house.wheel())
    first = note.parse(client.get("/tuf/checkpoint").text).checkpoint
    signed.publish(house.wheel(version="1.1"), ref="refs/tags/v1.1")
    second = note.parse(client.get("/tuf/checkpoint").text)
    trusted = root.load(client.get("/tuf/targets/trusted_root.json").data)
    note.verify(second, trusted.logs[0].log_id, trusted.logs[0].key)
    newest = second.checkpoint
    assert newest.size > first.size
    answer = client.get(f"/tuf/consistency?from={first.size}&to={newest.size}").json
    proof = [base64.b64decode(each) for each in answer["hashes"]]
    merkle.verify_consistency(first.size, newest.size, first.root, newest.root, proof)


@pytest.mark.parametrize(
    "query",
    ["", "?from=1", "?from=1&to=x", "?from=-1&to=2", "?from=2&to=1", "?from=0&to=9999999", "?from=1&to=٢",
     "?from=1&to=99999999999999999999999"],
)  # fmt: skip
def test_sizes_that_the_log_never_had_are_refused(house, query):
    assert house.client().get(f"/tuf/consistency{query}").status_code == 400


@pytest.mark.parametrize(
    ("path", "said"),
    [
        (uris.BUILDER_PATH, "Build L3"),
        (uris.SHARED_BUILDER_PATH, "Build L2"),
        (uris.CACHED_BUILDER_PATH, "its compilers had a cache"),
        (uris.BUILD_TYPE_PATH, "externalParameters"),
        (uris.REPRODUCED_PATH, "reproduces.invocationId"),
    ],
)
def test_what_statements_refer_to_resolves_without_a_login(house, path, said):
    answer = house.client().get(path, headers={"Accept": "text/html"})
    assert answer.status_code == 200
    assert said in answer.text
    assert house.farm.settings.public_url + path in answer.text


def test_the_build_types_page_knows_every_parameter_of_a_statement(signed):
    house = signed.house
    signed.publish(house.wheel())
    with house.database.read() as session:
        digest = session.execute(text("SELECT bundle_sha256 FROM file")).scalar_one()
    payload = json.loads(house.farm.blobs.read(digest))["dsseEnvelope"]["payload"]
    definition = json.loads(base64.b64decode(payload))["predicate"]["buildDefinition"]
    page = house.client().get(uris.BUILD_TYPE_PATH).text
    external = definition["externalParameters"]
    for name in [
        *definition["internalParameters"],
        "source.uri",
        "source.ref",
        "recipe.path",
        "target",
        "inputs",
    ]:
        assert f"<code>{name}</code>" in page, name
    assert set(external) == {"source", "recipe", "target", "inputs"}


def test_keys_are_listed_and_shown_without_the_signer_and_hold_no_secret(signed):
    house = signed.house
    admin = house.client(house.token("admin"))
    signed.signer.stop()
    listed = admin.get("/api/v1/keys").json["items"]
    assert [each["kind"] for each in listed] == ["issuing-ca", "root-ca", "log", "certificate-timestamp"]
    for each in listed:
        shown = admin.get(f"/api/v1/keys/{each['id'][:12]}").json
        assert shown["id"] == each["id"]
        assert "PRIVATE" not in shown["pem"]
    assert admin.get(f"/api/v1/keys/{listed[0]['id'][:4]}").status_code == 404
    assert admin.get("/api/v1/keys/signer").status_code == 503
    assert admin.post("/api/v1/keys/rotate").status_code == 503
    assert "key.rotate" not in {row.kind for row in rows(house)}


def test_a_rotation_stands_in_the_journal_and_what_was_published_before_is_promoted_after(signed):
    house = signed.house
    admin = house.client(house.token("admin", name="ada"))
    signed.publish(house.wheel())
    made = admin.post("/api/v1/keys/rotate")
    assert made.status_code == 201
    served = house.client().get("/tuf/targets/trusted_root.json").data
    assert made.json["root_sha256"] == hashlib.sha256(served).hexdigest()
    last = json.loads(rows(house)[-1].body)
    assert (last["kind"], last["actor"], last["root_sha256"]) == (
        "key.rotate",
        "ada",
        made.json["root_sha256"],
    )
    kinds = [(each["kind"], each["state"]) for each in admin.get("/api/v1/keys").json["items"]]
    assert kinds[:2] == [("issuing-ca", "in use"), ("root-ca", "in use")]
    assert kinds[2] == ("issuing-ca", "retired")
    step = {"project": "widget", "version": "1.0", "from": "dev", "to": "staging"}
    assert admin.post("/api/v1/promotions", json=step).status_code == 201
    signed.publish(house.wheel(version="1.1"), ref="refs/tags/v1.1")


def test_the_rows_that_the_api_shows_give_the_root_that_was_signed(signed):
    house = signed.house
    signed.publish(house.wheel())
    admin = house.client(house.token("admin"))
    head = note.parse(admin.get("/api/v1/journal/checkpoint").json["note"]).checkpoint
    tree = Recomputed()
    for row in admin.get(f"/api/v1/journal?limit={head.size}").json["items"]:
        tree.add(row)
    assert tree.root() == head.root


@pytest.mark.parametrize(
    "change",
    [
        {"serial": 2}, {"serial": None}, {"leaf": "AAAA"}, {"facts": {"number": 1.5e400}}, {"facts": None},
        {"kind": "attest"}, {"kind": "attest", "leaf": "!"}, {"kind": "attest", "leaf": "e30="},
        {"kind": "attest", "leaf": base64.b64encode(b'{"kind":"row"}').decode()},
    ],
)  # fmt: skip
def test_a_row_that_cannot_be_the_next_one_is_refused(change):
    row = {"serial": 1, "at": "x", "kind": "yank", "project": None, "facts": {}, "leaf": None}
    with pytest.raises(IntegrityFailure):
        Recomputed().add(row | change)


@pytest.mark.system
def test_journal_verify_recomputes_the_log_and_finds_a_changed_row(live):
    done = live.run("journal", "verify", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["memory"].startswith("first checkpoint seen")
    assert "the same" in live.run("journal", "verify").stdout
    with live.house.database.begin() as session:
        row = session.scalars(select(JournalRow).where(JournalRow.kind == "publish")).one()
        body = row.body.replace('"channel":"dev"', '"channel":"stable"')
        assert body != row.body
        session.execute(
            update(JournalRow)
            .where(JournalRow.serial == row.serial)
            .values(body=body, leaf=body.encode())
            .execution_options(synchronize_session=False)
        )
    # That row is newer than the head, which proved its files before they were shown: the next one covers it.
    assert live.run("journal", "verify").returncode == 0
    with live.house.database.begin() as session:
        row = session.scalars(select(JournalRow).where(JournalRow.kind == "channel.create")).first()
        body = row.body.replace('"channel":"dev"', '"channel":"evil"')
        session.execute(
            update(JournalRow)
            .where(JournalRow.serial == row.serial)
            .values(body=body, leaf=body.encode())
            .execution_options(synchronize_session=False)
        )
    done = live.run("journal", "verify")
    assert done.returncode == 1
    assert "not those of the signed head" in done.stderr


@pytest.mark.system
def test_the_command_key_lists_shows_and_rotates(live):
    listed = json.loads(live.run("key", "list", "--json").stdout)["items"]
    assert len(listed) == 4
    assert "BEGIN CERTIFICATE" in live.run("key", "show", listed[0]["id"][:16]).stdout
    before = json.loads(live.run("key", "show", "--json").stdout)
    assert before["attested"] == 2
    after = json.loads(live.run("key", "rotate", "--json").stdout)
    assert after["root_sha256"] != before["root_sha256"]
    assert after["root_sha256"] in live.run("key", "show").stdout
    assert live.run("key", "show", "0000000000000000").returncode == 1
    assert live.run("key", "list", BUILDFARM_TOKEN=live.house.token("view")).returncode == 1
