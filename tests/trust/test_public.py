"""Statements of a Sigstore service: the public one's as published, and those of keys of our own."""

from __future__ import annotations

import base64
import hashlib
import importlib.resources
import json
import socket
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from buildfarm.errors import EnvironmentProblem, FarmError, InvalidInput
from buildfarm.trust import bundle as bundles
from buildfarm.trust import mint, public

FILES = Path(__file__).parents[1] / "fixtures" / "sigstore"
GITHUB, GITLAB = "pypi_attestations-0.0.19.tar.gz", "gitlab_oidc_project-0.0.3.tar.gz"
_STORE = Path(str(importlib.resources.files("sigstore._store")))
ROOT = _STORE / quote("https://tuf-repo-cdn.sigstore.dev", safe="") / "trusted_root.json"


def attestation(filename: str, kind: str = "publish") -> dict[str, Any]:
    return json.loads((FILES / f"{filename}.{kind}.attestation").read_text())


def judge(data: bytes, content: bytes, filename: str, root: Path) -> public.Signer:
    signer = public.signer_of(data)
    public.verify(data, signer, hashlib.sha256(content).hexdigest(), filename, root)
    return signer


@pytest.mark.parametrize(
    ("filename", "kind", "publisher"),
    [
        (GITHUB, "publish",
         {"kind": "GitHub", "repository": "trailofbits/pypi-attestations", "workflow": "release.yml"}),
        (GITHUB, "slsa",
         {"kind": "GitHub", "repository": "trailofbits/pypi-attestations", "workflow": "release.yml"}),
        (GITLAB, "publish",
         {"kind": "GitLab", "repository": "facutuesca/gitlab-oidc-project",
          "workflow_filepath": ".gitlab-ci.yml"}),
    ],
)  # fmt: skip
def test_what_the_public_service_signed_verifies_without_a_network(
    filename: str, kind: str, publisher: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_arguments: object) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    data = bundles.from_attestation(attestation(filename, kind))
    assert judge(data, (FILES / filename).read_bytes(), filename, ROOT).publisher() == publisher


def _set(value: dict[str, Any], path: str, new: object) -> None:
    *steps, last = (int(step) if step.isdigit() else step for step in path.split("."))
    for step in steps:
        value = value[step]
    if new is None:
        del value[last]
    else:
        value[last] = new


ENTRY = "verificationMaterial.tlogEntries.0"


@pytest.mark.parametrize(
    ("path", "new", "code"),
    [
        (f"{ENTRY}.inclusionPromise", None, "attestation.signature"),
        (f"{ENTRY}.inclusionPromise.signedEntryTimestamp", "AAAA", "attestation.signature"),
        (f"{ENTRY}.inclusionProof", None, "attestation.signature"),
        (f"{ENTRY}.inclusionProof.rootHash", "AAAA", "attestation.signature"),
        (f"{ENTRY}.integratedTime", "1", "attestation.certificate"),
        (f"{ENTRY}.integratedTime", "4000000000", "attestation.certificate"),
        ("verificationMaterial.tlogEntries", [], "attestation.signature"),
        ("dsseEnvelope.payload", "e30=", "attestation.signature"),
        ("dsseEnvelope.signatures.0.sig", "AAAA", "attestation.signature"),
    ],
)
def test_a_changed_one_is_refused(kit, published, path: str, new: object, code: str) -> None:
    judge(published.bundle, published.data, kit.WHEEL, published.root_path)
    value = json.loads(published.bundle)
    _set(value, path, new)
    with pytest.raises(InvalidInput, match=f"An attestation of {kit.WHEEL} does not verify: ..") as caught:
        judge(json.dumps(value).encode(), published.data, kit.WHEEL, published.root_path)
    assert caught.value.code == code


def test_one_about_other_bytes_or_another_name_is_refused(kit, published) -> None:
    for content, filename, why in (
        (b"other", kit.WHEEL, "about other bytes"),
        (published.data, "demo-2.0-py3-none-any.whl", "about a file named demo-1.0"),
    ):
        with pytest.raises(InvalidInput, match=why) as caught:
            judge(published.bundle, content, filename, published.root_path)
        assert caught.value.code == "attestation.file"


@pytest.mark.parametrize(
    "changes",
    [
        {"predicateType": "https://example.org/opinion/v1"},
        {"_type": "https://in-toto.io/Statement/v0.1"},
        {"subject": []},
        {"subject": "all"},
    ],
)
def test_one_of_another_kind_is_refused(
    kit, vault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    compose = mint.statement.compose

    def composed(*arguments: Any) -> bytes:
        return json.dumps(json.loads(compose(*arguments)) | changes).encode()

    monkeypatch.setattr(mint.statement, "compose", composed)
    made = kit.publish(vault, tmp_path, kit.Log(), b"bytes", kit.make_facts())
    with pytest.raises(InvalidInput) as caught:
        judge(made.bundle, b"bytes", kit.WHEEL, made.root_path)
    assert caught.value.code == "attestation.predicate"


def test_one_of_another_service_is_refused(published) -> None:
    data = bundles.from_attestation(attestation(GITHUB))
    with pytest.raises(InvalidInput, match=r"not of trusted_root\.json") as caught:
        judge(data, (FILES / GITHUB).read_bytes(), GITHUB, published.root_path)
    assert caught.value.code == "attestation.certificate"


def test_one_by_somebody_else_than_was_asked_is_refused(kit, published) -> None:
    digest = hashlib.sha256(published.data).hexdigest()
    for signer in (
        public.Signer("https://other.example", f"{kit.FARM}/projects/demo/recipes/default", ""),
        public.Signer(kit.FARM, f"{kit.FARM}/projects/other/recipes/default", ""),
    ):
        with pytest.raises(InvalidInput):
            public.verify(published.bundle, signer, digest, kit.WHEEL, published.root_path)


def test_a_root_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    for content in ("", "{}", '{"mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1"}'):
        (tmp_path / "root.json").write_text(content)
        with pytest.raises(EnvironmentProblem, match=r"root\.json of index\.sigstore_root") as caught:
            public.demand_root(tmp_path / "root.json")
        assert caught.value.code == "index.sigstore_root"


@pytest.mark.parametrize(
    ("identity", "projects", "project", "is_believed"),
    [
        ("https://forge.example/a/b/x.yml@refs/tags/*", ("*",), "b", True),
        ("https://forge.example/a/b/x.yml@refs/heads/*", ("*",), "b", False),
        ("https://forge.example/a/*", ("b", "c-*"), "c-d", True),
        ("https://forge.example/a/*", ("b", "c-*"), "d", False),
    ],
)
def test_belief_is_by_issuer_identity_and_project(
    identity: str, projects: tuple[str, ...], project: str, is_believed: bool
) -> None:
    workflow = "https://forge.example/a/b/x.yml@refs/tags/v1"
    signer = public.Signer("https://issuer.example", workflow, workflow)
    believed = public.Believed("https://issuer.example", identity, projects)
    assert signer.is_believed([believed], project) is is_believed
    assert not public.Signer("https://other.example", workflow, workflow).is_believed([believed], project)


def _paths(value: object, before: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [before, *(path for key, part in inside for path in _paths(part, (*before, key)))]


REAL = attestation(GITLAB)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
    | st.binary(max_size=40).map(lambda data: base64.b64encode(data).decode()),
    lambda part: st.lists(part, max_size=3) | st.dictionaries(st.text(max_size=8), part, max_size=3),
    max_leaves=6,
)  # fmt: skip


@settings(max_examples=300)
@given(st.sampled_from(_paths(REAL)), json_values)
def test_whatever_is_put_into_a_real_one_there_is_a_sentence(path: tuple[Any, ...], new: object) -> None:
    began = time.thread_time()
    holder = {"it": json.loads(json.dumps(REAL))}
    *steps, last = ("it", *path)
    place: Any = holder
    for step in steps:
        place = place[step]
    place[last] = new
    refused: list[FarmError] = []
    try:
        data = bundles.from_attestation(holder["it"])
        judge(data, (FILES / GITLAB).read_bytes(), GITLAB, ROOT)
    except FarmError as error:
        refused.append(error)
    assert all(error.message and error.code.startswith(("attestation.", "bundle.")) for error in refused)
    assert time.thread_time() - began < 5, "what it costs to refuse"
