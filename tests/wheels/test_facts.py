"""What the validator tells about a file it accepted, and what callers may expect of it."""

import base64
import hashlib
import re
import zlib
from importlib.metadata import version
from pathlib import Path

import pytest

from buildfarm.wheels.facts import Expectation, FileFacts
from buildfarm.wheels.rules import RULES, RULES_VERSION
from buildfarm.wheels.validate import validate, validate_in_sandbox
from tests.wheels.conftest import Maker

TEXT = (
    "Metadata-Version: 2.4\nName: Demo\nVersion: 1.0\nSummary: A demo\nRequires-Python: ~=3.9 , !=3.9.1\n"
    "Requires-Dist: Zope.Interface >=1 ; extra == 'x'\nProvides-Extra: x\n\n# Demo\n"
)
#: The rules version, and a digest of the ids and severities that it stands for.
LISTED = (4, "22746de9e281c25b")


def test_the_facts_are_those_of_the_bytes(make):
    wheel = make.wheel(tag="py2.py3-none-any", metadata=TEXT)
    facts = make.check(wheel)
    assert facts.metadata == TEXT.encode()
    assert facts.metadata_sha256 == hashlib.sha256(TEXT.encode()).hexdigest()
    assert facts.sha256 == hashlib.sha256(wheel.data).hexdigest()
    assert (facts.size, facts.filename) == (len(wheel.data), wheel.filename)
    assert (facts.project, facts.display_name, facts.version) == ("demo", "Demo", "1.0")
    assert (facts.metadata_version, facts.summary) == ("2.4", "A demo")
    assert facts.tags == ["py2-none-any", "py3-none-any"]
    assert not facts.is_native


def test_texts_are_kept_as_the_author_wrote_them(make):
    facts = make.check(make.wheel(metadata=TEXT))
    assert facts.requires_python == "~=3.9 , !=3.9.1"
    assert facts.requires_dist == ["Zope.Interface >=1 ; extra == 'x'"]


def test_facts_survive_json(make):
    facts = make.check(make.wheel(metadata=TEXT.replace("x\n\n", "X_y\n\n")))
    assert facts.findings
    again = FileFacts.from_json(facts.to_json())
    assert (again, again.check) == (facts, facts.check)


def test_the_facts_tell_what_judged_the_file(make, tmp_path):
    wheel = make.wheel()
    here, sandboxed = make.check(wheel).check, Maker(tmp_path, validate_in_sandbox).check(wheel).check
    assert here.rules == sandboxed.rules == RULES_VERSION
    assert 0 <= here.milliseconds < 60_000
    assert here.tools == sandboxed.tools
    assert here.tools["packaging"] == version("packaging")
    assert here.tools["zlib"] == zlib.ZLIB_RUNTIME_VERSION


def test_the_rules_version_is_raised_with_the_list():
    """Whoever changes the list raises RULES_VERSION, so that stored files are looked at again."""
    listed = "\n".join(f"{rule.id} {rule.refused}" for rule in RULES.values())
    assert (RULES_VERSION, hashlib.sha256(listed.encode()).hexdigest()[:16]) == LISTED


@pytest.mark.parametrize(
    ("expected", "rule"),
    [
        ({"project": "demo", "version": "1.0"}, None),
        ({"project": "demo", "version": "1.0.0"}, "F-04"),
        ({"project": "other"}, "F-04"),
        ({"version": "1.1"}, "F-04"),
        ({"version": "one"}, "F-04"),
        ({"max_bytes": 100}, "F-05"),
    ],
)
def test_the_file_has_to_be_what_was_announced(make, expected, rule):
    wheel = make.wheel()
    if rule is None:
        assert make.check(wheel, **expected)
    else:
        assert make.refusal(wheel, **expected).facts["rule"] == rule


def test_a_file_above_its_limit_has_the_status_for_it(make):
    assert make.refusal(make.wheel(), max_bytes=100).status == 413


def test_a_descriptor_is_read_from_its_start_and_left_open(make, tmp_path):
    wheel = make.wheel()
    path = tmp_path / "upload"
    path.write_bytes(wheel.data)
    with path.open("rb") as file:
        file.seek(7)
        facts = validate(file.fileno(), Expectation(wheel.filename, None, None, 1 << 20))
        assert facts == make.check(wheel)
        file.seek(0)
        assert file.read(2) == b"PK"


@pytest.mark.parametrize("name", ["sha256", "blake2_256", "md5", "sha1"])
def test_a_digest_that_does_not_agree_is_refused(make, name):
    assert make.refusal(make.wheel(), digests={name: "0" * 64}).code == "file.f-03"


def test_digests_that_agree_are_taken_in_every_form(make):
    wheel = make.wheel()
    sha256 = hashlib.sha256(wheel.data).hexdigest()
    md5 = hashlib.md5(wheel.data, usedforsecurity=False).digest()
    blake2 = hashlib.blake2b(wheel.data, digest_size=32).hexdigest()
    for text in (md5.hex(), base64.urlsafe_b64encode(md5).rstrip(b"=").decode()):
        given = {"sha256": sha256.upper(), "blake2_256": blake2, "md5": text}
        assert make.check(wheel, digests=given).sha256 == sha256


def test_every_rule_says_where_it_comes_from():
    assert all(rule.source[0] in "PAF" and rule.text for rule in RULES.values())


def test_the_page_on_validation_and_the_rule_list_say_the_same():
    page = (Path(__file__).parents[2] / "docs" / "validation.md").read_text()
    rows = [line for line in page.splitlines() if re.match(r"\| [A-Z]-\d\d \|", line)]
    assert rows == [f"| {r.id} | {r.refused} | {r.text} | {r.source} |" for r in RULES.values()]
