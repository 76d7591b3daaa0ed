"""What a source of the kind `generic` may be told about its sender."""

from __future__ import annotations

import re
from typing import Annotated

from jsonpointer import JsonPointer, JsonPointerException
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

# RFC 9110, section 5.6.2.
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")
#: Headers that say something else; a signature there would be masked, changed or lost on its way.
_TAKEN = frozenset(
    {
        "authorization", "connection", "content-length", "content-type", "cookie", "host",
        "proxy-authorization", "transfer-encoding", "user-agent",
    }
)  # fmt: skip


def _header(name: str) -> str:
    if not _TOKEN.fullmatch(name) or name.lower() in _TAKEN:
        raise ValueError("this header cannot hold a signature")
    return name


def _pointer(text: str) -> str:
    try:
        JsonPointer(text)
    except JsonPointerException as err:
        raise ValueError("this is no JSON pointer (RFC 6901), such as /push/ref") from err
    return text


Pointer = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_pointer)]


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Signature(_Settings):
    """A header that holds HMAC-SHA256 of the raw body in lower-case hex, after a prefix such as `sha256=`."""

    header: Annotated[str, AfterValidator(_header)]
    prefix: Annotated[str, Field(max_length=40, pattern=r"^[\x21-\x7e]*$")] = ""


class Pointers(_Settings):
    """Where in the JSON body things are (RFC 6901).

    `ref` leads to a full ref name, `commit` to what the ref holds now. A ref is deleted where `deleted` leads
    to true, or `commit` to null or zeros. `before` leads to what the ref held, which tells pushes that arrive
    out of order; `repository` to the full name of the repository. A body with nothing at `ref` is an event of
    another kind.
    """

    ref: Pointer
    commit: Pointer
    before: Pointer | None = None
    deleted: Pointer | None = None
    repository: Pointer | None = None


class GenericSettings(_Settings):
    """How the sender signs and what it sends; what is not set is Standard Webhooks and the farm's payload."""

    signature: Signature | None = None
    pointers: Pointers | None = None
