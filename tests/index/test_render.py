from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime
from html.parser import HTMLParser
from typing import Any
from urllib.parse import unquote, urldefrag

import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from packaging.version import Version

from buildfarm.index.jsonapi import JsonRendering
from buildfarm.index.pagefacts import PageFile, PageRelease
from buildfarm.index.render import Marking, ProjectRendering, root_forms
from buildfarm.index.runs import Runs

ROOT = "https://farm.example/dev/files/widget"
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\r\0"), max_size=25)
NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._+!-]{0,20}", fullmatch=True)
HEX = st.integers(0, 2**256 - 1).map(lambda number: f"{number:064x}")
TIMES = st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
VERSIONS = ("1.0", "1.0.post1", "2!1", "1.0rc1", "10.0", "9.9+local")
FILES = st.builds(
    PageFile, filename=NAMES, sha256=HEX, size=st.integers(0, 2**40), uploaded_at=TIMES,
    requires_python=st.none() | TEXT, metadata_sha256=st.none() | HEX, bundle_sha256=st.none() | HEX,
    provenance_sha256=st.none() | HEX, yanked=st.none() | TEXT,
)  # fmt: skip
RELEASES = st.lists(
    st.builds(
        PageRelease, version=st.sampled_from(VERSIONS), since=st.just(1), summary=st.none() | TEXT,
        created_at=TIMES,
        files=st.lists(FILES, min_size=1, max_size=3, unique_by=lambda file: file.filename).map(tuple),
    ),
    max_size=5, unique_by=lambda release: release.version,
)  # fmt: skip


def runs(releases: list[PageRelease]) -> Runs[PageRelease]:
    return Runs(releases, key=lambda one: Version(one.version), ends=lambda one: "post" in one.version)


def forms(releases: list[PageRelease], marking: Marking | None = None) -> dict[str, bytes]:
    return ProjectRendering("widget", ROOT).forms(runs(releases), marking or Marking(7))


def told_by(made: dict[str, bytes]) -> dict[str, Any]:
    packed = zstandard.ZstdDecompressor().stream_reader(made["json.zst"], read_across_frames=True).read()
    assert gzip.decompress(made["json.gz"]) == packed
    return json.loads(packed)


def html_of(made: dict[str, bytes]) -> bytes:
    return gzip.decompress(made["html.gz"])


class Anchors(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[dict[str, str | None], str]] = []
        self.others: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.others.add(tag)
        if tag == "a":
            self.found.append((dict(attrs), ""))

    def handle_data(self, data: str) -> None:
        if self.lasttag == "a" and self.found and data.strip():
            attributes, text = self.found[-1]
            self.found[-1] = (attributes, text + data)


def anchors(page: bytes) -> Anchors:
    parser = Anchors()
    parser.feed(page.decode())
    return parser


@settings(max_examples=150)
@given(RELEASES)
def test_both_forms_show_the_same_files_whatever_their_texts(releases: list[PageRelease]) -> None:
    made = forms(releases)
    told, seen = told_by(made), anchors(html_of(made))
    assert seen.others <= {"html", "head", "meta", "title", "body", "h1", "a", "br"}
    assert [entry["filename"] for entry in told["files"]] == [text for _, text in seen.found]
    for entry, (attributes, text) in zip(told["files"], seen.found, strict=True):
        url, fragment = urldefrag(attributes["href"] or "")
        assert (url, unquote(url.rsplit("/", 1)[1])) == (entry["url"], text)
        assert fragment == f"sha256={entry['hashes']['sha256']}"
        assert attributes.get("data-requires-python") == entry.get("requires-python")
        metadata = f"sha256={entry['core-metadata']['sha256']}" if entry["core-metadata"] else None
        assert attributes.get("data-core-metadata") == attributes.get("data-dist-info-metadata") == metadata
        assert entry["data-dist-info-metadata"] == entry["core-metadata"]
        assert attributes.get("data-provenance") == entry["provenance"]
        assert ("data-yanked" in attributes) == (entry["yanked"] is not False)
        if entry["yanked"] is not True:
            assert (attributes.get("data-yanked") or False) == entry["yanked"]


@given(RELEASES)
def test_the_page_says_what_the_standards_want(releases: list[PageRelease]) -> None:
    page = told_by(forms(releases))
    assert page["meta"] == {"api-version": "1.4", "_last-serial": 7}
    assert page["name"] == "widget"
    assert page["project-status"] == {"status": "active"}
    assert page["versions"] == sorted((one.version for one in releases), key=Version)
    for entry in page["files"]:
        assert entry["yanked"] != ""
        assert isinstance(entry["size"], int)
        assert entry.get("requires-python", True)
        datetime.strptime(entry["upload-time"], "%Y-%m-%dT%H:%M:%S.%fZ")  # noqa: DTZ007
        assert entry["provenance"] is None or entry["provenance"].startswith("https://")


@given(RELEASES, st.randoms(use_true_random=False))
def test_equal_facts_give_equal_bytes(releases: list[PageRelease], shuffle) -> None:
    mixed = list(releases)
    shuffle.shuffle(mixed)
    assert forms(mixed) == forms(releases)


def test_the_status_of_a_project_stands_in_both_forms() -> None:
    made = forms([], Marking(3, "archived", 'old "<b>'))
    assert told_by(made)["project-status"] == {"status": "archived", "reason": 'old "<b>'}
    assert told_by(made)["files"] == told_by(made)["versions"] == []
    page = html_of(made).decode()
    assert '<meta name="pypi:project-status" content="archived">' in page
    assert '<meta name="pypi:project-status-reason" content="old &quot;&lt;b&gt;">' in page


@given(RELEASES)
def test_the_json_api_has_every_release_and_the_files_of_the_newest(releases: list[PageRelease]) -> None:
    text = b"Metadata-Version: 2.4\nName: Widget\nVersion: 1\nSummary: A part\nKeywords: a,b\n\nLong."
    rendering = JsonRendering("widget", "https://farm.example/dev", lambda _sha256: text)
    told = json.loads(gzip.decompress(rendering.project(runs(releases), 9)))
    assert told["last_serial"] == 9
    assert told["vulnerabilities"] == []
    assert list(told["releases"]) == sorted((one.version for one in releases), key=Version)
    for release in releases:
        entries = told["releases"][release.version]
        assert [entry["filename"] for entry in entries] == [file.filename for file in release.files]
        single = json.loads(gzip.decompress(rendering.release(release, 4)))
        assert (single["urls"], single["last_serial"]) == (entries, 4)
        assert single["info"]["version"] == release.version
    if releases:
        assert told["urls"] == told["releases"][told["info"]["version"]]
        final = [one for one in releases if one.version != "1.0rc1"]
        if final and all(file.yanked is None for one in releases for file in one.files):
            assert told["info"]["version"] == max((one.version for one in final), key=Version)
        if any(file.metadata_sha256 for one in releases for file in one.files) and len(releases) == 1:
            assert told["info"]["summary"] == "A part"
            assert (told["info"]["keywords"], told["info"]["description"]) == ("a,b", "Long.")


def test_html_is_frozen_one_anchor_per_line() -> None:
    moment = datetime(2026, 1, 2, 3, 4, 5, 6, UTC)
    digests = ("1" * 64, "2" * 64, "3" * 64, None)
    file = PageFile("a-1.whl", "0" * 64, 3, moment, ">=3.9,<4", *digests, '"><script>')
    rendering = ProjectRendering("a", ROOT)
    page = html_of(rendering.forms(runs([PageRelease("1", 1, None, moment, (file,))]), Marking(1))).decode()
    assert page.startswith("<!DOCTYPE html>")
    assert '<meta name="pypi:repository-version" content="1.4">' in page
    assert '<meta name="pypi:project-status" content="active">' in page
    assert "<script" not in page
    (line,) = [line for line in page.splitlines() if "<a" in line]
    assert line == (
        f'<a href="../../files/a/a-1.whl#sha256={"0" * 64}" data-requires-python="&gt;=3.9,&lt;4" '
        f'data-yanked="&quot;&gt;&lt;script&gt;" data-dist-info-metadata="sha256={"1" * 64}" '
        f'data-core-metadata="sha256={"1" * 64}" data-provenance="{ROOT}/a-1.whl.provenance">a-1.whl</a><br>'
    )


def test_the_list_of_projects_in_both_forms() -> None:
    names = ["zeta", "alpha", "beta-2"]
    made = root_forms(Runs(names, key=str, ends=lambda name: name == "alpha"), serial=3)
    page = told_by(made)
    assert page["meta"]["_last-serial"] == 3
    assert [project["name"] for project in page["projects"]] == sorted(names)
    assert [(a["href"], text) for a, text in anchors(html_of(made)).found] == [
        (f"{name}/", name) for name in sorted(names)
    ]
