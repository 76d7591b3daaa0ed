"""Whatever is changed in file, bundle or root, some check refuses it and says which."""

from __future__ import annotations

import base64
import copy
import json
from types import SimpleNamespace

import pytest
from cryptography.hazmat import asn1
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from buildfarm.errors import IntegrityFailure, InvalidInput
from buildfarm.trust import bundle, certificates, note, root
from buildfarm.trust.report import Policy
from buildfarm.trust.vault import Vault
from buildfarm.trust.verify import verify_bundle

ENTRY = ("verificationMaterial", "tlogEntries", 0)
PROOF = (*ENTRY, "inclusionProof")
NOTE = (*PROOF, "checkpoint", "envelope")
PAYLOAD = ("dsseEnvelope", "payload")


def leaves(value, path=()):
    if isinstance(value, dict):
        for key, part in value.items():
            yield from leaves(part, (*path, key))
    elif isinstance(value, list):
        for index, part in enumerate(value):
            yield from leaves(part, (*path, index))
    else:
        yield path


def at(value, path):
    for key in path:
        value = value[key]
    return value


def changed(data, path, change):
    value = json.loads(data)
    at(value, path[:-1])[path[-1]] = change(at(value, path))
    return json.dumps(value).encode()


def flip(text, position=-1):
    """Base64 text with one bit of its bytes turned."""
    raw = bytearray(base64.b64decode(text))
    raw[position] ^= 1
    return base64.b64encode(raw).decode()


def bump(text):
    return str(int(text) + 1)


def failed(report):
    return {check.name for check in report.checks if not check.ok}


def in_statement(old, new):
    def change(text):
        raw = base64.b64decode(text)
        assert old in raw
        return base64.b64encode(raw.replace(old, new)).decode()

    return change


@pytest.mark.parametrize(
    ("path", "change", "check"),
    [
        (PAYLOAD, in_statement(b'"network":"none"', b'"network":"host"'), "envelope-signature"),
        (PAYLOAD, in_statement(b"acme/demo", b"evil/demo"), "claims"),
        (PAYLOAD, in_statement(b"demo-1.0-cp313-cp313", b"demo-1.0-cp314-cp314"), "file-name"),
        (PAYLOAD, in_statement(b"container-isolated/v1", b"container-isolated/v9"), "builder"),
        (PAYLOAD, in_statement(b"slsa.dev/provenance/v1", b"slsa.dev/provenance/v9"), "predicate-type"),
        (("dsseEnvelope", "payloadType"), lambda _: "text/plain", "envelope-signature"),
        (("dsseEnvelope", "signatures", 0, "sig"), flip, "envelope-signature"),
        (("verificationMaterial", "certificate", "rawBytes"), flip, "certificate-chain"),
        (("verificationMaterial", "certificate", "rawBytes"), flip, "log-entry"),
        ((*ENTRY, "canonicalizedBody"), lambda t: flip(t, 300), "log-entry"),
        ((*ENTRY, "canonicalizedBody"), lambda t: flip(t, 300), "inclusion-proof"),
        ((*ENTRY, "canonicalizedBody"), lambda t: flip(t, 300), "entry-timestamp"),
        ((*ENTRY, "kindVersion", "version"), lambda _: "0.0.2", "log-entry"),
        ((*ENTRY, "logIndex"), bump, "entry-timestamp"),
        ((*ENTRY, "logIndex"), bump, "inclusion-proof"),
        ((*ENTRY, "integratedTime"), bump, "entry-timestamp"),
        ((*ENTRY, "integratedTime"), lambda t: str(int(t) + 601), "certificate-chain"),
        ((*ENTRY, "integratedTime"), lambda t: str(int(t) - 5), "key-validity"),
        ((*ENTRY, "logId", "keyId"), flip, "checkpoint-signature"),
        ((*ENTRY, "inclusionPromise", "signedEntryTimestamp"), flip, "entry-timestamp"),
        ((*PROOF, "logIndex"), bump, "inclusion-proof"),
        ((*PROOF, "rootHash"), flip, "inclusion-proof"),
        ((*PROOF, "rootHash"), flip, "tree-size"),
        ((*PROOF, "treeSize"), bump, "tree-size"),
        ((*PROOF, "hashes", 0), flip, "inclusion-proof"),
        ((*PROOF, "hashes"), lambda hashes: hashes[:-1], "inclusion-proof"),
        ((*PROOF, "hashes"), lambda hashes: [*hashes, hashes[0]], "inclusion-proof"),
        (NOTE, lambda n: n.replace("\n7\n", "\n8\n"), "checkpoint-signature"),
        (NOTE, lambda n: n.replace("farm.example/log", "other.example/log"), "checkpoint-signature"),
        (NOTE, lambda n: n.replace(n.split()[-1], flip(n.split()[-1])), "checkpoint-signature"),
        (("mediaType",), lambda _: "application/vnd.dev.sigstore.bundle.v0.4+json", "bundle"),
        ((*ENTRY[:-1],), lambda entries: entries * 2, "bundle"),
        ((*ENTRY[:-1],), lambda _: [], "bundle"),
        (("dsseEnvelope", "signatures"), lambda each: each * 2, "bundle"),
        ((*ENTRY, "logIndex"), int, "bundle"),
        ((*ENTRY, "logIndex"), lambda t: f"0{t}", "bundle"),
        (("dsseEnvelope", "signatures", 0, "sig"), lambda t: t + "\n", "bundle"),
    ],
)
def test_a_changed_part_is_refused_by_its_check(kit, published, policy, path, change, check):
    data = changed(published.bundle, path, change)
    assert json.loads(data) != json.loads(published.bundle)
    report = verify_bundle(data, published.data, kit.WHEEL, published.root, policy)
    assert check in failed(report)
    with pytest.raises(IntegrityFailure) as refused:
        report.demand()
    assert refused.value.hint


def test_no_field_of_the_bundle_can_be_changed(kit, published, policy):
    value = json.loads(published.bundle)
    paths = list(leaves(value))
    assert len(paths) >= 15
    for path in paths:
        text = at(value, path)
        for change in (
            lambda t: t[: len(t) // 2] + ("B" if t[len(t) // 2] != "B" else "C") + t[len(t) // 2 + 1 :],
            lambda t: ("B" if t[0] != "B" else "C") + t[1:],
            lambda t: t + "A",
            lambda _: None,
            lambda _: "",
            lambda _: 7,
            lambda _: {},
        ):
            other = copy.deepcopy(value)
            at(other, path[:-1])[path[-1]] = change(text)
            report = verify_bundle(
                json.dumps(other).encode(), published.data, kit.WHEEL, published.root, policy
            )
            assert not report.ok, path


def test_a_changed_byte_of_the_file_is_refused(kit, published, policy):
    report = verify_bundle(published.bundle, published.data + b"!", kit.WHEEL, published.root, policy)
    assert failed(report) == {"file-digest"}
    (check,) = [check for check in report.checks if not check.ok]
    assert check.expected != check.got
    assert len(check.expected) == len(check.got) == 64
    assert "do not use it" in check.hint


def test_a_renamed_file_with_the_same_bytes_is_refused(kit, published, policy):
    name = kit.WHEEL.replace("cp313-cp313", "cp314-cp314")
    report = verify_bundle(published.bundle, published.data, name, published.root, policy)
    assert failed(report) == {"file-name"}


def test_the_digest_alone_will_do_where_it_is_known(kit, published, policy):
    digest = published.attested.file_sha256
    assert verify_bundle(published.bundle, digest, kit.WHEEL, published.root, policy).ok
    with pytest.raises(InvalidInput):
        verify_bundle(published.bundle, "not a digest", kit.WHEEL, published.root, policy)


def test_the_bundle_of_another_file_is_refused(kit, vault, tmp_path, policy):
    log = kit.Log()
    one = kit.publish(vault, tmp_path, log, b"one", kit.make_facts())
    two = kit.publish(vault, tmp_path, log, b"two", kit.make_facts(attempt_key="job_2/1"))
    assert failed(verify_bundle(two.bundle, b"one", kit.WHEEL, one.root, policy)) == {"file-digest"}


def test_parts_of_two_genuine_bundles_do_not_make_a_third(kit, vault, tmp_path, policy):
    log = kit.Log()
    one = kit.publish(vault, tmp_path, log, b"one", kit.make_facts())
    two = kit.publish(vault, tmp_path, log, b"two", kit.make_facts(attempt_key="job_2/1"))
    for path in (
        ("dsseEnvelope",),
        ("verificationMaterial", "certificate"),
        ENTRY,
        PROOF,
        (*ENTRY, "inclusionPromise"),
    ):
        donor = at(json.loads(two.bundle), path)
        mixed = changed(one.bundle, path, lambda _, donor=donor: donor)
        assert not verify_bundle(mixed, b"one", kit.WHEEL, one.root, policy).ok, path


def test_a_genuine_bundle_of_another_farm_is_refused(kit, published, tmp_path, policy):
    folder = tmp_path / "other"
    folder.mkdir()
    other = Vault(folder, kit.FARM)
    forged = kit.publish(other, folder, kit.Log(), published.data, kit.make_facts())
    other.close()
    report = verify_bundle(forged.bundle, published.data, kit.WHEEL, published.root, policy)
    assert {
        "certificate-chain",
        "certificate-timestamp",
        "checkpoint-signature",
        "entry-timestamp",
    } <= failed(report)


def test_another_issuer_than_the_policys_is_refused(kit, published):
    other = Policy(issuers=frozenset({"https://other.example"}))
    report = verify_bundle(published.bundle, published.data, kit.WHEEL, published.root, other)
    assert failed(report) == {"identity"}


def test_a_builder_that_the_policy_does_not_accept_is_refused(kit, vault, tmp_path):
    made = kit.publish(vault, tmp_path, kit.Log(), b"bytes", kit.make_facts(tiers_shared=True))
    strict = Policy(frozenset({kit.FARM}), frozenset({"/builders/container-isolated/v1"}))
    assert failed(verify_bundle(made.bundle, b"bytes", kit.WHEEL, made.root, strict)) == {"builder"}


@pytest.mark.parametrize("part", ["tlogs", "ctlogs", "certificateAuthorities"])
def test_a_key_is_not_believed_after_the_end_of_its_validity(kit, published, policy, part):
    value = json.loads(published.root_path.read_text())
    holder = value[part][0].get("publicKey", value[part][0])
    holder["validFor"] = {"start": "2020-01-01T00:00:00Z", "end": "2020-06-01T00:00:00Z"}
    old = root.load(json.dumps(value).encode())
    report = verify_bundle(published.bundle, published.data, kit.WHEEL, old, policy)
    assert failed(report) == {"key-validity"}


@pytest.mark.parametrize(
    ("part", "check"),
    [
        ("tlogs", "checkpoint-signature"),
        ("ctlogs", "certificate-timestamp"),
        ("certificateAuthorities", "certificate-chain"),
    ],
)
def test_a_key_taken_out_of_the_root_is_not_believed(kit, published, policy, part, check):
    value = json.loads(published.root_path.read_text())
    value[part] = []
    report = verify_bundle(
        published.bundle, published.data, kit.WHEEL, root.load(json.dumps(value).encode()), policy
    )
    assert check in failed(report)


def other_key(kind):
    key = (
        ec.generate_private_key(ec.SECP256R1()) if kind == "ctlogs" else ed25519.Ed25519PrivateKey.generate()
    )
    der = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(der).decode()


@pytest.mark.parametrize(
    ("part", "checks"),
    [
        ("tlogs", {"checkpoint-signature", "entry-timestamp"}),
        ("ctlogs", {"certificate-timestamp"}),
    ],
)
def test_the_right_id_with_another_key_behind_it_is_refused(kit, published, policy, part, checks):
    value = json.loads(published.root_path.read_text())
    value[part][0]["publicKey"]["rawBytes"] = other_key(part)
    report = verify_bundle(
        published.bundle, published.data, kit.WHEEL, root.load(json.dumps(value).encode()), policy
    )
    assert failed(report) == checks


def test_a_certificate_that_names_two_issuers_is_refused(kit, vault, tmp_path, policy, monkeypatch):
    def encode(value):
        return asn1.encode_der("https://other.example" if value == kit.FARM else value)

    monkeypatch.setattr(certificates, "asn1", SimpleNamespace(encode_der=encode))
    made = kit.publish(vault, tmp_path, kit.Log(), b"bytes", kit.make_facts())
    assert failed(verify_bundle(made.bundle, b"bytes", kit.WHEEL, made.root, policy)) == {"identity"}


def test_a_checkpoint_with_a_witness_signature_beside_the_logs_is_accepted(kit, published, policy):
    line = "— witness.example " + base64.b64encode(bytes(68)).decode() + "\n"
    data = changed(published.bundle, NOTE, lambda text: text + line)
    verify_bundle(data, published.data, kit.WHEEL, published.root, policy).demand()
    alone = changed(published.bundle, NOTE, lambda text: text.partition("\n\n")[0] + "\n\n" + line)
    report = verify_bundle(alone, published.data, kit.WHEEL, published.root, policy)
    assert failed(report) == {"checkpoint-signature"}


def test_a_bundle_is_not_assembled_without_the_entrys_promise(published):
    with pytest.raises(InvalidInput):
        bundle.assemble(published.attested, published.checkpoint, published.index + 1, [])


def test_a_note_says_what_was_signed(published):
    text = published.checkpoint.note
    assert text.startswith("farm.example/log\n7\n")
    assert text.count("\n\n") == 1
    assert text.endswith("\n")
    assert note.parse(text).checkpoint.root == published.log.root
