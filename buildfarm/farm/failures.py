"""The closed list of what ends a build outside its jobs, and which of it an error of control work is.

What a job can end of is `buildfarm.sandbox.failures`; a build that failed by a job has that job's class.
"""

from __future__ import annotations

from collections.abc import Mapping

from buildfarm.errors import ExternalFailure, FarmError, IntegrityFailure, LimitExceeded
from buildfarm.farm.rules import Cause
from buildfarm.sandbox.failures import FAILURES as OF_JOBS
from buildfarm.sandbox.failures import Failure

_OF_BUILDS: Mapping[str, Failure] = {
    "fetch": Failure(
        "infrastructure", "Start the build again once the repository's host answers; no commit is at fault."
    ),
    "fetch-refused": Failure(
        "policy",
        "Correct the source's URL or give it credentials that may read: `buildfarm source set-credential`.",
    ),
    "ref": Failure("user_code", "Push the branch or tag, or start a build of one that the repository has."),
    "repository": Failure("user_code", "Mend the repository: the sentence says what git refuses of it."),
    "source-size": Failure(
        "limit", "Move large files out of the repository, or ask an administrator for a higher limit."
    ),
    "sdist": Failure("user_code", "Name a version of which upstream has an sdist."),
    "recipe": Failure(
        "user_code", "Correct the recipe; `buildfarm recipe check` says the same before you push."
    ),
    "target": Failure(
        "policy",
        "Take the target out of the recipe's `[targets]`, or ask an administrator for an image that has it.",
    ),
    "no-image": Failure(
        "infrastructure", "An administrator makes images and names them to the farm: `buildfarm image add`."
    ),
    "version": Failure("user_code", "Correct the version: a release's tag reads like v1.2.3."),
    "files": Failure("checks", "Correct what the sentence says; docs/validation.md has each rule."),
    "file-exists": Failure(
        "policy", "Raise the version: what was published under a name keeps its bytes for ever."
    ),
    "name": Failure(
        "policy", "Ask an administrator to grant the project to this source, or rename the project."
    ),
    "refused": Failure("policy", "Ask an administrator: a rule of the farm does not let this through."),
    "signing": Failure(
        "infrastructure", "An administrator runs `buildfarm doctor`: nothing unsigned is published."
    ),
    "storage": Failure("infrastructure", "An administrator makes room or mends the farm's storage."),
}
FAILURES: Mapping[str, Failure] = {**{str(name): known for name, known in OF_JOBS.items()}, **_OF_BUILDS}

#: By an error's code, else by what stands before the dot of it.
_BY_CODE: Mapping[str, str] = {
    "source": "fetch",
    "source.authentication": "fetch-refused",
    "source.credential_refused": "fetch-refused",
    "source.host_key": "fetch-refused",
    "source.no_repository": "fetch-refused",
    "source.redirected": "fetch-refused",
    "source.tls": "fetch-refused",
    "source.url_refused": "fetch-refused",
    "source.commit_gone": "ref",
    "source.commit_refused": "ref",
    "source.commit_unknown": "ref",
    "source.not_a_commit": "ref",
    "source.nothing_asked": "ref",
    "source.ref_refused": "ref",
    "source.ref_unknown": "ref",
    "source.tag_moved": "ref",
    "source.unsound": "repository",
    "source.disk_full": "storage",
    "ref": "ref",
    "sdist": "sdist",
    "recipe": "recipe",
    "metadata": "metadata",
    "target": "target",
    "image": "no-image",
    "version": "version",
    "file": "files",
    "file.v-01": "farm",
    "file.exists": "file-exists",
    "publish": "files",
    "supplement": "refused",
    "supplement.upstream_has": "file-exists",
    "project": "name",
    "namespace": "name",
    "session": "name",
    "signer": "signing",
    "checkpoint": "signing",
    "attestation": "signing",
    "admission": "signing",
    "publish.unattested": "signing",
    "storage": "storage",
    "blob": "storage",
}


def class_of(error: FarmError) -> str:
    """The class of an error that ended control work."""
    before = error.code.split(".")[0]
    if before == "source" and isinstance(error, LimitExceeded):
        return "source-size"
    found = _BY_CODE.get(error.code) or _BY_CODE.get(before)
    return found or ("farm" if isinstance(error, ExternalFailure | IntegrityFailure) else "refused")


def cause_of(failure_class: str) -> Cause:
    """Whose fault it is."""
    return Cause(FAILURES[failure_class].cause)


def next_step(failure_class: str | None) -> str | None:
    """What to do next, in a sentence; None where nothing failed, or nobody knows how."""
    known = FAILURES.get(failure_class or "")
    return known.next_step if known else None
