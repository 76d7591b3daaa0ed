"""The job API as a builder's attempt uses it. Source: docs/job-api.md."""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import requests

from buildfarm import log
from buildfarm.errors import (
    Conflict,
    ExternalFailure,
    FarmError,
    Forbidden,
    IntegrityFailure,
    StaleAttempt,
    StorageFull,
)
from buildfarm.sandbox.port import PATIENCE_S, IndexAnswer

_TIMEOUT_S = (5.0, 60.0)
_BRIEF_S = (2.0, 2.0)
#: Of a heartbeat: several in a row may get no answer before the lease is over.
_BEAT_S = (5.0, 15.0)
_CHUNK = 1 << 18
_Result = TypeVar("_Result")
_log = log.get(__name__)


@dataclass(frozen=True)
class Orders:
    """What the farm says to a builder: whether to look for work, and when to ask again, in seconds.

    `leave` are queues that others are to look into, `images` the ids that its builds may name, `skew_s` is
    how far this clock is ahead of the farm's.
    """

    take: bool
    leave: tuple[str, ...]
    again_s: float
    images: tuple[str, ...]
    skew_s: float


class FarmClient:
    """Speaks the job API with one token: a builder's to claim, an attempt's for all else.

    Implements `buildfarm.sandbox.port.FarmPort`.
    """

    def __init__(self, url: str, token: str) -> None:
        self._root = f"{url.rstrip('/')}/jobapi/v1"
        self._headers = {"Authorization": f"Bearer {token}", "User-Agent": "buildfarm-builder"}

    def claim(self, job_id: str, attempt: int) -> tuple[dict[str, Any], str]:
        """The attempt's spec and token.

        Raises:
            StaleAttempt: somebody else has it.
            ExternalFailure: the farm is away.
        """
        answer = self._patiently(lambda: self._json("POST", "/claim", {"job": job_id, "attempt": attempt}))
        return answer["spec"], answer["token"]

    def lost(self, job_id: str, attempt: int) -> None:
        """Give back an attempt that this builder held and that nobody works on any more.

        Raises:
            StaleAttempt: it does not hold it.
            ExternalFailure: the farm is away.
        """
        self._patiently(lambda: self._json("POST", "/builder/lost", {"job": job_id, "attempt": attempt}))

    def seen(self, report: dict[str, Any]) -> Orders:
        """Say that this builder is there, and what it is; what the farm says to that.

        Raises:
            FarmError: the farm is away, or does not know this builder any more.
        """
        asked = time.time()
        answer = self._json("POST", "/builder/seen", report, timeout=_BRIEF_S)
        skew_s = (asked + time.time()) / 2 - float(answer["now"])
        return Orders(
            bool(answer["take"]),
            tuple(answer["leave"]),
            float(answer["again_s"]),
            tuple(answer["images"]),
            skew_s,
        )

    def fetch_image(
        self, image_id: str, into: Path, room_bytes: int, tell: Callable[[int, int], object]
    ) -> None:
        """Write the archive of an image to `into`, going on where an earlier try broke off.

        Args:
            image_id: one that the farm named.
            into: the file, which may have the beginning already.
            room_bytes: what is to be left free on its disk.
            tell: is given how many bytes are here, and of how many.

        Raises:
            Forbidden: `image.no_archive`, the farm has none.
            StorageFull: this host has no room for it.
            IntegrityFailure: `image.digest`, other bytes came; `into` is gone.
            ExternalFailure: the farm is away.
        """
        announced = self._patiently(lambda: self._fetch_rest(image_id, into, room_bytes, tell))
        with into.open("rb") as archive:
            if hashlib.file_digest(archive, "sha256").hexdigest() == announced:
                return
        into.unlink()
        raise IntegrityFailure("The archive arrived with other bytes than the farm has.", code="image.digest")

    def _fetch_rest(
        self, image_id: str, into: Path, room_bytes: int, tell: Callable[[int, int], object]
    ) -> str:
        """The SHA-256 that the whole has to have."""
        begun = into.stat().st_size if into.exists() else 0
        headers = {"Range": f"bytes={begun}-"} if begun else {}
        with self._request("GET", f"/images/{image_id}", headers=headers, stream=True) as answer:
            if answer.status_code == requests.codes.requested_range_not_satisfiable:
                return answer.headers["X-Sha256"]  # all of it is here
            if not answer.ok:
                raise _failure(answer)
            size = int(answer.headers["Content-Length"])
            if shutil.disk_usage(into.parent).free < size + room_bytes:
                raise StorageFull(f"There is no room for {size >> 20} MiB in {into.parent}.")
            begun = begun if answer.status_code == requests.codes.partial else 0
            with into.open("ab" if begun else "wb") as out:
                try:
                    for chunk in _content(answer):
                        out.write(chunk)
                        tell(out.tell(), begun + size)
                except OSError as err:
                    raise StorageFull(f"{into.parent} takes no bytes: {err.strerror}.") from err
            return answer.headers["X-Sha256"]

    def fetch_source(self, into: Path) -> None:
        """Write the source snapshot to `into`."""

        def fetch() -> None:
            with self._send("GET", "/attempt/source", stream=True) as answer, into.open("wb") as out:
                for chunk in _content(answer):
                    out.write(chunk)

        self._patiently(fetch)

    def heartbeat(self, phase: str, container_id: str | None) -> bool:
        """Renew the claim; False asks to stop."""
        answer = self._json("POST", "/attempt/heartbeat", {"phase": phase}, timeout=_BEAT_S)
        return bool(answer["go_on"])

    def append_log(self, offset: int, phase: str, text: str, times_ms: list[int]) -> int:
        """Send whole lines; returns how many bytes the farm has."""
        body = {"offset": offset, "phase": phase, "text": text, "times": times_ms}
        return int(self._json("POST", "/attempt/log", body)["size"])

    def put_artifact(self, path: Path, filename: str, sha256: str) -> None:
        """Send one finished file."""

        def put() -> None:
            with path.open("rb") as content:
                self._send(
                    "PUT", f"/attempt/artifacts/{filename}", data=content, headers={"X-Sha256": sha256}
                )

        self._patiently(put)

    def index_get(self, path: str, headers: Mapping[str, str]) -> IndexAnswer:
        """GET a page or file of the attempt's index."""
        answer = self._request("GET", f"/attempt/index{path}", stream=True)
        kept = ("content-type", "content-length", "etag", "cache-control", "content-encoding")
        passed = {name: value for name, value in answer.headers.items() if name.lower() in kept}
        return IndexAnswer(answer.status_code, passed, _closing(answer))

    def finish(self, outcome: dict[str, Any]) -> str:
        """Report the end; the job's state afterwards."""
        return str(self._patiently(lambda: self._json("POST", "/attempt/finish", outcome))["state"])

    def _json(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        *,
        timeout: tuple[float, float] = _TIMEOUT_S,
    ) -> dict[str, Any]:
        result: dict[str, Any] = self._send(method, path, json=body, timeout=timeout).json()
        return result

    def _send(self, method: str, path: str, **more: Any) -> requests.Response:  # noqa: ANN401
        answer = self._request(method, path, **more)
        if answer.ok:
            return answer
        raise _failure(answer)

    def _request(
        self,
        method: str,
        path: str,
        *,
        timeout: tuple[float, float] = _TIMEOUT_S,
        **more: Any,  # noqa: ANN401
    ) -> requests.Response:
        headers = self._headers | more.pop("headers", {})
        try:
            return requests.request(method, self._root + path, headers=headers, timeout=timeout, **more)
        except requests.RequestException as err:
            raise ExternalFailure("The farm does not answer.", code="farm.unreachable") from err

    @staticmethod
    def _patiently(act: Callable[[], _Result]) -> _Result:
        """Try again while the farm is away; it may just be restarting."""
        end = time.monotonic() + PATIENCE_S
        pause = 0.2
        while True:
            try:
                return act()
            except ExternalFailure as err:
                if err.code == StorageFull.default_code:
                    raise  # a verdict of the farm; its operator has to act
                if time.monotonic() + pause > end:
                    raise
                _log.warning("farm.away", code=err.code, again_in_s=pause)
                time.sleep(pause)
                pause = min(pause * 2, 5.0)


def _failure(answer: requests.Response) -> FarmError:
    try:
        problem = answer.json()
    except ValueError:
        problem = {}
    code, sentence = problem.get("code", "farm.refused"), problem.get("title", answer.reason or "Refused.")
    hint = problem.get("detail", "")
    if code == StaleAttempt.default_code:
        return StaleAttempt(sentence)
    if answer.status_code >= 500:
        return ExternalFailure(sentence, code=code, hint=hint)
    facts = {key: problem[key] for key in ("size",) if key in problem}
    return (Conflict if answer.status_code == 409 else Forbidden)(sentence, code=code, hint=hint, **facts)


def _content(answer: requests.Response) -> Iterator[bytes]:
    try:
        yield from answer.iter_content(_CHUNK)
    except requests.RequestException as err:
        raise ExternalFailure("The farm broke off.", code="farm.unreachable") from err


def _closing(answer: requests.Response) -> Iterator[bytes]:
    # raw: the bytes as they came, whatever encoding the headers name
    with answer:
        yield from answer.raw.stream(_CHUNK, decode_content=False)
