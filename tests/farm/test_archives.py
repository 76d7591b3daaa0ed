"""Archives of images: who sends and who fetches them, what is believed of them, when they go."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from buildfarm.errors import Forbidden, IntegrityFailure, StorageFull
from buildfarm.farm import archives, builds, fleet, registry
from workers.farm_client import FarmClient

#: The image that jobs of the shared farm name.
IMAGE, OTHER = "sha256:" + "1" * 64, "sha256:" + "2" * 64
QUEUES = ["build.manylinux-x86_64.dev.interactive"]
BYTES = b"".join(hashlib.sha256(b"%d" % n).digest() for n in range(100_000))
SHA256 = hashlib.sha256(BYTES).hexdigest()


def register(house, *image_ids: str) -> None:
    images = [
        {"image_id": one, "platform": "manylinux_2_36_x86_64", "role": "builder", "suite": "bookworm",
         "interpreters": ["cp311"]}
        for one in image_ids
    ]  # fmt: skip
    with house.database.begin() as session:
        registry.register_images(session, images, actor="test")


def send(house, image_id: str = IMAGE, data: bytes = BYTES, sha256: str | None = None):
    headers = {"X-Sha256": sha256 or hashlib.sha256(data).hexdigest()}
    client = house.client(house.token("admin"))
    return client.put(f"/api/v1/images/{image_id}/archive", data=data, headers=headers)


def fetch(house, token: str, image_id: str = IMAGE, **headers: str):
    headers |= {"Authorization": f"Bearer {token}"} if token else {}
    return house.app.test_client().get(f"/jobapi/v1/images/{image_id}", headers=headers)


def told(_here: int, _size: int) -> None:
    """Nobody watches."""


def wanted(house) -> list[str]:
    with house.database.read() as session:
        return registry.images_for(session, QUEUES)


@pytest.fixture
def builder(house) -> str:
    """A builder's token."""
    register(house, IMAGE)
    with house.database.begin() as session:
        return registry.add_builder(session, "second", ["dev"], actor="test")[1]


def test_what_was_sent_is_fetched_whole_or_in_part_by_builders_alone(house, builder) -> None:
    early = fetch(house, builder)
    assert (early.status_code, early.json["code"]) == (404, "image.no_archive")
    assert "buildfarm image add" in early.json["detail"]
    assert send(house).json == {"image_id": IMAGE, "sha256": SHA256, "size": len(BYTES)}
    whole = fetch(house, builder)
    assert (whole.data, whole.headers["X-Sha256"]) == (BYTES, SHA256)
    rest = fetch(house, builder, Range="bytes=1000-")
    assert (rest.status_code, rest.data, rest.headers["X-Sha256"]) == (206, BYTES[1000:], SHA256)
    assert fetch(house, builder, Range=f"bytes={len(BYTES)}-").status_code == 416
    assert fetch(house, "").status_code == 401
    assert fetch(house, house.token("admin")).json["code"] == "builder.token"
    job_id = next(iter(house.build(house.source(), "cp311-manylinux_2_36_x86_64")[1].values()))
    assert fetch(house, house.claim(job_id)).status_code == 401  # an attempt's


def test_what_is_not_as_announced_is_not_kept(house, builder) -> None:
    wrong = send(house, sha256="0" * 64)
    assert (wrong.status_code, wrong.json["code"]) == (422, "blob.digest")
    assert send(house, sha256="short").json["code"] == "image.no_digest"
    assert send(house, OTHER).json["code"] == "image.unknown"
    assert fetch(house, builder).status_code == 404
    assert not house.farm.blobs.has(SHA256)


def test_an_archive_that_is_sent_again_takes_the_place_of_the_other(house, builder) -> None:
    send(house)
    send(house, data=b"newer")
    assert fetch(house, builder).data == b"newer"
    assert not house.farm.blobs.has(SHA256)


def test_the_farm_wants_archives_where_other_hosts_may_join(house, builder) -> None:
    def shown(**settings: str) -> list[tuple[str, int | None]]:
        with house.database.read() as session:
            rows = fleet.list_images(session, house.farm.settings.model_copy(update=settings))
        return [(row.archive, row.archive_bytes) for row in rows]

    open_to_others = {"builder_redis": "redis://queue.example:6380"}
    assert shown() == [("not needed", None)]
    assert shown(**open_to_others) == [("wanted", None)]
    send(house)
    assert shown(**open_to_others) == [("kept", len(BYTES))]


def test_a_retired_image_stays_while_a_job_waits_for_it(house, builder) -> None:
    register(house, IMAGE, OTHER)
    build_id, _jobs = house.build(house.source(), "cp311-manylinux_2_36_x86_64")
    for image_id, data in ((IMAGE, BYTES), (OTHER, b"other")):
        send(house, image_id, data)
    with house.database.begin() as session:
        for image_id in (IMAGE, OTHER):
            registry.retire_image(session, image_id, actor="test")
    assert archives.drop_unused(house.database, house.farm.blobs) == 1
    assert wanted(house) == [IMAGE]
    assert fetch(house, builder, OTHER).status_code == 404
    assert fetch(house, builder).data == BYTES
    with house.database.begin() as session:
        builds.cancel(session, build_id, actor="ada")
    assert archives.drop_unused(house.database, house.farm.blobs) == 1
    assert wanted(house) == []
    assert not house.farm.blobs.has(SHA256)


def test_a_host_goes_on_where_its_fetching_broke_off(house, builder, serve, tmp_path: Path) -> None:
    send(house)
    client, into = FarmClient(serve(house), builder), tmp_path / "archive"
    into.write_bytes(BYTES[:70_000])
    progress: list[tuple[int, int]] = []
    client.fetch_image(IMAGE, into, 0, lambda here, size: progress.append((here, size)))
    assert into.read_bytes() == BYTES
    assert progress[0][0] > 70_000
    assert progress[-1] == (len(BYTES), len(BYTES))
    client.fetch_image(IMAGE, into, 0, told)  # all of it was here
    assert into.read_bytes() == BYTES


def test_a_host_keeps_nothing_that_is_not_what_the_farm_has(house, builder, serve, tmp_path: Path) -> None:
    send(house)
    client, into = FarmClient(serve(house), builder), tmp_path / "archive"
    into.write_bytes(b"\0" * 70_000)  # the beginning of something else
    with pytest.raises(IntegrityFailure, match="other bytes"):
        client.fetch_image(IMAGE, into, 0, told)
    assert not into.exists()
    with pytest.raises(StorageFull, match="no room for 3 MiB"):
        client.fetch_image(IMAGE, into, 1 << 60, told)
    with pytest.raises(Forbidden, match="registered"):
        client.fetch_image(OTHER, into, 0, told)
    client.fetch_image(IMAGE, into, 0, told)
    assert into.read_bytes() == BYTES


def test_a_builder_gets_no_job_whose_image_it_has_not_looked_for(house, builder) -> None:
    job_id = next(iter(house.build(house.source(), "cp311-manylinux_2_36_x86_64")[1].values()))

    def ask(path: str, body: dict[str, object]):
        headers = {"Authorization": f"Bearer {builder}"}
        return house.app.test_client().post(f"/jobapi/v1/{path}", headers=headers, json=body)

    report = {"queues": QUEUES, "slots": 1, "findings": []}
    claim = {"job": job_id, "attempt": 1}
    assert ask("builder/seen", report | {"images": []}).json["images"] == [IMAGE]
    early = ask("claim", claim)
    assert (early.status_code, early.json["code"]) == (409, "builder.image")
    ask("builder/seen", report | {"images": [IMAGE]})
    assert ask("claim", claim).status_code == 200
