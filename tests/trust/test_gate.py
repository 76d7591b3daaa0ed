"""From a publishing farm to `buildfarm verify`: what it made is good, and each part of it matters.

A signer process, the use cases of a publishing worker, gunicorn, and the command as it is installed.
"""

from __future__ import annotations

import base64
import json

import pytest
from sqlalchemy import delete, select, update

from buildfarm.index.model import File
from buildfarm.journal.model import Checkpoint
from buildfarm.trust.vault import Vault

pytestmark = pytest.mark.system
WHEEL = "widget-1.0-py3-none-any.whl"


def failed(done):
    """Names of the failed checks, by file."""
    assert done.returncode == 1, done.stdout + done.stderr
    return {
        file["filename"]: {check["name"] for check in file["checks"] if not check["ok"]}
        for file in json.loads(done.stdout)["files"]
    }


def bundle_blob(live, filename=WHEEL):
    with live.house.database.read() as session:
        return live.house.farm.blobs.path(session.get_one(File, filename).bundle_sha256)


def changed(bundle, change):
    value = json.loads(bundle)
    change(value)
    return json.dumps(value).encode()


def swap_text(old, new):
    def change(value):
        payload = base64.b64decode(value["dsseEnvelope"]["payload"])
        assert old in payload
        value["dsseEnvelope"]["payload"] = base64.b64encode(payload.replace(old, new)).decode()

    return change


def flip_signature(value):
    (signature,) = value["dsseEnvelope"]["signatures"]
    raw = bytearray(base64.b64decode(signature["sig"]))
    raw[-1] ^= 1
    signature["sig"] = base64.b64encode(raw).decode()


def shrink_checkpoint(value):
    (log_entry,) = value["verificationMaterial"]["tlogEntries"]
    checkpoint = log_entry["inclusionProof"]["checkpoint"]
    origin, size, rest = checkpoint["envelope"].split("\n", 2)
    checkpoint["envelope"] = f"{origin}\n{int(size) + 1}\n{rest}"


def other_certificate(kit, folder, url):
    """A certificate for the same file and farm, by an authority of somebody else's."""
    (folder / "thief").mkdir(mode=0o700)
    vault = Vault(folder / "thief", url)
    urls = {
        name: value.replace(kit.FARM, url)
        for name, value in kit.make_facts().model_dump().items()
        if isinstance(value, str) and value.startswith(kit.FARM)
    }
    facts = kit.make_facts(
        **urls
        | {"project": "widget", "filename": WHEEL, "identity": f"{url}/projects/widget/recipes/default"}
    )
    attested = kit.attest(vault, folder, b"bytes", facts)
    document = vault.health()["documents"]["trusted_root.json"]
    vault.close()
    return base64.b64encode(attested.certificate).decode(), document


def test_what_was_published_verifies_as_file_and_as_release_and_offline_afterwards(live):
    wheel = live.download(WHEEL)
    done = live.run("verify", wheel)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "First use" in done.stderr
    assert "built from git+https://git.example/acme/widget.git at refs/tags/v1.0" in done.stdout
    assert "✓ log-memory: first checkpoint seen" in done.stdout
    release = live.run("verify", "widget==1.0", "--json")
    assert release.returncode == 0, release.stdout
    assert release.stderr == ""
    assert {file["filename"] for file in json.loads(release.stdout)["files"]} == set(live.house.files)
    beside = wheel.with_name(f"{WHEEL}.sigstore.json")
    beside.write_bytes(bundle_blob(live).read_bytes())
    offline = live.run("verify", wheel, "--offline")
    assert offline.returncode == 0, offline.stdout
    assert "- log-memory: not checked, no farm is asked" in offline.stdout


def test_a_later_release_makes_the_log_grow_out_of_what_was_seen(live, signed):
    assert live.run("verify", "widget==1.0").returncode == 0
    signed.publish(live.house.wheel(version="1.1"), ref="refs/tags/v1.1")
    later = live.house.follower.catch_up
    live.house.wait_for(lambda: live.house.tree.serial == later())
    done = live.run("verify", "widget==1.1")
    assert done.returncode == 0, done.stdout
    assert "✓ log-memory: grown from " in done.stdout


def test_each_part_of_a_bundle_that_was_tampered_with_is_named(live, kit, tmp_path):
    wheel = live.download(WHEEL)
    beside = wheel.with_name(f"{WHEEL}.sigstore.json")
    bundle = bundle_blob(live).read_bytes()
    certificate, _ = other_certificate(kit, tmp_path, live.house.farm.settings.public_url)

    def foreign(value):
        value["verificationMaterial"]["certificate"]["rawBytes"] = certificate

    for name, change, check in (
        ("statement", swap_text(b"refs/tags/v1.0", b"refs/tags/v6.6"), "envelope-signature"),
        ("envelope", flip_signature, "envelope-signature"),
        ("certificate", foreign, "certificate-chain"),
        ("checkpoint", shrink_checkpoint, "checkpoint-signature"),
    ):
        beside.write_bytes(changed(bundle, change))
        assert check in failed(live.run("verify", wheel, "--json"))[WHEEL], name
    beside.write_bytes(bundle)
    assert live.run("verify", wheel).returncode == 0
    wheel.write_bytes(wheel.read_bytes()[:-1] + b"!")
    assert failed(live.run("verify", wheel, "--json")) == {WHEEL: {"file-digest"}}


def test_a_file_under_another_name_is_refused(live):
    wheel = live.download(WHEEL)
    relabelled = wheel.with_name("widget-1.0-py2-none-any.whl")
    relabelled.write_bytes(wheel.read_bytes())
    relabelled.with_name(f"{relabelled.name}.sigstore.json").write_bytes(bundle_blob(live).read_bytes())
    assert failed(live.run("verify", relabelled, "--json")) == {relabelled.name: {"file-name"}}


def test_bytes_that_were_changed_in_the_store_are_found_in_the_release(live):
    with live.house.database.read() as session:
        path = live.house.farm.blobs.path(session.get_one(File, WHEEL).sha256)
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    found = failed(live.run("verify", "widget==1.0", "--json"))
    assert found.pop(WHEEL) == {"file-digest"}
    assert all(not checks for checks in found.values())


def test_a_head_that_was_tampered_with_is_refused(live, signed):
    wheel = live.download(WHEEL)
    assert live.run("verify", wheel).returncode == 0
    signed.publish(live.house.wheel(version="1.1"), ref="refs/tags/v1.1")
    assert live.run("verify", wheel).returncode == 0
    with live.house.database.begin() as session:
        newest = session.scalars(select(Checkpoint).order_by(Checkpoint.size.desc())).first()
        true_note, size = newest.note, newest.size
        newest.note = true_note.replace(f"\n{size}\n", f"\n{size + 1}\n")
    assert failed(live.run("verify", wheel, "--json")) == {WHEEL: {"log-memory"}}
    with live.house.database.begin() as session:  # the log as it was before, truly signed then
        session.execute(delete(Checkpoint).where(Checkpoint.size == size))
    done = live.run("verify", wheel)
    assert done.returncode == 1
    assert "now says it has" in done.stdout


def test_a_served_root_that_is_not_the_pinned_one_decides_nothing(live, kit, tmp_path):
    wheel = live.download(WHEEL)
    assert live.run("verify", wheel).returncode == 0
    _, document = other_certificate(kit, tmp_path, live.house.farm.settings.public_url)
    (live.house.farm.settings.trust_dir / "trusted_root.json").write_text(document)
    done = live.run("verify", wheel)
    assert done.returncode == 3
    assert "not the one that was pinned" in done.stderr


def test_a_file_whose_statement_was_taken_away_has_none(live):
    with live.house.database.begin() as session:
        session.execute(update(File).where(File.filename == WHEEL).values(bundle_sha256=None))
    live.house.tree.set_serial(-1)
    live.house.wait_for(lambda: live.house.tree.serial >= 0)
    assert live.run("verify", "widget==1.0").returncode == 2
