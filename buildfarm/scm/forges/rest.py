"""Speaking JSON to an SCM: sessions whose every bad answer is an error of the farm's own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import requests

from buildfarm.scm.forges.faults import away, fault

#: Patience with an SCM, seconds for the connection and for each read.
TIMEOUT_S = 15.0
USER_AGENT = "buildfarm"
#: Pages of a list that are read; nobody has so many hooks, and comments beyond are not the farm's last.
_PAGES_MAX = 20


def session(ca_file: str | None) -> requests.Session:
    """A session that follows no redirect and raises `faults.fault` for what is no success.

    Not for other hosts than the SCM's: a redirect would carry the token away.
    """
    made = requests.Session()
    made.verify = ca_file or True
    made.headers["User-Agent"] = USER_AGENT
    made.hooks["response"].append(_demand_success)
    return made


@contextmanager
def reaching() -> Iterator[None]:
    """What goes wrong on the way to the SCM, as `forge.away`."""
    try:
        yield
    except requests.RequestException as err:
        # Its text may hold the URL and, with a proxy, a password; the class says enough.
        raise away(f"{type(err).__name__} on the way to it") from err


@dataclass(frozen=True)
class Rest:
    """A repository's part of a JSON API; `base` is its address, without a slash at the end."""

    base: str
    session: requests.Session = field(repr=False)

    def get(self, path: str, **query: Any) -> Any:  # noqa: ANN401
        """What is at a path."""
        return self._ask("GET", path, params=query)

    def post(self, path: str, body: Mapping[str, Any] | None = None, **query: Any) -> Any:  # noqa: ANN401
        """Make something; what the SCM says of it, None for nothing."""
        return self._ask("POST", path, body, params=query)

    def put(self, path: str, body: Mapping[str, Any]) -> Any:  # noqa: ANN401
        """Put something in another's place."""
        return self._ask("PUT", path, body)

    def patch(self, path: str, body: Mapping[str, Any]) -> Any:  # noqa: ANN401
        """Change something."""
        return self._ask("PATCH", path, body)

    def delete(self, path: str) -> None:
        """Remove something."""
        self._ask("DELETE", path)

    def numbered(self, path: str, limit: int = 50) -> Iterator[dict[str, Any]]:
        """A list whose pages are `?page=1&limit=N`, as Gitea's are."""
        for page in range(1, _PAGES_MAX + 1):
            found = self.get(path, page=page, limit=limit)
            yield from found
            if len(found) < limit:
                return

    def started(self, path: str, **query: str) -> Iterator[dict[str, Any]]:
        """A list whose pages are `?start=N`, with `values` and `nextPageStart`: Bitbucket Data Center."""
        start = 0
        for _ in range(_PAGES_MAX):
            page = self.get(path, start=start, **query)
            yield from page["values"]
            if page.get("isLastPage", True):
                return
            start = page["nextPageStart"]

    def linked(self, path: str, **query: str) -> Iterator[dict[str, Any]]:
        """A list whose pages are `?page=N`, with `values` and a link `next`: Bitbucket Cloud."""
        for number in range(1, _PAGES_MAX + 1):
            page = self.get(path, page=number, **query)
            yield from page["values"]
            if not page.get("next"):
                return

    def _ask(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        **more: Any,  # noqa: ANN401
    ) -> Any:  # noqa: ANN401
        with reaching():
            answer = self.session.request(
                method,
                self.base + path,
                json=body,
                timeout=TIMEOUT_S,
                allow_redirects=False,
                # Said here, or a bundle that the environment names would be taken for it.
                verify=self.session.verify,
                **more,
            )
        try:
            return answer.json() if answer.content else None
        except requests.JSONDecodeError as err:
            raise away("What it answered is no JSON") from err


def _demand_success(answer: requests.Response, **_: object) -> None:
    if not answer.ok or answer.is_redirect:
        headers = {name.lower(): value for name, value in answer.headers.items()}
        raise fault(answer.status_code, headers, _said(answer))


def _said(answer: requests.Response) -> str:
    """The sentence in an answer of any of the SCMs."""
    try:
        said = answer.json()
    except requests.JSONDecodeError:
        return ""
    for name in ("message", "error_description", "error", "errors"):
        match said.get(name) if isinstance(said, dict) else None:
            case {"message": text} | [{"message": text}, *_]:
                return str(text)
            case None:
                continue
            case text:
                return str(text)
    return ""
