"""The farm over HTTP, as commands see it: JSON in and out, problems as errors with their sentence."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import requests

from buildfarm.errors import (
    Conflict,
    EnvironmentProblem,
    ExternalFailure,
    FarmError,
    Forbidden,
    IntegrityFailure,
    InvalidInput,
    LimitExceeded,
    NotFound,
    Unauthenticated,
)

_TIMEOUT_S = (5.0, 60.0)  # to connect, between two pieces of an answer
_CHUNK = 64 * 1024
_KINDS: dict[int, type[FarmError]] = {
    400: InvalidInput,
    401: Unauthenticated,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    413: LimitExceeded,
    422: IntegrityFailure,
}


class _Bearer(requests.auth.AuthBase):
    """The token, even where a netrc file knows the host: requests would prefer that one's password."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, prepared: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._token:
            prepared.headers["Authorization"] = f"Bearer {self._token}"
        return prepared


class Client:
    """One farm, by its URL and a token."""

    def __init__(self, url: str, token: str = "") -> None:
        self._root = f"{url.rstrip('/')}/api/v1"
        self._url = url
        self._session = requests.Session()
        self._session.auth = _Bearer(token)
        self._session.headers["Accept"] = "application/json"

    def get(self, *path: str, **query: Any) -> Any:  # noqa: ANN401
        """What is there.

        Raises:
            FarmError: the farm's own answer, by kind.
            ExternalFailure: `farm.unreachable`.
        """
        return self._send(
            "GET", path, params={key: value for key, value in query.items() if value is not None}
        )

    def post(self, *path: str, body: dict[str, Any] | None = None) -> Any:  # noqa: ANN401
        """Make or change something; errors as for `get`."""
        return self._send("POST", path, json=body or {})

    def put(self, *path: str, body: dict[str, Any]) -> Any:  # noqa: ANN401
        """Replace something; errors as for `get`."""
        return self._send("PUT", path, json=body)

    def send_file(self, *path: str, file: Path, sha256: str = "") -> Any:  # noqa: ANN401
        """Replace something by the bytes of a file, of which a digest may be told; errors as for `get`."""
        with file.open("rb") as body:
            return self._send("PUT", path, data=body, headers={"X-Sha256": sha256} if sha256 else {})

    def send_lines(self, *path: str, lines: Iterable[bytes]) -> Any:  # noqa: ANN401
        """Have a stream of lines taken in; errors as for `get`."""
        return self._send("POST", path, data=iter(lines), headers={"Content-Type": "application/jsonl"})

    def patch(self, *path: str, body: dict[str, Any]) -> Any:  # noqa: ANN401
        """Change parts of something; errors as for `get`."""
        return self._send("PATCH", path, json=body)

    def delete(self, *path: str) -> Any:  # noqa: ANN401
        """End something; errors as for `get`."""
        return self._send("DELETE", path)

    def text(self, *path: str, **query: Any) -> Iterator[str]:  # noqa: ANN401
        """A text, piece by piece; errors as for `get`."""
        params = {key: value for key, value in query.items() if value is not None}
        response = self._request(
            "GET", path, params=params, stream=True, headers={"Accept": "text/plain, */*"}
        )
        response.encoding = "utf-8"
        try:
            yield from response.iter_content(_CHUNK, decode_unicode=True)
        except requests.RequestException as error:
            raise self._away() from error

    def page(self, *path: str) -> str:
        """The address of a page of the dashboard."""
        return "/".join([self._url.rstrip("/"), *(quote(part, safe="") for part in path)])

    def pass_over(self, path: str) -> None:
        """Read a file of the farm to its end and drop it, so that the farm has it; errors as for `get`."""
        for _chunk in self._chunks(path):
            pass

    def save(self, path: str, to: Path) -> None:
        """Write a file of the farm to `to`, whole or not at all; errors as for `get`."""
        part = to.with_name(f"{to.name}.part")
        with part.open("wb") as out:
            for chunk in self._chunks(path):
                out.write(chunk)
        part.replace(to)

    def relay(self, path: str, headers: Mapping[str, str]) -> requests.Response:
        """The farm's answer to a GET, whatever its status; its body is read, and closed, by the caller.

        Raises:
            ExternalFailure: `farm.unreachable`.
        """
        url = self._url.rstrip("/") + path
        try:
            return self._session.get(
                url, headers=dict(headers), timeout=_TIMEOUT_S, stream=True, allow_redirects=False
            )
        except requests.RequestException as error:
            raise self._away() from error

    def _chunks(self, path: str) -> Iterator[bytes]:
        url, headers = self._url.rstrip("/") + path, {"Accept": "*/*"}
        try:
            with self._session.get(
                url, headers=headers, timeout=_TIMEOUT_S, stream=True, allow_redirects=False
            ) as response:
                if response.status_code >= 300:
                    raise self._problem(response)
                yield from response.iter_content(_CHUNK)
        except requests.RequestException as error:
            raise self._away() from error

    def _send(self, method: str, path: tuple[str, ...], **options: Any) -> Any:  # noqa: ANN401
        response = self._request(method, path, **options)
        try:
            return response.json()
        except requests.JSONDecodeError as error:
            raise self._stranger() from error

    def _request(self, method: str, path: tuple[str, ...], **options: Any) -> requests.Response:  # noqa: ANN401
        url = "/".join([self._root, *(quote(part, safe="") for part in path)])
        try:
            response = self._session.request(
                method, url, timeout=_TIMEOUT_S, allow_redirects=False, **options
            )
        except (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema) as error:
            raise EnvironmentProblem(
                f"BUILDFARM_URL is no address: {self._url}.", code="client.url"
            ) from error
        except requests.exceptions.MissingSchema as error:
            raise EnvironmentProblem(
                f"BUILDFARM_URL lacks http:// or https://: {self._url}.", code="client.url"
            ) from error
        except requests.exceptions.SSLError as error:
            raise EnvironmentProblem(
                f"The certificate of {self._url} is not trusted here.",
                code="client.certificate",
                hint="Set REQUESTS_CA_BUNDLE to the farm's CA file.",
            ) from error
        except requests.RequestException as error:
            raise self._away() from error
        if response.status_code >= 300:
            raise self._problem(response)
        return response

    def _problem(self, response: requests.Response) -> FarmError:
        try:
            problem = response.json()
            sentence, code = str(problem["title"]), str(problem["code"])
        except (requests.JSONDecodeError, KeyError, TypeError):
            return self._away() if response.status_code >= 500 else self._stranger()
        kind = ExternalFailure if response.status_code >= 500 else _KINDS.get(response.status_code, FarmError)
        return kind(sentence, code=code, hint=str(problem.get("detail", "")))

    def _away(self) -> ExternalFailure:
        return ExternalFailure(f"The farm at {self._url} does not answer.", code="farm.unreachable")

    def _stranger(self) -> EnvironmentProblem:
        return EnvironmentProblem(
            f"What answers at {self._url} is no farm.",
            code="client.url",
            hint="BUILDFARM_URL is the address of the dashboard, without a path.",
        )


def from_environment() -> Client:
    """The farm that BUILDFARM_URL names, with the token of BUILDFARM_TOKEN.

    Raises:
        EnvironmentProblem: `client.no_url`.
    """
    url = os.environ.get("BUILDFARM_URL", "")
    if not url:
        raise EnvironmentProblem(
            "Which farm? BUILDFARM_URL is not set.",
            code="client.no_url",
            hint="`buildfarm up` prints what to set; on a new machine start with that.",
        )
    return Client(url, os.environ.get("BUILDFARM_TOKEN", ""))
