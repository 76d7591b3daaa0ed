"""Attestations that come along with uploads: believed when they verify here, refused otherwise (PEP 740)."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
from pathlib import Path

import pytest

from buildfarm.cli.first_start import prepare
from buildfarm.errors import EnvironmentProblem
from buildfarm.index.model import File
from buildfarm.index.publish import Publisher
from buildfarm.trust.client import SignerClient
from tests.index.uploads import send

pytestmark = pytest.mark.system


@pytest.fixture
def attested(open_house, signer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """A wheel that one farm built, its attestations as a client uploads them, and that farm's root."""
    house = open_house()
    monkeypatch.setattr(type(house.farm.upstream), "rows", lambda _self, _name: None)
    farm, wheel = house.farm, house.wheel()
    client = SignerClient(signer())
    build_id = house.built(house.source(), wheel)
    publisher = Publisher(farm.database, farm.blobs, client, farm.upstream, farm.settings)
    publisher.publish(build_id, house.publish_task(build_id), lambda: None)
    with house.database.read() as session:
        provenance = json.loads(farm.blobs.read(session.get_one(File, wheel[0]).provenance_sha256))
    root = tmp_path / "elsewhere.json"
    root.write_text(client.health()["documents"]["trusted_root.json"])
    return wheel, provenance["attestation_bundles"][0]["attestations"], root


@pytest.fixture
def other(open_house, sqlite_template: Path, tmp_path: Path):
    """Opens a second farm."""

    def open_other(*roots: Path):
        shutil.copy(sqlite_template, tmp_path / "other.db")
        return open_house(
            data=tmp_path / "other", database=f"sqlite:///{tmp_path / 'other.db'}",
            public_url="http://other.example", index={"attestation_roots": roots},
        )  # fmt: skip

    return open_other


def test_a_statement_of_a_farm_that_is_believed_is_kept_and_served(attested, other) -> None:
    (filename, data), attestations, root = attested
    house = other(root)
    house.follower.catch_up()
    client = house.client(house.token("admin"))
    answer = send(client, filename, data, attestations=json.dumps(attestations))
    assert answer.status_code == 200, answer.text
    house.follower.catch_up()
    path = f"/dev/files/widget/{filename}"
    provenance = json.loads(client.get(f"{path}.provenance").data)
    (bundle,) = provenance["attestation_bundles"]
    assert bundle["attestations"] == attestations
    assert bundle["publisher"]["instance"] == "http://farm.example"
    served = json.loads(client.get(f"{path}.sigstore.json").data)
    assert served["dsseEnvelope"]["payload"] == attestations[0]["envelope"]["statement"]


@pytest.mark.parametrize("case", ["no root", "other file", "forged", "one of two", "twice broken"])
def test_one_that_does_not_verify_is_refused_and_nothing_is_stored(attested, other, case: str) -> None:
    (filename, data), attestations, root = attested
    house = other(*([] if case == "no root" else [root]))
    client = house.client(house.token("admin"))
    forged = json.loads(json.dumps(attestations))
    statement = json.loads(base64.b64decode(forged[0]["envelope"]["statement"]))
    statement["predicate"]["runDetails"]["builder"]["id"] += "x"
    forged[0]["envelope"]["statement"] = base64.b64encode(json.dumps(statement).encode()).decode()
    if case == "other file":
        filename, data = house.wheel(code="x = 2\n")
    sent = {"forged": forged, "one of two": [*attestations, *forged], "twice broken": [None]}
    answer = send(client, filename, data, attestations=json.dumps(sent.get(case, attestations)))
    assert answer.status_code == 400
    assert answer.json["code"] in {"upload.attestations", "bundle.malformed"}
    assert answer.status.split(" ", 1)[1]
    with house.database.read() as session:
        assert session.query(File).all() == []
    assert not house.farm.blobs.has(hashlib.sha256(data).hexdigest())


def test_a_root_that_cannot_be_used_is_told_at_the_start(other, tmp_path: Path) -> None:
    root = tmp_path / "public.json"
    root.write_text('{"mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1"}')
    farm = other(root).farm
    with pytest.raises(EnvironmentProblem, match=r"public\.json of index\.attestation_roots") as caught:
        prepare(farm, None)
    assert caught.value.code == "index.attestation_roots"
