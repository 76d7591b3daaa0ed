"""The in-toto Statement v1 with SLSA Provenance v1 that a build's file gets.

What is said of a second build that made the same bytes has the same parts, and names the first one.

One statement has one subject, whose name is the exact file name: the bytes under another name are
another claim. Sources: in-toto attestation framework v1 (statement.md), SLSA 1.2 build provenance.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import rfc8785

from buildfarm.clock import iso_seconds
from buildfarm.trust import uris
from buildfarm.trust.facts import BuildFacts, Dependency, ReproductionFacts


def builder_id(facts: BuildFacts, public_url: str) -> str:
    """The URI that alone tells a verifier which guarantees the build had."""
    if facts.compile_cache:
        return public_url + uris.CACHED_BUILDER_PATH
    return public_url + (uris.SHARED_BUILDER_PATH if facts.tiers_shared else uris.BUILDER_PATH)


def compose(facts: BuildFacts, file_sha256: str, public_url: str) -> bytes:
    """The statement's bytes, serialised once: these are what is signed, stored and served.

    Args:
        facts: the control zone's record of the attempt.
        file_sha256: lower-case hex digest, computed by the signer from the bytes.
        public_url: the farm's URL without a trailing slash.
    """
    return rfc8785.dumps(
        {
            "_type": uris.STATEMENT_TYPE,
            "subject": [{"name": facts.filename, "digest": {"sha256": file_sha256}}],
            "predicateType": predicate_type(facts, public_url),
            "predicate": {
                "buildDefinition": _definition(facts, public_url),
                "runDetails": _run(facts, public_url),
                **_reproduces(facts),
            },
        }
    )


def predicate_type(facts: BuildFacts, public_url: str) -> str:
    """What kind of statement is made of these facts."""
    if isinstance(facts, ReproductionFacts):
        return public_url + uris.REPRODUCED_PATH
    return uris.PREDICATE_TYPE


def _reproduces(facts: BuildFacts) -> dict[str, Any]:
    if not isinstance(facts, ReproductionFacts):
        return {}
    return {"reproduces": {"invocationId": facts.first_attempt_url, "builder": facts.first_builder}}


def _definition(facts: BuildFacts, public_url: str) -> dict[str, Any]:
    # External parameters are all that a tenant can turn; verifiers reject keys they do not know,
    # so everything the farm decided stands among the internal ones.
    return {
        "buildType": public_url + uris.BUILD_TYPE_PATH,
        "externalParameters": {
            "source": {"uri": facts.source_uri, "ref": facts.ref},
            "recipe": {"uri": facts.recipe_uri, "path": facts.recipe_path},
            "target": facts.target,
            "inputs": facts.inputs,
        },
        "internalParameters": {
            "project": facts.project,
            "version": facts.version,
            "channel": facts.channel,
            "trigger": facts.trigger,
            "deliveryId": facts.delivery_id,
            "limits": facts.limits,
            "network": facts.network,
            "sourceDateEpoch": str(facts.source_date_epoch),
            "builder": facts.builder_name,
            "tier": facts.builder_tier,
            "execution": facts.execution,
            **({"rebuilds": facts.rebuilds_url} if facts.rebuilds_url else {}),
        },
        "resolvedDependencies": [
            _source(facts),
            {"name": "source-snapshot", "digest": {"sha256": facts.snapshot_sha256}},
            {
                "name": "recipe",
                "uri": f"{facts.recipe_uri}#path={facts.recipe_path}",
                "digest": {"sha256": facts.recipe_sha256},
            },
            {"name": "image", "uri": facts.image_uri, "digest": {"sha256": facts.image_sha256}},
            *_derived_image(facts),
            *(_dependency(dependency) for dependency in facts.dependencies),
        ],
    }


def _source(facts: BuildFacts) -> dict[str, Any]:
    if facts.source_uri.startswith("git+"):
        return {"uri": f"{facts.source_uri}@{facts.ref}", "digest": {"gitCommit": facts.commit}}
    return {"uri": f"{facts.source_uri}@{facts.version}", "digest": {"sha256": facts.commit}}


def _derived_image(facts: BuildFacts) -> list[dict[str, Any]]:
    if facts.derived_image_sha256 is None:
        return []
    # Its id is the one fact here that the builder says; what it was made of is the farm's own record.
    annotations = {"base": facts.image_sha256, "systemPackages": list(facts.system_packages)}
    digest = {"sha256": facts.derived_image_sha256}
    return [{"name": "image-with-system-packages", "digest": digest, "annotations": annotations}]


def _dependency(dependency: Dependency) -> dict[str, Any]:
    return {
        "name": dependency.name,
        "uri": _package_url(dependency),
        "digest": {"sha256": dependency.sha256},
        "annotations": {"filename": dependency.filename, "index": dependency.index_uri},
    }


def _package_url(dependency: Dependency) -> str:
    """The dependency as a package URL. Source: purl-spec, types `pypi`, `cargo` and `golang`."""
    # Go's module paths are case-sensitive, their package URLs are not; `name` beside it has the path.
    name = dependency.name.lower() if dependency.ecosystem == "golang" else dependency.name
    version = dependency.version if dependency.ecosystem == "pypi" else quote(dependency.version)
    return f"pkg:{dependency.ecosystem}/{name}@{version}"


def _run(facts: BuildFacts, public_url: str) -> dict[str, Any]:
    return {
        "builder": {
            "id": builder_id(facts, public_url),
            "version": {**facts.builder_versions, "buildfarm": facts.farm_version},
        },
        "metadata": {
            "invocationId": facts.attempt_url,
            "startedOn": iso_seconds(facts.started_at),
            "finishedOn": iso_seconds(facts.finished_at),
        },
        "byproducts": [
            {"name": "log", "uri": facts.log_url, "digest": {"sha256": facts.log_sha256}},
            {"name": "build", "uri": facts.build_url},
        ],
    }
