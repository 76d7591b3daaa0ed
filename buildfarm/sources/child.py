"""The fetcher: a short-lived process that talks to one repository and answers in JSON.

Forked for an order of `fetcher.py`. It gives up what it does not need, works, answers one JSON object and
ends. It holds one source's credential and nothing else of the farm: no settings, no database, no other
source; what it is forked from holds nothing at all.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from buildfarm import forked
from buildfarm.errors import ExternalFailure, FarmError, LimitExceeded
from buildfarm.sources import archive, confine, dotgit, faults, history, lfs, submodules, trees
from buildfarm.sources.contract import CommitFacts, Found, Order
from buildfarm.sources.gitrun import GitRunner
from buildfarm.sources.mirror import Mirror
from buildfarm.sources.resolve import addresses_of
from buildfarm.sources.rules import (
    RepositoryUrl,
    checked_commit,
    checked_fetched_ref,
    checked_ref,
    checked_url,
)

MIRROR_NAME = "repo.git"
_MAX_TEXT = 200


def answer(asked: str, files: Sequence[int]) -> str:
    """Do what the order says; there is an answer whatever comes of it.

    The open files of a snapshot are the tar to write and the mirror's lock, which is held while any git runs.
    """
    order = Order.model_validate_json(asked)
    try:
        return json.dumps({"ok": _obey(order, files)})
    except FarmError as error:
        return json.dumps({"error": faults.to_wire(error)})


def _secrets(order: Order) -> list[str]:
    return [order.password] if order.password else []


def _obey(order: Order, files: Sequence[int]) -> dict[str, object]:
    request = order.request
    deadline = time.monotonic() + request.limits.seconds
    url = checked_url(request.url, allow_file=request.allow_file)
    if request.ref:
        checked_fetched_ref(request.ref)
    if request.commit is not None:
        checked_commit(request.commit)
    if request.since is not None:
        checked_commit(request.since)
    if request.base:
        checked_ref(request.base)
    addresses = addresses_of(url, request.private_hosts)
    repository = (order.scratch if order.verb == "refs" else request.mirror_dir) / MIRROR_NAME
    repository.mkdir(mode=0o700, exist_ok=True)
    _shrink(order, url, repository)
    git = _runner(order, url, addresses, deadline, held=files[1:])
    mirror = Mirror(repository, git)
    if order.verb == "refs":
        mirror.prepare()
        refs = mirror.list_refs(url.text, limit=request.limits.files)
        return {"refs": {name: held.model_dump(exclude_none=True) for name, held in refs.items()}}
    try:
        found = _snapshot(order, git, mirror, files[0], deadline)
    except ExternalFailure as error:
        if error.code != faults.UNEXPLAINED:
            raise
        # Perhaps the mirror is damaged; it holds nothing that cannot be fetched again.
        mirror.empty()
        shutil.rmtree(_git_folder(order), ignore_errors=True)
        found = _snapshot(order, git, mirror, files[0], deadline)
    return found.model_dump(mode="json")


def _shrink(order: Order, url: RepositoryUrl, repository: Path) -> None:
    # A repository on this machine is read with the rights of who asked: git refuses other owners.
    ids = None if url.scheme == "file" else confine.unprivileged_ids(order.request.mirror_dir)
    if os.geteuid() == 0:
        for folder in (repository, order.scratch):
            confine.own(folder, *(ids or (0, 0)))
    os.chdir("/")
    confine.limit_resources(order.request.limits)
    if ids:
        confine.become(*ids)
    confine.no_new_privileges()
    confine.die_with_parent()  # a change of uid takes it back


def _runner(
    order: Order, url: RepositoryUrl, addresses: list[str], deadline: float, held: Sequence[int]
) -> GitRunner:
    def kept(name: str, text: str) -> Path | None:
        if not text:
            return None
        path = order.scratch / name
        with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as out:
            out.write(text)
        return path

    credential_fd = None
    if order.password:
        credential_fd = os.memfd_create("credential")
        os.write(credential_fd, f"username={order.username}\npassword={order.password}\n".encode())
    return GitRunner(
        url,
        scratch=order.scratch,
        deadline=deadline,
        secrets=_secrets(order),
        pass_fds=held,
        credential_fd=credential_fd,
        addresses=addresses,
        ssh_key=kept("ssh_key", order.ssh_key),
        known_hosts=kept("known_hosts", order.known_hosts),
        ca=kept("ca", order.ca),
        before_exec=lambda: confine.limit_git(order.request.limits),
    )


def _git_folder(order: Order) -> Path:
    return order.scratch / "dotgit"


def _snapshot(order: Order, git: GitRunner, mirror: Mirror, out_fd: int, deadline: float) -> Found:
    request = order.request
    mirror.prepare()
    commit = mirror.fetch(request)
    own = trees.listing(git, mirror.path, commit, request.limits)
    entries = submodules.filled(git, mirror, request, commit, own) if request.submodules else own
    large = lfs.pointers(git, mirror.path, own) if request.lfs else {}
    entries = lfs.grown(entries, large)
    trees.check_sizes(entries, request.limits)
    kept = _large_files(order, large, deadline)
    files, unread = trees.recipe_texts(git, mirror.path, own, request.limits)
    past = history.plan(git, mirror.path, commit)
    folder = _git_folder(order)
    try:
        limit = request.limits.history_bytes
        dotgit.write(git, mirror.path, folder, commit=commit, ref=request.ref, history=past, limit=limit)
    except LimitExceeded as error:
        if error.code != dotgit.HISTORY_TOO_LARGE:
            raise
        shutil.rmtree(folder)
        past = history.tip_only(git, mirror.path, commit, past)
        dotgit.write(git, mirror.path, folder, commit=commit, ref=request.ref, history=past, limit=None)
    dotgit.assume_unchanged(git, folder, large)
    facts = _facts(git, mirror.path, commit)
    with os.fdopen(os.dup(out_fd), "wb") as out:
        out.seek(0)
        out.truncate()
        archive.write(git, mirror.path, entries, kept, folder, out, mtime=facts.commit_time)
    return Found(
        **facts.model_dump(),
        ref=request.ref,
        touched=mirror.touched(request, commit),
        tag=request.ref.removeprefix("refs/tags/") if request.ref.startswith("refs/tags/") else None,
        describe_tag=None if past.describe_tag is None else _readable(past.describe_tag),
        history=past.reach,
        files=files,
        unread=unread,
        projects=trees.projects(own),
    )


def _large_files(order: Order, large: Mapping[str, lfs.LargeFile], deadline: float) -> dict[str, Path]:
    """The bytes of large files, by the paths of their pointers."""
    if not large:
        return {}
    folder = order.scratch / "lfs"
    folder.mkdir(exist_ok=True)
    login = (order.username, order.password) if order.password else None
    ca = order.scratch / "ca" if order.ca else None
    lfs.Store(order.request, login=login, ca=ca, deadline=deadline).fetch(list(large.values()), folder)
    return {path: folder / one.sha256 for path, one in large.items()}


def _facts(git: GitRunner, mirror: Path, commit: str) -> CommitFacts:
    told = git.run(mirror, "log", "--max-count=1", "--format=%T%x00%ct%x00%at%x00%an <%ae>%x00%s", commit)
    tree, commit_time, author_time, author, subject = told.split("\0")
    facts = CommitFacts(
        commit=commit,
        tree=tree,
        commit_time=int(commit_time),
        author_time=int(author_time),
        author=_readable(author),
        subject=_readable(subject),
    )
    # Of --max-age git reads 31 bits.
    no_older = git.run(mirror, "rev-list", "--count", f"--since=@{facts.commit_time} +0000", commit)
    return facts.model_copy(update={"no_older": int(no_older) - 1})


def _readable(text: str) -> str:
    text = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)[:_MAX_TEXT]


if __name__ == "__main__":
    forked.serve(answer)
