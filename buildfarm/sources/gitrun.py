"""Running git so that neither its surroundings nor the repository decide what it does.

Everything git reads besides the repository comes from here: no system or user configuration, no
hooks, no filters, no helpers, no prompts, a closed list of transports. Configuration travels in the
environment (git-config(1), GIT_CONFIG_COUNT), so that command lines hold only the verb and its
objects. GitPython's dynamic methods are never used: they would take outside strings for options.
"""

from __future__ import annotations

import shlex
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, BinaryIO, cast

from git.cmd import Git
from git.exc import GitCommandNotFound

from buildfarm.errors import EnvironmentProblem
from buildfarm.sources import faults
from buildfarm.sources.rules import RepositoryUrl

#: Findings of old tools in real repositories that endanger nothing; hosting sites ignore the same.
_HARMLESS_FSCK = ("badTimezone", "missingSpaceBeforeDate", "zeroPaddedFilemode")

_CONFIG = {
    "core.hooksPath": "/dev/null",
    "core.fsmonitor": "false",
    "core.protectHFS": "true",
    "core.protectNTFS": "true",
    "core.attributesFile": "/dev/null",
    "core.excludesFile": "/dev/null",
    "submodule.recurse": "false",
    "fetch.recurseSubmodules": "false",
    "fetch.fsckObjects": "true",
    "transfer.fsckObjects": "true",
    "transfer.bundleURI": "false",
    "fetch.unpackLimit": "1",
    "fetch.writeCommitGraph": "false",
    "gc.auto": "0",
    "maintenance.auto": "false",
    "credential.helper": "",
    "credential.interactive": "false",
    "http.followRedirects": "false",
    "http.lowSpeedLimit": "1",
    "http.lowSpeedTime": "60",
    "pack.threads": "1",
    "pack.windowMemory": "256m",
    "repack.writeBitmaps": "false",
    "protocol.allow": "never",
    **{f"fetch.fsck.{finding}": "ignore" for finding in _HARMLESS_FSCK},
}

_ENVIRONMENT = {
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_ATTR_NOSYSTEM": "1",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_ASKPASS": "",
    "GIT_LFS_SKIP_SMUDGE": "1",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_ADVICE": "0",
}


def _ssh_command(
    url: RepositoryUrl, addresses: Sequence[str], key: Path | None, known_hosts: Path | None
) -> str:
    # ssh_config(5): the address that was judged, under the name whose key is known (sshd(8), known_hosts).
    known_as = url.host if url.port == 22 else f"[{url.host}]:{url.port}"
    pinned = [f"HostName={addresses[0]}", f"HostKeyAlias={known_as}"] if addresses else []
    options = [
        *pinned,
        "BatchMode=yes",
        "StrictHostKeyChecking=yes",
        f"UserKnownHostsFile={known_hosts or '/dev/null'}",
        "GlobalKnownHostsFile=/dev/null",
        "IdentitiesOnly=yes",
        "IdentityAgent=none",
        f"IdentityFile={key or 'none'}",
        "ProxyCommand=none",
        "PermitLocalCommand=no",
        "ClearAllForwardings=yes",
        "ConnectTimeout=30",
        "ServerAliveInterval=15",
    ]
    return shlex.join(["ssh", "-F", "/dev/null", *(word for option in options for word in ("-o", option))])


class BlobBytes:
    """What is left of one blob in a stream of them."""

    def __init__(self, stream: IO[bytes], size: int) -> None:
        self._stream = stream
        self._left = size

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes, or all that is left; empty at the end."""
        chunk = self._stream.read(self._left if size < 0 else min(size, self._left))
        self._left -= len(chunk)
        return chunk


class GitRunner:
    """Runs git for one request: one repository, one URL, one deadline."""

    def __init__(
        self,
        url: RepositoryUrl,
        *,
        scratch: Path,
        deadline: float,
        secrets: Sequence[str] = (),
        pass_fds: Sequence[int] = (),
        credential_fd: int | None = None,
        addresses: Sequence[str] = (),
        ssh_key: Path | None = None,
        known_hosts: Path | None = None,
        ca: Path | None = None,
        before_exec: Callable[[], None] | None = None,
    ) -> None:
        """Prepare the surroundings.

        Args:
            url: Whom git may talk to.
            scratch: An empty folder of this request, HOME of git and its helpers.
            deadline: On `time.monotonic`'s clock; a git that still runs then is killed.
            secrets: Texts never to appear in an error.
            pass_fds: Descriptors git keeps open as long as it lives (the mirror's lock).
            credential_fd: Where `username=` and `password=` lines can be read, as often as asked.
            addresses: What the host resolved to when it was checked: git goes there, ssh to the first.
            ssh_key: A private key readable by this process alone.
            known_hosts: The host keys that are believed.
            ca: Authorities that are believed instead of the system's (PEM).
            before_exec: Runs in each git process just before it becomes git.
        """
        self._deadline = deadline
        self._secrets = tuple(secrets)
        self._pass_fds = [*pass_fds, *([] if credential_fd is None else [credential_fd])]
        self._before_exec = before_exec
        config = {**_CONFIG, f"protocol.{url.scheme}.allow": "always"}
        if credential_fd is not None:
            host = f"[{url.host}]" if ":" in url.host else url.host
            config[f"credential.{url.scheme}://{host}:{url.port}.helper"] = (
                f'!f() {{ test "$1" = get && cat /dev/fd/{credential_fd}; }}; f'
            )
        if ca is not None:
            config["http.sslCAInfo"] = str(ca)
        if addresses:
            written = ",".join(f"[{one}]" if ":" in one else one for one in addresses)
            config["http.curloptResolve"] = f"{url.host}:{url.port}:{written}"
        self._environment = {
            **_ENVIRONMENT,
            "HOME": str(scratch),
            "GIT_ALLOW_PROTOCOL": url.scheme,
            "GIT_SSH_COMMAND": _ssh_command(url, addresses, ssh_key, known_hosts),
            "GIT_SSH_VARIANT": "ssh",
            "GIT_CONFIG_COUNT": str(len(config)),
        }
        for number, (key, value) in enumerate(config.items()):
            self._environment[f"GIT_CONFIG_KEY_{number}"] = key
            self._environment[f"GIT_CONFIG_VALUE_{number}"] = value

    def _git(self, repository: Path, **extra: str) -> Git:
        git = Git()
        git.update_environment(**self._environment, GIT_DIR=str(repository), **extra)
        return git

    def run(
        self,
        repository: Path,
        *arguments: str,
        stdin: IO[bytes] | None = None,
        ok: Sequence[int] = (0,),
        **environment: str,
    ) -> str:
        """Standard output of `git ARGUMENTS`, undecodable bytes as surrogates.

        Args:
            repository: The git directory.
            arguments: Verb and operands; outside strings only after `--end-of-options` or as a refspec.
            stdin: A file git reads.
            ok: Exit statuses that are an answer.
            environment: More variables for this call.

        Raises:
            FarmError: What git's complaint means, from `faults`.
        """
        try:
            status, out, complaint = self._git(repository, **environment).execute(
                ["git", *arguments],
                istream=cast("BinaryIO | None", stdin),
                with_extended_output=True,
                with_exceptions=False,
                stdout_as_string=False,
                kill_after_timeout=max(0.01, self._deadline - time.monotonic()),
                pass_fds=self._pass_fds,
                preexec_fn=self._before_exec,
            )
        except GitCommandNotFound as error:
            raise EnvironmentProblem("git is not installed on this machine.", code="source.no_git") from error
        if status not in ok:
            raise faults.explain(complaint, secrets=self._secrets)
        return out.decode("utf-8", "surrogateescape")

    def contents(self, repository: Path, blobs: Sequence[str]) -> Iterator[tuple[int, BlobBytes]]:
        """Size and bytes of each blob in turn; what a reader leaves of one is skipped.

        GitPython's own reader of `cat-file --batch` knows SHA-1 names alone, so only its process is used.

        Raises:
            ExternalFailure: When git ends early or has no such blob.
        """
        with tempfile.TemporaryFile() as names:
            names.write("".join(f"{blob}\n" for blob in blobs).encode())
            names.seek(0)
            process = self._git(repository).execute(
                ["git", "cat-file", "--batch"],
                istream=cast("BinaryIO", names),
                as_process=True,
                pass_fds=self._pass_fds,
                preexec_fn=self._before_exec,
            )
            out = cast("BinaryIO", process.stdout)
            for blob in blobs:
                oid, kind, size = [*out.readline().decode("ascii", "replace").split(), "", "", ""][:3]
                if oid != blob or kind != "blob":
                    raise faults.explain(f"cat-file: no blob {blob}")
                content = BlobBytes(out, int(size))
                yield int(size), content
                while content.read(1 << 20):
                    pass
                out.read(1)  # the newline after each blob
