"""What builds read: our projects in the channels that their source is granted."""

from __future__ import annotations

import json

import pytest

from buildfarm.errors import NotFound
from buildfarm.index import channels


def test_local_files_are_served_under_their_own_project_alone(house, put) -> None:
    put(house, "widget-1.0-py3-none-any.whl", b"ours", metadata=b"meta")
    put(house, "other-1.0-py3-none-any.whl", b"theirs")
    served = house.farm.build_view.file("widget", "widget-1.0-py3-none-any.whl", ["dev"])
    assert (served.size, served.origin) == (4, "http://farm.example/dev/simple")
    assert house.farm.build_view.metadata("widget", "widget-1.0-py3-none-any.whl", ["dev"]) == b"meta"
    with pytest.raises(NotFound):
        house.farm.build_view.file("widget", "other-1.0-py3-none-any.whl", ["dev"])
    with pytest.raises(NotFound):
        house.farm.build_view.file("widget", "widget-1.0-py3-none-any.whl", ["stable"])


def test_a_build_reads_the_channels_that_its_source_is_granted(house, put) -> None:
    wheel, newer = "widget-1.0-py3-none-any.whl", "widget-2.0-py3-none-any.whl"
    put(house, wheel, b"one")
    put(house, newer, b"two", channel="staging")
    view = house.farm.build_view

    def listed(granted):
        return sorted(file["filename"] for file in json.loads(view.page("widget", granted))["files"])

    assert listed([]) == []
    assert listed(["dev"]) == [wheel]
    assert listed(["dev", "staging"]) == [wheel, newer]
    assert view.file("widget", newer, ["dev", "staging"]).origin == "http://farm.example/staging/simple"
    for granted in ([], ["dev"]):
        with pytest.raises(NotFound):
            view.file("widget", newer, granted)


@pytest.mark.parametrize(("tier", "granted"), [("release", ["dev"]), ("dev", ["dev"]), ("untrusted", [])])
def test_a_new_source_of_strangers_reads_nothing_of_ours(house, tier, granted) -> None:
    answer = house.client(house.token("admin")).post(
        "/api/v1/sources", json={"name": "x", "url": "https://git.example/x.git", "tier": tier}
    )
    assert answer.json["reads"] == granted


def test_only_channels_with_files_of_their_own_are_granted(house) -> None:
    house.source()
    with house.database.begin() as session:
        channels.create_mirror(session)
    client = house.client(house.token("admin"))

    def grant(*names):
        answer = client.put("/api/v1/sources/widget/reads", json={"channels": names})
        return answer.status_code, answer.json.get("reads") or answer.json.get("code")

    assert grant("staging", "dev", "staging") == (200, ["staging", "dev"])
    assert grant("none") == (404, "channel.unknown")
    assert grant("dev", "mirror")[1] == "channel.not_durable"
    assert client.get("/api/v1/sources/widget").json["reads"] == ["staging", "dev"]


def test_an_attempt_is_given_what_its_source_is_granted_and_nothing_else(house, put) -> None:
    wheel = "backend-1.0-py3-none-any.whl"
    put(house, wheel, b"ours")
    target = "cp313-manylinux_2_28_x86_64"
    headers = {"Authorization": f"Bearer {house.claim(house.build(house.source(), target)[1][target])}"}
    client, admin = house.app.test_client(), house.client(house.token("admin"))

    def read(path):
        answer = client.get(f"/jobapi/v1/attempt/index{path}", headers=headers)
        return answer.status_code, answer.data

    assert read(f"/files/backend/{wheel}") == (200, b"ours")
    assert admin.put("/api/v1/sources/widget/reads", json={"channels": ["stable"]}).status_code == 200
    assert read(f"/files/backend/{wheel}")[0] == 404
    assert json.loads(read("/simple/backend/")[1])["files"] == []
