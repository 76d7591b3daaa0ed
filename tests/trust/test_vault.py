"""What the signer signs, what it refuses, and what it remembers across a restart."""

from __future__ import annotations

import json
import os
import shutil
import stat

import pytest

from buildfarm.errors import Conflict, EnvironmentProblem, Forbidden, IntegrityFailure, InvalidInput
from buildfarm.trust.facts import ReproductionFacts
from buildfarm.trust.vault import Vault
from buildfarm.trust.verify import verify_bundle


def reopened(kit, vault, tmp_path):
    vault.close()
    return Vault(tmp_path / "signer", kit.FARM)


def test_a_retry_with_the_same_facts_gets_the_recorded_answer(kit, vault, tmp_path):
    first = kit.attest(vault, tmp_path, b"bytes", kit.make_facts())
    again = kit.attest(vault, tmp_path, b"bytes", kit.make_facts())
    assert again == first
    assert vault.health()["attested"] == 1


def test_a_second_different_statement_for_a_file_is_refused(kit, vault, tmp_path):
    kit.attest(vault, tmp_path, b"bytes", kit.make_facts())
    with pytest.raises(Conflict) as refused:
        kit.attest(vault, tmp_path, b"bytes", kit.make_facts(commit="0" * 40, attempt_key="job_9/1"))
    assert refused.value.code == "signer.second_statement"
    assert refused.value.facts["attempt"] == "job_1/1"


def test_other_bytes_or_another_name_are_another_file(kit, vault, tmp_path):
    kit.attest(vault, tmp_path, b"bytes", kit.make_facts())
    kit.attest(vault, tmp_path, b"other", kit.make_facts())
    kit.attest(vault, tmp_path, b"bytes", kit.make_facts(filename="demo-1.0-py3-none-any.whl"))
    assert vault.health()["attested"] == 3


def test_the_digest_is_of_the_bytes_wherever_the_descriptor_stands(kit, vault, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    with path.open("rb") as file:
        file.seek(5)
        attested = vault.attest(kit.make_facts(), file.fileno())
        assert os.lseek(file.fileno(), 0, os.SEEK_CUR) == 5
    assert attested.size == 10
    assert json.loads(attested.statement)["subject"][0]["digest"]["sha256"] == attested.file_sha256


def test_only_a_regular_file_is_attested(kit, vault):
    read, write = os.pipe()
    with pytest.raises(InvalidInput):
        vault.attest(kit.make_facts(), read)
    os.close(read)
    os.close(write)


@pytest.mark.parametrize(
    ("fact", "value"),
    [
        ("identity", "https://farm.example/projects/other/recipes/default"),
        ("identity", "https://farm.example.evil.example/projects/demo/recipes/default"),
        ("build_url", "https://evil.example/builds/1"),
        ("attempt_url", "https://evil.example/builds/1"),
        ("log_url", "https://evil.example/builds/1"),
    ],
)
def test_identities_and_urls_of_others_are_refused(kit, vault, tmp_path, fact, value):
    with pytest.raises(InvalidInput) as refused:
        kit.attest(vault, tmp_path, b"bytes", kit.make_facts(**{fact: value}))
    assert refused.value.code == "signer.foreign_url"


def test_a_restart_forgets_nothing(kit, vault, tmp_path):
    log = kit.Log()
    first = kit.publish(vault, tmp_path, log, b"bytes", kit.make_facts())
    before = vault.health()
    vault = reopened(kit, vault, tmp_path)
    assert vault.health() == before
    assert kit.attest(vault, tmp_path, b"bytes", kit.make_facts()) == first.attested
    with pytest.raises(Conflict):
        kit.attest(vault, tmp_path, b"bytes", kit.make_facts(commit="0" * 40))
    vault.close()


def test_a_crash_between_attest_and_checkpoint_loses_nothing(kit, vault, tmp_path, policy):
    attested = kit.attest(vault, tmp_path, b"bytes", kit.make_facts())
    vault = reopened(kit, vault, tmp_path)
    log = kit.Log()
    made = kit.publish(vault, tmp_path, log, b"bytes", kit.make_facts())
    assert made.attested == attested
    verify_bundle(made.bundle, b"bytes", kit.WHEEL, made.root, policy).demand()
    vault.close()


def test_a_torn_last_line_is_cut_off_and_the_work_goes_on(kit, vault, tmp_path):
    kit.attest(vault, tmp_path, b"bytes", kit.make_facts())
    record = tmp_path / "signer" / "record.jsonl"
    whole = record.read_bytes()
    for torn in (whole + b'{"attest": {"stat', whole + b"\x00" * 40, whole + b"{"):
        vault.close()
        record.write_bytes(torn)
        vault = Vault(tmp_path / "signer", kit.FARM)
        assert record.read_bytes() == whole
        assert vault.health()["attested"] == 1
    kit.attest(vault, tmp_path, b"more", kit.make_facts())
    vault = reopened(kit, vault, tmp_path)
    assert vault.health()["attested"] == 2
    vault.close()


@pytest.mark.parametrize("change", ["edit", "remove", "swap", "garbage"])
def test_a_changed_record_stops_the_signer(kit, vault, tmp_path, change):
    for number in range(3):
        kit.attest(vault, tmp_path, b"%d" % number, kit.make_facts())
    vault.close()
    record = tmp_path / "signer" / "record.jsonl"
    one, two, three = record.read_bytes().splitlines(keepends=True)
    lines = {
        "edit": [one.replace(b"job_1", b"job_7", 1), two, three],
        "remove": [one, three],
        "swap": [two, one, three],
        "garbage": [one, b"garbage\n", three],
    }[change]
    record.write_bytes(b"".join(lines))
    with pytest.raises(IntegrityFailure) as refused:
        Vault(tmp_path / "signer", kit.FARM)
    assert refused.value.code == "signer.record_changed"


def test_a_full_disk_answers_nothing_and_records_nothing(kit, vault, tmp_path, monkeypatch):
    record = tmp_path / "signer" / "record.jsonl"
    kit.attest(vault, tmp_path, b"bytes", kit.make_facts())
    before = record.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", lambda file, data, offset: 10)
        with pytest.raises(Exception, match="record") as failed:
            kit.attest(vault, tmp_path, b"other", kit.make_facts())
        assert failed.value.code == "signer.record"
    assert record.read_bytes() == before
    with pytest.raises(Exception, match="record"):  # what the disk holds is known after a restart only
        kit.attest(vault, tmp_path, b"other", kit.make_facts())
    vault = reopened(kit, vault, tmp_path)
    kit.attest(vault, tmp_path, b"other", kit.make_facts())
    assert vault.health()["attested"] == 2
    vault.close()


def test_the_same_checkpoint_gives_the_same_note(kit, vault, tmp_path):
    log = kit.Log()
    made = kit.publish(vault, tmp_path, log, b"bytes", kit.make_facts())
    lines = (tmp_path / "signer" / "record.jsonl").read_bytes().count(b"\n")
    again = vault.checkpoint(log.request(log.entry(made.attested, made.index)))
    assert again == made.checkpoint
    assert (tmp_path / "signer" / "record.jsonl").read_bytes().count(b"\n") == lines


def test_a_shorter_log_is_refused_also_after_a_restart(kit, vault, tmp_path):
    log = kit.Log()
    kit.publish(vault, tmp_path, log, b"bytes", kit.make_facts())
    shorter = kit.Log()
    shorter.append(log.leaves[0])
    for _restart in range(2):
        with pytest.raises(Conflict) as refused:
            vault.checkpoint(shorter.request())
        assert refused.value.code == "checkpoint.behind"
        vault = reopened(kit, vault, tmp_path)
    vault.close()


def test_a_forked_log_is_refused(kit, vault, tmp_path):
    log = kit.Log()
    kit.publish(vault, tmp_path, log, b"bytes", kit.make_facts())
    fork = kit.Log()
    for leaf in (b"forged", *log.leaves[1:]):
        fork.append(leaf)
    with pytest.raises(IntegrityFailure) as refused:  # another root at the same size
        vault.checkpoint(fork.request(old_size=fork.size))
    assert refused.value.code == "checkpoint.fork"
    for _ in range(5):
        fork.append(b"more")
        with pytest.raises(IntegrityFailure) as refused:
            vault.checkpoint(fork.request(old_size=log.size))
        assert refused.value.code == "checkpoint.fork"
    assert vault.health()["checkpoint_size"] == log.size


def test_growth_from_another_checkpoint_than_the_last_is_refused(kit, vault, tmp_path):
    log = kit.Log()
    kit.publish(vault, tmp_path, log, b"bytes", kit.make_facts())
    log.append(b"more")
    with pytest.raises(Conflict) as refused:
        vault.checkpoint(log.request(old_size=1))
    assert refused.value.code == "checkpoint.moved"
    assert refused.value.facts["last_size"] == 2


def test_an_entry_that_was_never_attested_gets_no_timestamp(kit, vault, tmp_path):
    folder = tmp_path / "other"
    folder.mkdir()
    other = Vault(folder, kit.FARM)
    stranger = kit.attest(other, tmp_path, b"bytes", kit.make_facts())
    other.close()
    log = kit.Log()
    index = log.append(stranger.entry_body)
    with pytest.raises(Forbidden) as refused:
        vault.checkpoint(log.request(log.entry(stranger, index)))
    assert refused.value.code == "checkpoint.unknown_entry"
    assert vault.health()["checkpoint_size"] == 0


def test_an_entry_that_is_not_in_the_log_gets_no_timestamp(kit, vault, tmp_path):
    attested = kit.attest(vault, tmp_path, b"bytes", kit.make_facts())
    log = kit.Log()
    log.append(b"something else")
    log.append(attested.entry_body)
    with pytest.raises(IntegrityFailure) as refused:
        vault.checkpoint(log.request(log.entry(attested, 0)))
    assert refused.value.code == "checkpoint.not_included"
    assert vault.health()["checkpoint_size"] == 0


def test_private_files_are_for_the_signer_alone(vault, tmp_path):
    folder = tmp_path / "signer"
    private = [path for path in folder.rglob("*") if "public" not in path.parts]
    assert {path.name for path in private} >= {"log.pem", "ct.pem", "key.pem", "record.jsonl"}
    for path in private:
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
    for path in (folder / "public").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o644
        assert b"PRIVATE" not in path.read_bytes()


def test_keys_that_cannot_be_read_are_never_replaced_by_new_ones(kit, vault, tmp_path):
    vault.close()
    (tmp_path / "signer" / "keys" / "log.pem").write_text("garbage")
    with pytest.raises(EnvironmentProblem) as refused:
        Vault(tmp_path / "signer", kit.FARM)
    assert refused.value.code == "signer.keys"
    assert (tmp_path / "signer" / "keys" / "log.pem").read_text() == "garbage"


def test_a_first_start_that_was_killed_starts_over(kit, tmp_path):
    folder = tmp_path / "fresh"
    (folder / "keys.new" / "root").mkdir(parents=True)
    (folder / "keys.new" / "root" / "key.pem").write_text("half a ke")
    Vault(folder, kit.FARM).close()
    assert not (folder / "keys.new").exists()


def test_after_a_stolen_ca_was_taken_out_the_same_claim_is_signed_anew(kit, vault, tmp_path, policy):
    log = kit.Log()
    stolen = kit.publish(vault, tmp_path, log, b"bytes", kit.make_facts())
    vault.rotate()
    assert kit.attest(vault, tmp_path, b"bytes", kit.make_facts()) == stolen.attested
    shutil.rmtree(tmp_path / "signer" / "keys" / "issuing" / "0000")
    vault = reopened(kit, vault, tmp_path)
    with pytest.raises(Conflict):
        kit.attest(vault, tmp_path, b"bytes", kit.make_facts(commit="0" * 40))
    anew = kit.publish(vault, tmp_path, log, b"bytes", kit.make_facts())
    assert anew.attested.statement == stolen.attested.statement
    verify_bundle(anew.bundle, b"bytes", kit.WHEEL, anew.root, policy).demand()
    assert not verify_bundle(stolen.bundle, b"bytes", kit.WHEEL, anew.root, policy).ok
    assert kit.attest(vault, tmp_path, b"bytes", kit.make_facts()) == anew.attested
    vault.rotate()
    assert len(list((tmp_path / "signer" / "keys" / "issuing").iterdir())) == 2
    vault.close()


def test_the_trusted_root_stays_the_same_until_a_rotation(kit, vault, tmp_path):
    path = tmp_path / "signer" / "public" / "trusted_root.json"
    before = path.read_bytes()
    vault.close()
    vault = Vault(tmp_path / "signer", "https://moved.example")
    assert path.read_bytes() == before
    assert vault.health()["origin"] == "farm.example/log"
    vault.rotate()
    assert path.read_bytes() != before
    after = path.read_bytes()
    vault.close()
    vault = Vault(tmp_path / "signer", kit.FARM)
    assert path.read_bytes() == after
    vault.close()


def second_facts(kit, **changes) -> ReproductionFacts:
    values = kit.make_facts(attempt_key="job_2/1", builder_name="builder-2").model_dump()
    first = {"first_attempt_url": f"{kit.FARM}/jobs/job_1/attempts/1", "first_builder": "builder-1"}
    return ReproductionFacts.model_validate(values | first | changes)


def test_second_builds_are_attested_beside_the_first_one_and_after_it_alone(kit, vault, tmp_path):
    with pytest.raises(Conflict) as refused:
        kit.attest(vault, tmp_path, b"bytes", second_facts(kit))
    assert refused.value.code == "signer.not_built"
    kit.attest(vault, tmp_path, b"bytes", kit.make_facts())
    for data, facts in (
        (b"other", second_facts(kit)),
        (b"bytes", second_facts(kit, attempt_key="job_1/1")),
        (b"bytes", second_facts(kit, filename="demo-1.0-py3-none-any.whl")),
    ):
        with pytest.raises(Conflict) as refused:
            kit.attest(vault, tmp_path, data, facts)
        assert refused.value.code == "signer.not_built"
    made = kit.attest(vault, tmp_path, b"bytes", second_facts(kit))
    assert kit.attest(vault, tmp_path, b"bytes", second_facts(kit)) == made
    kit.attest(vault, tmp_path, b"bytes", second_facts(kit, attempt_key="job_3/1"))
    again = reopened(kit, vault, tmp_path)
    assert kit.attest(again, tmp_path, b"bytes", second_facts(kit)) == made
    assert again.health()["attested"] == 3
    with pytest.raises(Conflict):
        kit.attest(again, tmp_path, b"bytes", second_facts(kit, commit="0" * 40))


def test_a_second_build_repeats_a_run_of_this_farm(kit, vault, tmp_path):
    kit.attest(vault, tmp_path, b"bytes", kit.make_facts())
    elsewhere = second_facts(kit, first_attempt_url="https://other.example/jobs/1")
    with pytest.raises(InvalidInput) as refused:
        kit.attest(vault, tmp_path, b"bytes", elsewhere)
    assert refused.value.code == "signer.foreign_url"
