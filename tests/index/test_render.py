from __future__ import annotations

import json
from datetime import UTC, datetime
from html.parser import HTMLParser
from urllib.parse import unquote, urldefrag

from hypothesis import given, settings
from hypothesis import strategies as st

from buildfarm.index.render import PageFile, compressed, project_html, project_json, root_html, root_json

ROOT = "https://farm.example/dev/files/widget"
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\r\0"), max_size=25)
NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._+!-]{0,20}", fullmatch=True)
HEX = st.integers(0, 2**256 - 1).map(lambda number: f"{number:064x}")
TIMES = st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
FILES = st.lists(
    st.builds(
        PageFile, filename=NAMES,
        version=st.sampled_from(["1.0", "1.0.post1", "2!1", "1.0rc1", "10.0", "9.9+local"]),
        sha256=HEX, size=st.integers(0, 2**40), uploaded_at=TIMES,
        requires_python=st.none() | TEXT, metadata_sha256=st.none() | HEX, bundle_sha256=st.none() | HEX,
        provenance_sha256=st.none() | HEX, yanked=st.none() | TEXT,
    ),
    max_size=5, unique_by=lambda file: file.filename,
)  # fmt: skip


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
@given(FILES)
def test_both_forms_show_the_same_files_whatever_their_texts(files: list[PageFile]) -> None:
    told = json.loads(project_json("widget", files, provenance_root=ROOT, serial=7))
    seen = anchors(project_html("widget", files, provenance_root=ROOT))
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


@given(FILES)
def test_the_page_says_what_the_standards_want(files: list[PageFile]) -> None:
    page = json.loads(project_json("widget", files, provenance_root=ROOT, serial=7))
    assert page["meta"] == {"api-version": "1.4", "_last-serial": 7}
    assert page["name"] == "widget"
    assert page["project-status"] == {"status": "active"}
    assert set(page["versions"]) == {file.version for file in files}
    assert len(page["versions"]) == len(set(page["versions"]))
    for entry in page["files"]:
        assert entry["yanked"] != ""
        assert isinstance(entry["size"], int)
        assert entry.get("requires-python", True)
        datetime.strptime(entry["upload-time"], "%Y-%m-%dT%H:%M:%S.%fZ")  # noqa: DTZ007
        assert entry["provenance"] is None or entry["provenance"].startswith("https://")


@given(FILES, st.randoms(use_true_random=False))
def test_equal_facts_give_equal_bytes(files: list[PageFile], shuffle) -> None:
    mixed = list(files)
    shuffle.shuffle(mixed)
    for render in (
        lambda some: project_json("w", some, provenance_root=ROOT, serial=1),
        lambda some: project_html("w", some, provenance_root=ROOT),
    ):
        assert render(mixed) == render(files)
        assert compressed(render(mixed), b"") == compressed(render(files), b"")


def test_html_is_frozen_one_anchor_per_line() -> None:
    moment = datetime(2026, 1, 2, 3, 4, 5, 6, UTC)
    file = PageFile(
        "a-1.whl", "1", "0" * 64, 3, moment, ">=3.9,<4", "1" * 64, "2" * 64, "3" * 64, '"><script>'
    )
    page = project_html("a", [file], provenance_root=ROOT).decode()
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
    page = json.loads(root_json(names, serial=3))
    assert [project["name"] for project in page["projects"]] == sorted(names)
    assert [(a["href"], text) for a, text in anchors(root_html(names)).found] == [
        (f"{name}/", name) for name in sorted(names)
    ]
