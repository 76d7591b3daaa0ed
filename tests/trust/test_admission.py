"""Nothing that does not verify enters a channel: at publishing, and again at promotion."""

from __future__ import annotations

import base64
import json

import pytest
from sqlalchemy import func, select

from buildfarm.errors import IntegrityFailure
from buildfarm.index import attesting
from buildfarm.index.model import ChannelEntry, File, Promotion
from buildfarm.journal.record import size

WHEEL = "widget-1.0-py3-none-any.whl"
STEP = {"project": "widget", "version": "1.0", "from": "dev", "to": "staging"}


def promote(house, token=None):
    return house.client(token or house.token("admin")).post("/api/v1/promotions", json=STEP)


def counts(house):
    with house.database.read() as session:
        rows = [
            session.scalar(select(func.count()).select_from(table)) for table in (ChannelEntry, Promotion)
        ]
        return rows, size(session)


def flipped(bundle):
    value = json.loads(bundle)
    (signature,) = value["dsseEnvelope"]["signatures"]
    raw = bytearray(base64.b64decode(signature["sig"]))
    raw[-1] ^= 1
    signature["sig"] = base64.b64encode(raw).decode()
    return json.dumps(value).encode()


def refused(house, code):
    token = house.token("admin")
    before = counts(house)
    answer = promote(house, token)
    assert answer.status_code >= 400, answer.text
    assert answer.json["code"] == code
    assert counts(house) == before


def test_a_bundle_that_does_not_verify_is_not_published(signed, monkeypatch):
    house, assemble = signed.house, attesting.bundles.assemble
    monkeypatch.setattr(attesting.bundles, "assemble", lambda *parts: flipped(assemble(*parts)))
    with pytest.raises(IntegrityFailure) as error:
        signed.publish(house.wheel())
    assert error.value.code == "verify.envelope-signature"
    with house.database.read() as session:
        assert session.get(File, WHEEL) is None
        assert session.scalar(select(func.count()).select_from(ChannelEntry)) == 0


def test_what_verifies_is_promoted(signed):
    signed.publish(signed.house.wheel())
    assert promote(signed.house).status_code == 201


def test_a_bundle_that_was_changed_in_the_store_is_not_promoted(signed):
    house = signed.house
    signed.publish(house.wheel())
    with house.database.read() as session:
        path = house.farm.blobs.path(session.get_one(File, WHEEL).bundle_sha256)
    good = path.read_bytes()
    path.write_bytes(flipped(good))
    refused(house, "verify.envelope-signature")
    path.write_bytes(b"{}")
    refused(house, "verify.bundle")
    path.write_bytes(good)
    assert promote(house).status_code == 201


def test_other_bytes_under_the_files_name_are_not_promoted(signed):
    house = signed.house
    signed.publish(house.wheel())
    with house.database.begin() as session:
        session.get_one(File, WHEEL).sha256 = "0" * 64
    refused(house, "verify.file-digest")


def test_a_built_file_that_lost_its_statement_is_not_promoted_and_an_uploaded_one_is(signed):
    house = signed.house
    signed.publish(house.wheel())
    with house.database.begin() as session:
        session.get_one(File, WHEEL).bundle_sha256 = None
    refused(house, "admission.unattested")
    with house.database.begin() as session:
        session.get_one(File, WHEEL).build_id = None
    assert promote(house).status_code == 201


def test_a_statement_by_an_authority_that_was_taken_out_of_the_root_is_not_promoted(signed, start_signer):
    house = signed.house
    signed.publish(house.wheel())
    signed.signer.client.rotate()
    signed.signer.stop()
    for left in sorted((signed.signer.data / "keys" / "issuing").iterdir())[:-1]:
        for file in left.iterdir():
            file.unlink()
        left.rmdir()
    start_signer(data=signed.signer.data, url=house.farm.settings.public_url)
    refused(house, "verify.certificate-chain")


def test_without_the_root_nothing_built_is_promoted(signed):
    house = signed.house
    signed.publish(house.wheel())
    (house.farm.settings.trust_dir / "trusted_root.json").unlink()
    refused(house, "admission.no_root")
