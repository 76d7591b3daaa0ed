"""Every bundle the farm makes is judged by an independent implementation, without a network."""

from __future__ import annotations

import base64
import json
import subprocess
import sys

import pytest
from sigstore.errors import VerificationError
from sigstore.models import Bundle, ClientTrustConfig, TrustedRoot
from sigstore.verify import Verifier
from sigstore.verify import policy as sigstore_policy

from buildfarm.trust import bundle, root
from buildfarm.trust.verify import verify_bundle

IDENTITY = "https://farm.example/projects/demo/recipes/default"


def ask_sigstore(data, root_path, identity=IDENTITY):
    verifier = Verifier(trusted_root=TrustedRoot.from_file(str(root_path)))
    issuer = identity.partition("/projects/")[0]
    wanted = sigstore_policy.AllOf(
        [
            sigstore_policy.Identity(identity=identity, issuer=issuer),
            sigstore_policy.OIDCIssuerV2(issuer),
        ]
    )
    kind, payload = verifier.verify_dsse(Bundle.from_json(data), wanted)
    assert kind == "application/vnd.in-toto+json"
    return json.loads(payload)


def test_sigstore_and_our_own_verifier_accept_a_published_file(kit, published, policy):
    statement = ask_sigstore(published.bundle, published.root_path)
    assert statement["subject"][0]["name"] == kit.WHEEL
    report = verify_bundle(published.bundle, published.data, kit.WHEEL, published.root, policy)
    assert report.ok, [check for check in report.checks if not check.ok]
    assert report.origin is not None
    assert report.origin.source_uri == "git+https://ghe.example/acme/demo"
    assert report.origin.commit == "a" * 40
    assert report.origin.dependencies == 1
    assert report.origin.identity == IDENTITY


@pytest.mark.parametrize("before", [0, 1, 2, 3, 7, 8, 100])
def test_a_file_verifies_wherever_it_stands_in_the_log(kit, vault, tmp_path, policy, before):
    log = kit.Log()
    for number in range(before):
        log.append(f"row {number}".encode())
    made = kit.publish(vault, tmp_path, log, b"bytes", kit.make_facts())
    ask_sigstore(made.bundle, made.root_path)
    verify_bundle(made.bundle, b"bytes", kit.WHEEL, made.root, policy).demand()


def test_a_log_of_one_entry_verifies(kit, vault, tmp_path, policy):
    log = kit.Log()
    attested = kit.attest(vault, tmp_path, b"bytes", kit.make_facts())
    log.append(attested.entry_body)
    signed = vault.checkpoint(log.request(log.entry(attested, 0)))
    path = tmp_path / "root.json"
    path.write_text(vault.health()["documents"]["trusted_root.json"])
    made = bundle.assemble(attested, signed, 0, [])
    ask_sigstore(made, path)
    verify_bundle(made, b"bytes", kit.WHEEL, root.load(path), policy).demand()


def test_an_sdist_with_long_names_and_hundreds_of_dependencies_verifies(kit, vault, tmp_path, policy):
    dependency = kit.make_facts().dependencies[0]
    facts = kit.make_facts(
        filename="demo-1.0.tar.gz",
        ref="refs/heads/" + "long-branch-name-" * 12,  # over 127 bytes: the long DER length
        dependencies=[dependency] * 300,
        identity=IDENTITY.replace("default", "r" * 200),
    )
    made = kit.publish(vault, tmp_path, kit.Log(), b"sdist", facts)
    ask_sigstore(made.bundle, made.root_path, facts.identity)
    report = verify_bundle(made.bundle, b"sdist", "demo-1.0.tar.gz", made.root, policy)
    report.demand()
    assert report.origin.dependencies == 300


def test_the_statement_has_the_shape_of_slsa_provenance(kit, published):
    statement = json.loads(published.attested.statement)
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["predicateType"] == "https://slsa.dev/provenance/v1"
    assert len(statement["subject"]) == 1
    definition = statement["predicate"]["buildDefinition"]
    assert set(definition["externalParameters"]) == {"source", "recipe", "target", "inputs"}
    assert definition["resolvedDependencies"][0]["digest"] == {"gitCommit": "a" * 40}
    run = statement["predicate"]["runDetails"]
    assert run["builder"]["id"] == f"{kit.FARM}/builders/container-isolated/v1"
    assert run["metadata"]["startedOn"] == "2026-11-24T02:00:00Z"
    assert run["metadata"]["invocationId"] == f"{kit.FARM}/builds/bld_1/attempts/1"


@pytest.mark.parametrize(
    ("ecosystem", "name", "version", "uri"),
    [
        ("pypi", "setuptools", "80.9.0", "pkg:pypi/setuptools@80.9.0"),
        ("cargo", "Leaf_x", "1.0.0+b.2", "pkg:cargo/Leaf_x@1.0.0%2Bb.2"),
        ("golang", "go.ex/Deep/x", "v2.0.0+incompatible", "pkg:golang/go.ex/deep/x@v2.0.0%2Bincompatible"),
    ],
)  # fmt: skip
def test_a_dependency_is_named_by_its_package_url(
    kit, vault, tmp_path, policy, ecosystem, name, version, uri
):
    known = kit.make_facts().dependencies[0].model_dump()
    facts = kit.make_facts(dependencies=[known | {"ecosystem": ecosystem, "name": name, "version": version}])
    made = kit.publish(vault, tmp_path, kit.Log(), b"bytes", facts)
    last = json.loads(made.attested.statement)["predicate"]["buildDefinition"]["resolvedDependencies"][-1]
    assert (last["name"], last["uri"], last["digest"]) == (name, uri, {"sha256": known["sha256"]})
    assert verify_bundle(made.bundle, b"bytes", kit.WHEEL, made.root, policy).origin.dependencies == 1


def test_the_builder_says_when_tiers_share_a_host(kit, vault, tmp_path, policy):
    made = kit.publish(vault, tmp_path, kit.Log(), b"bytes", kit.make_facts(tiers_shared=True))
    builder = json.loads(made.attested.statement)["predicate"]["runDetails"]["builder"]["id"]
    assert builder == f"{kit.FARM}/builders/container-isolated-shared/v1"
    verify_bundle(made.bundle, b"bytes", kit.WHEEL, made.root, policy).demand()


def test_the_builder_says_when_compilers_had_a_cache(kit, vault, tmp_path, policy):
    made = kit.publish(vault, tmp_path, kit.Log(), b"bytes", kit.make_facts(compile_cache=True))
    builder = json.loads(made.attested.statement)["predicate"]["runDetails"]["builder"]["id"]
    assert builder == f"{kit.FARM}/builders/container-cached/v1"
    verify_bundle(made.bundle, b"bytes", kit.WHEEL, made.root, policy).demand()


def test_the_image_with_system_packages_is_a_dependency_with_its_base(kit, vault, tmp_path):
    facts = kit.make_facts(system_packages=("libpq-dev",), derived_image_sha256="d" * 64)
    made = kit.publish(vault, tmp_path, kit.Log(), b"bytes", facts)
    definition = json.loads(made.attested.statement)["predicate"]["buildDefinition"]
    (image,) = (one for one in definition["resolvedDependencies"] if one.get("name", "").startswith("image-"))
    assert image["digest"] == {"sha256": "d" * 64}
    assert image["annotations"] == {"base": "c" * 64, "systemPackages": ["libpq-dev"]}


def test_a_rotated_issuing_ca_leaves_old_and_new_bundles_valid(kit, vault, tmp_path, policy):
    log = kit.Log()
    old = kit.publish(vault, tmp_path, log, b"old", kit.make_facts())
    vault.rotate()
    new = kit.publish(vault, tmp_path, log, b"new", kit.make_facts(attempt_key="job_2/1"))
    assert len(new.root.authorities) == 2
    assert new.root.authorities[0].window.end is not None
    for made in (old, new):
        ask_sigstore(made.bundle, new.root_path)
        verify_bundle(made.bundle, made.data, kit.WHEEL, new.root, policy).demand()
    with pytest.raises(VerificationError):
        ask_sigstore(new.bundle, _without_new_authority(tmp_path, new))


def _without_new_authority(folder, published):
    """The root as it was before the rotation."""
    value = json.loads(published.root_path.read_text())
    del value["certificateAuthorities"][1]
    path = folder / "old_root.json"
    path.write_text(json.dumps(value))
    return path


def test_the_client_trust_config_is_one_for_sigstore(vault):
    config = ClientTrustConfig.from_json(vault.health()["documents"]["client_trust_config.json"])
    assert config.trusted_root.get_fulcio_certs()
    assert config.signing_config.get_tlogs()


def test_the_sigstore_command_verifies_the_file_as_it_is_shipped(kit, published, vault, tmp_path):
    wheel = tmp_path / kit.WHEEL
    wheel.write_bytes(published.data)
    (tmp_path / f"{kit.WHEEL}.sigstore.json").write_bytes(published.bundle)
    config = tmp_path / "trust.json"
    config.write_text(vault.health()["documents"]["client_trust_config.json"])
    command = [
        sys.executable,
        "-m",
        "sigstore",
        f"--trust-config={config}",
        "verify",
        "identity",
        "--offline",
    ]
    command += [f"--bundle={wheel}.sigstore.json", f"--cert-identity={IDENTITY}"]
    command += [f"--cert-oidc-issuer={kit.FARM}", str(wheel)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    wheel.write_bytes(b"other bytes")
    assert subprocess.run(command, capture_output=True, timeout=60, check=False).returncode != 0


def test_a_pep_740_attestation_turns_back_into_a_bundle_that_sigstore_accepts(published):
    attestation = bundle.attestation_object(published.bundle)
    assert attestation["version"] == 1
    assert set(attestation) == {"version", "verification_material", "envelope"}
    material, envelope = attestation["verification_material"], attestation["envelope"]
    assert len(material["transparency_entries"]) == 1
    rebuilt = {
        "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
        "verificationMaterial": {
            "certificate": {"rawBytes": material["certificate"]},
            "tlogEntries": material["transparency_entries"],
        },
        "dsseEnvelope": {
            "payload": envelope["statement"],
            "payloadType": "application/vnd.in-toto+json",
            "signatures": [{"sig": envelope["signature"]}],
        },
    }
    statement = ask_sigstore(json.dumps(rebuilt), published.root_path)
    assert base64.b64decode(envelope["statement"]) == published.attested.statement
    assert statement["predicateType"] == "https://slsa.dev/provenance/v1"


def test_the_provenance_document_names_this_farm_as_publisher(kit, published):
    document = json.loads(bundle.provenance(published.bundle))
    (entry,) = document["attestation_bundles"]
    assert document["version"] == 1
    assert entry["publisher"] == {
        "kind": "buildfarm",
        "instance": kit.FARM,
        "project": "demo",
        "source": "git+https://ghe.example/acme/demo",
        "recipe": "buildfarm.toml",
        "builder": f"{kit.FARM}/builders/container-isolated/v1",
    }
    assert entry["attestations"] == [bundle.attestation_object(published.bundle)]


def test_verifying_needs_neither_sigstore_nor_the_signers_libraries():
    code = (
        "import sys, buildfarm.trust.verify, buildfarm.trust.memory, buildfarm.trust.pin\n"
        "print({'sigstore', 'pydantic', 'structlog', 'rfc8785', 'sqlalchemy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
