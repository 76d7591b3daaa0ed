"""What is asked of the fetcher and what it answers: the types that cross its pipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr

from buildfarm.errors import InvalidInput

#: In 2106, the last that the headers of sdists (gzip) can say; wheels (zip) go one year further. A commit may
#: say anything, and what is built of it says its time.
_LAST_SECOND = (1 << 32) - 1


def _countable(second: int) -> int:
    return min(max(second, 0), _LAST_SECOND)


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class Credential(_Frozen):
    """What one source accepts and is known by: a user name and password for https, or an ssh key.

    `known_hosts` (sshd(8)) are the host keys that are believed, `ca` the authorities that a host's TLS
    certificate may come from (PEM) instead of the system's; all as text.
    """

    username: str = ""
    password: SecretStr | None = None
    ssh_key: SecretStr | None = None
    known_hosts: str = ""
    ca: str = ""


class FetchLimits(_Frozen):
    """Bounds of one fetch; whichever is reached first ends it."""

    seconds: float = Field(default=300, gt=0)
    """For waiting on the mirror's lock, and once more for the fetch itself."""
    bytes: int = Field(default=2 << 30, gt=0)
    """Of objects received or kept in the mirror, and of file contents in one tree."""
    files: int = Field(default=100_000, gt=0)
    """Entries of one tree."""
    file_bytes: int = Field(default=512 << 20, gt=0)
    """Of one file."""
    history_bytes: int = Field(default=256 << 20, gt=0)
    """Of the packed history a snapshot may carry beside its tree; beyond it only the tip is kept."""
    recipe_file_bytes: int = Field(default=256 << 10, gt=0)
    """Of one recipe file handed back as text."""
    recipe_files: int = Field(default=64, gt=0)
    """Recipe files handed back as text."""


class FetchRequest(_Frozen):
    """One commit of one repository, and where its mirror is kept.

    Attributes:
        url: Where the repository is; see `rules.checked_url` for what is taken.
        ref: `refs/tags/...`, `refs/heads/...` or a pull request's; empty when only the commit is known.
        commit: What a delivery announced. A tag must hold exactly it, any other ref must contain it, and
            without a ref some branch or tag must contain it. None takes what the ref holds.
        since: A commit that was built before, to compare with by `paths`.
        base: A branch, to compare with where the commit's history parted from it instead.
        paths: Globs of files (fnmatch: `*` takes slashes too) whose change since then is asked for.
        mirror_dir: The cache of this source's objects; made if missing. One per source, never shared.
        allow_file: Whether `file://` URLs are taken.
        private_hosts: Names (globs) and networks (CIDR) of hosts that may be at private addresses.
        credential: What the repository asks for, if anything.
        submodules: Whether submodules are filled in; see `submodules.filled`. Else they are empty folders.
        lfs: Whether pointers of Git LFS are replaced by what they name; see `lfs.Store`.
        limits: Bounds of this fetch.
    """

    url: str
    ref: str = ""
    commit: str | None = None
    since: str | None = None
    base: str = ""
    paths: tuple[str, ...] = ()
    mirror_dir: Path
    allow_file: bool = False
    private_hosts: tuple[str, ...] = ()
    credential: Credential | None = None
    submodules: bool = False
    lfs: bool = False
    limits: FetchLimits = FetchLimits()


class Held(_Frozen):
    """What a branch or tag of a repository holds: its commit, and the object of an annotated tag around it.

    Hooks of some hosts announce such a tag by `tag`, which is None for every other ref.
    """

    commit: str = Field(pattern=r"^[0-9a-f]{40}([0-9a-f]{24})?$")
    tag: str | None = Field(default=None, pattern=r"^[0-9a-f]{40}([0-9a-f]{24})?$")


class CommitFacts(_Frozen):
    """What the commit object says of itself; written by its author, so never evidence."""

    commit: str = Field(pattern=r"^[0-9a-f]{40}([0-9a-f]{24})?$")
    tree: str = Field(pattern=r"^[0-9a-f]{40}([0-9a-f]{24})?$")
    commit_time: Annotated[int, AfterValidator(_countable)]
    """Seconds since 1970; the natural SOURCE_DATE_EPOCH."""
    no_older: int = Field(default=0, ge=0)
    """Its ancestors that say they are of its second or later, back to the first that is older."""
    author_time: int
    author: str
    subject: str


class Found(CommitFacts):
    """The fetcher's answer, less what the asking process measures itself."""

    ref: str
    touched: bool = True
    """Whether a file of the request's `paths` changed since its `since`; true where nobody can tell."""
    tag: str | None
    """The tag's name when `ref` is a tag."""
    describe_tag: str | None
    """The nearest tag with a digit in its name that the commit contains, as `git describe` finds it."""
    history: Literal["complete", "to-tag", "tip"]
    """How far the snapshot's history reaches; see ADR 0006."""
    files: dict[str, str]
    """Texts that recipes are read from (pyproject.toml, buildfarm.toml, setup.cfg), by path."""
    unread: dict[str, str]
    """Paths of such files that are not in `files`, each with the reason."""
    projects: tuple[str, ...]
    """Folders that hold a pyproject.toml or setup.py, `.` for the root."""


class Snapshot(Found):
    """A commit kept as one tar: folder `src` with the exact tree and a `.git` that version tools read."""

    sha256: str
    size: int
    path: Path


class Order(_Frozen):
    """What the asking process tells the fetcher, secrets included."""

    verb: Literal["snapshot", "refs"]
    request: FetchRequest
    username: str = ""
    password: str = ""
    ssh_key: str = ""
    known_hosts: str = ""
    ca: str = ""
    scratch: Path


def order_for(
    verb: Literal["snapshot", "refs"],
    request: FetchRequest,
    *,
    scratch: Path,
) -> Order:
    """The order for a request, its secrets beside it.

    Raises:
        InvalidInput: `source.credential_refused`.
    """
    credential = request.credential or Credential()
    password = credential.password.get_secret_value() if credential.password else ""
    if any(ord(char) < 32 for char in credential.username + password):
        raise InvalidInput(
            "A user name or password with control characters cannot be used.",
            code="source.credential_refused",
        )
    return Order(
        verb=verb,
        request=request.model_copy(update={"credential": None}),
        username=credential.username,
        password=password,
        ssh_key=credential.ssh_key.get_secret_value() if credential.ssh_key else "",
        known_hosts=credential.known_hosts,
        ca=credential.ca,
        scratch=scratch,
    )
