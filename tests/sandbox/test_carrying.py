"""Images go from one engine to another as files, and the engine says which image a file holds."""

import io
import tarfile
import uuid

import pytest

import docker
from buildfarm.errors import FarmError, IntegrityFailure
from buildfarm.sandbox.carrying import discard, load, save
from buildfarm.sandbox.images import missing_images

pytestmark = pytest.mark.engine


def tiny(client: docker.APIClient) -> str:
    """An image of one file that no other has."""
    root = io.BytesIO()
    with tarfile.open(fileobj=root, mode="w") as archive:
        member = tarfile.TarInfo("only")
        member.size = 32
        archive.addfile(member, io.BytesIO(uuid.uuid4().hex.encode()))
    said = client.import_image_from_data(root.getvalue(), repository=None)
    return next(word for word in said.replace('"', " ").split() if word.startswith("sha256:"))


@pytest.fixture
def client(engine):
    client = docker.APIClient(base_url=engine)
    yield client
    client.close()


@pytest.fixture
def owner(engine):
    owner = f"test{uuid.uuid4().hex[:8]}"
    yield owner
    discard(engine, owner, ())


@pytest.fixture
def carried(engine, client, tmp_path):
    """The id of an image that the engine held, and its archive."""
    image_id, archive = tiny(client), tmp_path / "archive"
    with archive.open("wb") as out:
        save(engine, image_id, out.write)
    client.remove_image(image_id)
    assert missing_images(engine, [image_id]) == [image_id]
    return image_id, archive


def test_an_image_arrives_as_what_it_was_and_goes_when_nobody_keeps_it(engine, carried, owner):
    image_id, archive = carried
    load(engine, archive, image_id, owner)
    assert missing_images(engine, [image_id]) == []
    discard(engine, owner, [image_id])
    discard(engine, "somebody-else", ())
    assert missing_images(engine, [image_id]) == []
    discard(engine, owner, ())
    assert missing_images(engine, [image_id]) == [image_id]


def test_an_image_goes_with_what_was_made_of_it_not_from_under_a_container(engine, client, carried, owner):
    image_id, archive = carried
    load(engine, archive, image_id, owner)
    container = client.create_container(image_id, command=["/only"])["Id"]
    derived = client.commit(container, changes=[f"LABEL org.buildfarm.base={image_id}"])["Id"]
    discard(engine, owner, ())
    assert missing_images(engine, [image_id]) == []
    client.remove_container(container)
    discard(engine, owner, ())
    assert missing_images(engine, [image_id, derived]) == [image_id, derived]


def test_an_image_that_two_hosts_of_one_engine_fetched_stays_for_the_other(engine, carried, owner):
    image_id, archive = carried
    load(engine, archive, image_id, owner)
    load(engine, archive, image_id, f"{owner}x")
    discard(engine, owner, ())
    assert missing_images(engine, [image_id]) == []
    discard(engine, f"{owner}x", ())
    assert missing_images(engine, [image_id]) == [image_id]


def test_an_archive_of_another_image_is_refused(engine, client, carried, owner):
    image_id, archive = carried
    other = f"sha256:{'0' * 64}"
    with pytest.raises(IntegrityFailure, match="not hold the image"):
        load(engine, archive, other, owner)
    client.remove_image(image_id)


def test_what_is_no_archive_is_refused(engine, tmp_path, owner):
    archive = tmp_path / "archive"
    archive.write_bytes(b"\x1f\x8b" + b"nothing of the kind" * 100)
    with pytest.raises(FarmError):
        load(engine, archive, f"sha256:{'0' * 64}", owner)
