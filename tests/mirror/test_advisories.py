from __future__ import annotations

import json
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.version import Version

from buildfarm.errors import InvalidInput
from buildfarm.mirror import advisories


def osv(name: str, identifier: str = "GHSA-1", **affected: object) -> dict[str, object]:
    package = {"ecosystem": "PyPI", "name": name}
    return {
        "id": identifier,
        "modified": "2026-11-01T00:00:00Z",
        "summary": "Something  bad\n happens",
        "aliases": ["CVE-2026-1"],
        "affected": [{"package": package, **affected}],
    }


def between(*events: dict[str, str]) -> dict[str, object]:
    return {"ranges": [{"type": "ECOSYSTEM", "events": list(events)}]}


@pytest.fixture
def archive(tmp_path):
    def make(*records: object) -> object:
        path = tmp_path / "all.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as opened:
            for number, one in enumerate(records):
                opened.writestr(f"{number}.json", one if isinstance(one, str) else json.dumps(one))
        return path

    return make


def load(database, path):
    with database.begin() as session:
        return advisories.import_archive(session, path, actor="someone")


def covered(database, project: str, *versions: str) -> list[str]:
    with database.read() as session:
        found = advisories.findings_for(session, project, [Version(one) for one in versions])
    return [text for text in versions if Version(text) in found]


def test_an_import_replaces_what_was_there_and_names_the_newest(database, archive):
    first = load(
        database, archive(osv("foo", "GHSA-1", versions=["1.0"]), osv("bar", "GHSA-2", versions=["1"]))
    )
    assert (first.advisories, first.passed_over) == (2, 0)
    load(database, archive(osv("Foo_X", "MAL-2026-9", versions=["2.0"])))
    assert covered(database, "foo", "1.0") == []
    assert covered(database, "foo-x", "2.0", "2.0.0", "2.1") == ["2.0", "2.0.0"]
    with database.read() as session:
        assert advisories.count(session) == (1, "2026-11-01T00:00:00Z")
        finding = advisories.findings_for(session, "foo-x", [Version("2.0")])[Version("2.0")][0]
    assert (finding.is_malware, finding.summary) == (True, "Something bad happens")


def test_withdrawn_records_and_other_ecosystems_are_passed_over(database, archive):
    other = osv("foo", "GHSA-3", versions=["1.0"])
    other["affected"][0]["package"]["ecosystem"] = "npm"  # type: ignore[index]
    withdrawn = osv("foo", "GHSA-4", versions=["1.0"]) | {"withdrawn": "2026-01-01T00:00:00Z"}
    done = load(database, archive(other, withdrawn, osv("bar", versions=["1"])))
    assert (done.advisories, done.passed_over) == (1, 2)
    assert covered(database, "foo", "1.0") == []


@pytest.mark.parametrize(
    ("events", "inside", "outside"),
    [
        ([{"introduced": "0"}, {"fixed": "1.2"}], ["0.1", "1.2rc1", "1.1.9"], ["1.2", "2.0"]),
        ([{"introduced": "1.0"}, {"last_affected": "1.2"}], ["1.0", "1.2"], ["0.9", "1.2.post1", "1.3"]),
        (
            [{"fixed": "2.5"}, {"introduced": "2.0"}, {"introduced": "0"}, {"fixed": "1.0"}],
            ["0.5", "2.0", "2.4"],
            ["1.0", "1.9", "2.5"],
        ),
        ([{"introduced": "0"}], ["1", "99"], []),
        ([{"introduced": "0"}, {"limit": "3"}], ["2"], ["3", "4"]),
        ([{"introduced": "1!0"}], ["1!1"], ["2026.1"]),
    ],
)
def test_ranges_are_evaluated_by_the_order_of_versions(database, archive, events, inside, outside):
    load(database, archive(osv("foo", **between(*events))))
    assert covered(database, "foo", *inside, *outside) == inside


@pytest.mark.parametrize(
    "broken", ["{", "[]", '{"id": "x", "affected": [{"package": {"ecosystem": "PyPI"}}]}']
)
def test_what_is_no_archive_of_advisories_changes_nothing(database, archive, tmp_path, broken):
    load(database, archive(osv("foo", versions=["1.0"])))
    text = tmp_path / "text"
    text.write_text("no zip")
    for path in (archive(broken, osv("bar")), text, tmp_path / "missing"):
        with pytest.raises(InvalidInput) as caught:
            load(database, path)
        assert caught.value.code == "advisories.archive"
        assert covered(database, "foo", "1.0") == ["1.0"]


versions = st.builds(lambda a, b: Version(f"{a}.{b}"), st.integers(0, 5), st.integers(0, 5))


@given(versions, versions, versions)
def test_a_version_is_covered_between_introduction_and_fix(one, introduced, fixed):
    events = [{"introduced": str(introduced)}, {"fixed": str(fixed)}]
    if introduced < fixed:
        assert advisories.is_covered(one, [], [events]) == (introduced <= one < fixed)
