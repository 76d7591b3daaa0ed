"""Attestations that come along with uploads: believed when they verify here, refused otherwise (PEP 740)."""

from __future__ import annotations

import base64
import hashlib
import importlib.resources
import json
import shutil
from pathlib import Path
from urllib.parse import quote

import pytest

from buildfarm.cli.first_start import prepare
from buildfarm.errors import EnvironmentProblem, InvalidInput
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
    assert answer.json["code"] in {"upload.attestations", "bundle.malformed", "attestation.identity"}
    assert answer.status.split(" ", 1)[1]
    with house.database.read() as session:
        assert session.query(File).all() == []
    assert not house.farm.blobs.has(hashlib.sha256(data).hexdigest())


def test_a_root_that_cannot_be_used_is_told_at_the_start(other, tmp_path: Path) -> None:
    root = tmp_path / "public.json"
    root.write_text('{"mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1"}')
    farm = other(root).farm
    with pytest.raises(EnvironmentProblem, match=r"public\.json of index\.attestation_roots") as caught:
        prepare(farm, None, ())
    assert caught.value.code == "index.attestation_roots"


PUBLISHED = Path(__file__).parents[1] / "fixtures" / "sigstore" / "pypi_attestations-0.0.19.tar.gz"
ISSUER = "https://token.actions.githubusercontent.com"
WORKFLOW = "https://github.com/trailofbits/pypi-attestations/.github/workflows/release.yml@refs/tags/v0.0.19"


@pytest.fixture
def believing(open_house, monkeypatch: pytest.MonkeyPatch):
    """Opens a farm that believes statements of the public Sigstore service by these identities."""

    def open_believing(*identities: dict[str, object]):
        store = Path(str(importlib.resources.files("sigstore._store")))
        service = store / quote("https://tuf-repo-cdn.sigstore.dev", safe="")
        index = {"sigstore_root": service / "trusted_root.json", "attestation_identities": identities}
        house = open_house(index=index)
        monkeypatch.setattr(type(house.farm.upstream), "rows", lambda _self, _name: None)
        house.follower.catch_up()
        return house

    return open_believing


def _published() -> str:
    kinds = ("publish", "slsa")
    values = [PUBLISHED.with_name(f"{PUBLISHED.name}.{kind}.attestation").read_text() for kind in kinds]
    return f"[{','.join(values)}]"


def test_a_statement_of_the_public_service_by_whom_the_settings_name_is_served(believing) -> None:
    house = believing({"issuer": ISSUER, "identity": WORKFLOW.partition("@")[0] + "@refs/tags/*"})
    house.farm.statements.check()
    client = house.client(house.token("admin"))
    answer = send(client, PUBLISHED.name, PUBLISHED.read_bytes(), attestations=_published())
    assert answer.status_code == 200, answer.text
    house.follower.catch_up()
    path = f"/dev/files/pypi-attestations/{PUBLISHED.name}"
    provenance = json.loads(client.get(f"{path}.provenance").data)
    publisher = {"kind": "GitHub", "repository": "trailofbits/pypi-attestations", "workflow": "release.yml"}
    assert [one["publisher"] for one in provenance["attestation_bundles"]] == [publisher, publisher]
    served = [one for each in provenance["attestation_bundles"] for one in each["attestations"]]
    assert served == json.loads(_published())
    # A farm's bundle is what `buildfarm verify` reads there, and this is none.
    assert client.get(f"{path}.sigstore.json").status_code == 404


@pytest.mark.parametrize(
    ("believed", "code"),
    [
        ([], "attestation.identity"),
        ([{"issuer": "https://gitlab.com", "identity": "*"}], "attestation.identity"),
        ([{"issuer": ISSUER, "identity": "*", "projects": ["widget"]}], "attestation.identity"),
        ([{"issuer": ISSUER, "identity": WORKFLOW}], "attestation.file"),
    ],
)
def test_one_by_somebody_else_or_of_another_file_is_refused(believing, believed, code: str) -> None:
    house = believing(*believed)
    filename, data = (
        (f"pypi_attestations-0.0.19-{house.wheel()[0].split('-', 2)[2]}", house.wheel()[1])
        if code == "attestation.file"
        else (PUBLISHED.name, PUBLISHED.read_bytes())
    )
    with pytest.raises(InvalidInput) as caught:
        house.farm.statements.prove(_published(), filename, hashlib.sha256(data).hexdigest())
    assert caught.value.code == code
    if code == "attestation.identity":
        assert WORKFLOW in caught.value.message
        assert ISSUER in caught.value.message
        assert "index.attestation_identities" in caught.value.hint
        answer = send(house.client(house.token("admin")), filename, data, attestations=_published())
        assert (answer.status_code, answer.json["code"]) == (400, code)


def test_identities_without_a_root_are_told_at_the_start(open_house) -> None:
    farm = open_house(index={"attestation_identities": [{"issuer": ISSUER, "identity": WORKFLOW}]}).farm
    with pytest.raises(EnvironmentProblem, match=r"needs index\.sigstore_root") as caught:
        prepare(farm, None, ())
    assert caught.value.code == "index.sigstore_root"
