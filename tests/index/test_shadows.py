"""A wheel with a package that another project is named after gets a finding, and keeps it."""

from __future__ import annotations

import pytest

from buildfarm import clock
from buildfarm.index.model import File
from buildfarm.mirror.model import UpstreamPage
from tests.index.uploads import send


@pytest.fixture
def uploader(house, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(house.farm.upstream, "rows", {}.get)
    house.follower.catch_up()
    return house.client(house.token("upload:dev"))


@pytest.fixture
def found(house, uploader):
    """Uploads a wheel with further members; the texts of what was found."""

    def send_one(*members: str, name: str = "widget") -> list[str]:
        filename, data = house.wheel(name, more=members)
        assert send(uploader, filename, data).status_code == 200
        with house.database.read() as session:
            findings = session.get_one(File, filename).findings
            return [one["text"] for one in findings if one["rule"] == "W-14"]

    return send_one


@pytest.mark.parametrize(
    ("member", "is_found"),
    [
        ("gadget/__init__.py", True),
        ("gadget.py", True),
        ("widget-1.0.data/purelib/gadget.py", True),
        ("gadget/part.py", False),
        ("gadget/part/__init__.py", False),
        ("lib/gadget.py", False),
        ("gadget.txt", False),
    ],
)
def test_packages_and_modules_count_and_namespaces_do_not(found, member: str, is_found: bool) -> None:
    assert found(name="gadget") == []
    said = ["the package gadget has the name of another project, gadget."] if is_found else []
    assert found(member) == said


def test_what_upstream_has_counts_too_and_another_look_finds_it_again(house, found) -> None:
    with house.database.begin() as session:
        now = clock.now()
        session.add(
            UpstreamPage(
                project="big-one", upstream="https://index.example/simple", is_json=True, version=1,
                content={}, fetched_at=now, checked_at=now, changed_at=now,
            )
        )  # fmt: skip
    said = ["the package big_one has the name of another project, big-one."]
    assert found("big_one/__init__.py", "widget.py") == said
    with house.database.begin() as session:
        (file,) = session.query(File)
        file.rules_version, file.findings = 0, []
    list(house.farm.recheck.walk())
    with house.database.read() as session:
        (file,) = session.query(File)
        assert [one["text"] for one in file.findings if one["rule"] == "W-14"] == said
