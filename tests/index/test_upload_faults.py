"""Uploads when something fails: nothing half visible, nothing lost."""

from __future__ import annotations

import base64
import errno
import hashlib
import os
import socket
import tempfile
import threading
import zipfile
from pathlib import Path

import pytest
import requests
from sqlalchemy import select

from buildfarm.errors import Conflict
from buildfarm.index import names, promote
from buildfarm.index.model import ChannelEntry, File
from buildfarm.mirror.upstream import Upstream
from tests.index.uploads import body_of, fields_of, send


def form(filename: str, data: bytes) -> bytes:
    parts = [(name, None, value.encode()) for name, value in fields_of(filename, data).items()]
    return body_of([*parts, ("content", filename, data)])


def entries(house) -> set[tuple[str, str]]:
    with house.database.read() as session:
        rows = session.scalars(select(ChannelEntry).where(ChannelEntry.until.is_(None)))
        return {(row.channel, row.filename) for row in rows}


@pytest.mark.system
def test_a_web_killed_in_mid_upload_leaves_nothing_and_the_next_one_goes_through(house, serve) -> None:
    with house.database.begin() as session:
        names.add_local(session, "widget", "widget", actor="test")
    url, token = serve(house), house.token("upload:dev")
    filename, data = house.wheel(code="x = 1\n" * 200_000)
    body = form(filename, data + b"\0" * (4 << 20))
    login = base64.b64encode(f"__token__:{token}".encode()).decode()
    head = (
        f"POST /dev/legacy/ HTTP/1.1\r\nHost: farm\r\nAuthorization: Basic {login}\r\n"
        f"Content-Type: multipart/form-data; boundary=limit\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    unfinished = house.farm.blobs.root / "tmp"
    with socket.create_connection(("127.0.0.1", int(url.rsplit(":", 1)[1])), timeout=20) as connection:
        connection.sendall(head.encode() + body[: len(body) // 2])
        house.wait_for(lambda: any(path.stat().st_size > 1 << 20 for path in unfinished.iterdir()))
        serve.kill()
    assert entries(house) == set()
    assert list(unfinished.iterdir())
    house.farm.blobs.drop_unfinished(3600)
    assert list(unfinished.iterdir())  # it may still be written
    house.farm.blobs.drop_unfinished(-1)
    assert not list(unfinished.iterdir())
    url = serve(house)
    answer = requests.post(
        f"{url}/dev/legacy/", data=form(filename, data), auth=("x", token), timeout=60,
        headers={"Content-Type": "multipart/form-data; boundary=limit"},
    )  # fmt: skip
    assert answer.status_code == 200
    assert entries(house) == {("dev", filename)}
    assert house.farm.blobs.has(hashlib.sha256(data).hexdigest())


def test_a_disk_that_fills_up_in_the_middle_is_said_and_leaves_nothing(
    house, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Upstream, "rows", lambda _self, _name: None)
    client = house.client(house.token("upload:dev"))

    def full(**_where: object) -> tuple[int, str]:
        return os.open("/dev/full", os.O_WRONLY), str(house.farm.blobs.root / "tmp" / "x")

    with monkeypatch.context() as patch:
        patch.setattr(tempfile, "mkstemp", full)
        answer = send(client, "widget-1.0-py3-none-any.whl", b"x" * (1 << 20))
    assert (answer.status_code, answer.json["code"]) == (507, "storage.full")
    assert os.strerror(errno.ENOSPC) in answer.status
    assert entries(house) == set()
    assert not list((house.farm.blobs.root / "tmp").iterdir())
    assert send(client, *house.wheel()).status_code == 200


def test_uploads_and_promotions_of_one_release_at_once(each_house, monkeypatch: pytest.MonkeyPatch) -> None:
    house = each_house
    monkeypatch.setattr(Upstream, "rows", lambda _self, _name: None)
    token = house.token("upload:dev")
    tags = [f"py3{minor}-none-any" for minor in range(5)]
    send(house.client(token), *house.wheel(tag=tags[0]))
    over = threading.Event()

    def climb() -> None:
        while not over.is_set():
            try:
                with house.database.begin() as session:
                    promote.promote(
                        session, project="widget", version="1.0", from_channel="dev", to_channel="staging",
                        actor="ada",
                    )  # fmt: skip
            except Conflict:
                over.wait(0.01)  # nothing new, for now

    climber = threading.Thread(target=climb)
    climber.start()
    try:
        for tag in tags[1:]:
            assert send(house.client(token), *house.wheel(tag=tag)).status_code == 200
        house.wait_for(lambda: len(entries(house)) == 10)
    finally:
        over.set()
        climber.join()
    with house.database.read() as session:
        assert len(session.scalars(select(File)).all()) == 5
        assert len(session.scalars(select(ChannelEntry)).all()) == 10


def resident_bytes(pid: int) -> int:
    """The most memory that the process ever held."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) << 10
    raise AssertionError(pid)


def largest(pid: int) -> int:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return max(resident_bytes(one) for one in (pid, *map(int, children)))


@pytest.mark.system
@pytest.mark.parametrize(
    "size", [64 << 20, pytest.param(1000 << 20, marks=[pytest.mark.exhaustive, pytest.mark.timeout(900)])]
)
def test_a_large_file_takes_little_memory(house, serve, tmp_path: Path, size: int) -> None:
    with house.database.begin() as session:
        names.add_local(session, "widget", "widget", actor="test")
    url, token = serve(house), house.token("upload:dev", "read:dev")
    send_to = f"{url}/dev/legacy/"
    headers = {"Content-Type": "multipart/form-data; boundary=limit"}
    small = form(*house.wheel(version="0.1"))
    assert requests.post(send_to, data=small, auth=("x", token), headers=headers, timeout=60).ok
    before = largest(serve.running[0].pid)
    path = large_wheel(tmp_path, size)
    fields = {":action": "file_upload", "protocol_version": "1", "name": "widget", "version": "1.0"}
    parts = [(name, None, value.encode()) for name, value in (fields | {"filetype": "bdist_wheel"}).items()]
    start = body_of([*parts, ("content", path.name, b"")]).removesuffix(b"\r\n--limit--\r\n")

    def body():
        yield start
        with path.open("rb") as content:
            while chunk := content.read(1 << 20):
                yield chunk
        yield b"\r\n--limit--\r\n"

    answer = requests.post(send_to, data=body(), auth=("x", token), headers=headers, timeout=800)
    assert answer.status_code == 200, answer.text
    grown = largest(serve.running[0].pid) - before
    print(f"\n{size >> 20} MiB uploaded, web grew by {grown >> 20} MiB")
    assert grown < 48 << 20
    page = requests.get(f"{url}/dev/simple/widget/", auth=("x", token), timeout=60).text
    assert path.name in page


def large_wheel(folder: Path, size: int) -> Path:
    """A right wheel of this many bytes: one stored member of zeros, which the disk need not hold twice."""
    path = folder / "widget-1.0-py3-none-any.whl"
    digest, zeros = hashlib.sha256(), b"\0" * (1 << 20)
    for _ in range(size >> 20):
        digest.update(zeros)
    info = "widget-1.0.dist-info"
    texts = {
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: widget\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    sums = {"widget/data.bin": (digest.digest(), size)}
    sums |= {name: (hashlib.sha256(text.encode()).digest(), len(text)) for name, text in texts.items()}
    record = "".join(
        f"{name},sha256={base64.urlsafe_b64encode(sha).rstrip(b'=').decode()},{count}\n"
        for name, (sha, count) in sums.items()
    )
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        with archive.open(zipfile.ZipInfo("widget/data.bin"), "w") as member:
            for _ in range(size >> 20):
                member.write(zeros)
        for name, text in (texts | {f"{info}/RECORD": record + f"{info}/RECORD,,\n"}).items():
            archive.writestr(zipfile.ZipInfo(name), text)
    return path
