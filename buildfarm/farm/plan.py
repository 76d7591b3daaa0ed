"""From a commit to jobs: fetch the source, read its recipes, make one job for each target.

A repository with several recipes that take the ref makes one build for each; the build that the
delivery started takes the first, the others are its siblings with the same delivery and commit.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast

from packaging.version import Version
from sqlalchemy.orm import Session

from buildfarm import clock
from buildfarm.config import Settings
from buildfarm.db.engine import Database
from buildfarm.errors import EnvironmentProblem, InvalidInput
from buildfarm.farm import (
    builds,
    claims,
    crew,
    equal,
    jobs,
    learned,
    pulls,
    registry,
    sdists,
    unserved,
    versions,
)
from buildfarm.farm.machines import crossing_to
from buildfarm.farm.model import Build, Job, Task
from buildfarm.farm.rules import State
from buildfarm.ids import new_id
from buildfarm.mirror.upstream import Upstream
from buildfarm.recipes.catalog import Catalog, load_catalog
from buildfarm.recipes.load import is_recipe_file, load_recipes, select, static_requires_python
from buildfarm.recipes.model import Recipe, recipe_digest
from buildfarm.recipes.plan import ImageRow, Target, plan_targets
from buildfarm.recipes.spec import to_attempt_spec_fields
from buildfarm.sources.contract import Credential, FetchRequest, Snapshot
from buildfarm.sources.credentials import take_credential
from buildfarm.sources.fetcher import fetch_snapshot
from buildfarm.sources.model import Source
from buildfarm.storage.blobs import Blobs

_NOTHING_LEFT = "Every target has a wheel by now, or was tried; nothing is left to build."
_UNTOUCHED = "No file that the source's paths name ({paths}) changed since the branch was built last."
_UNTOUCHED_BY_REQUEST = "The pull request changes no file that the source's paths name ({paths})."
#: How triggers begin whose builds nobody asked for: a delivery, or the sweep that found a push.
_NO_IMAGES = (
    "An administrator of the builder host runs docker/build-images.sh and `buildfarm image add`; "
    "then start the build again."
)


@dataclass(frozen=True)
class Planner:
    """Fetches and plans; made by a control worker."""

    database: Database
    blobs: Blobs
    settings: Settings
    upstream: Upstream
    index: equal.Index

    def run(self, build_id: str, task: tuple[str, int]) -> None:
        """Fetch and plan one build under the claim `task` = (id, attempt).

        Raises:
            FarmError: with the sentence for the person; nothing was planned.
        """
        with self.database.read() as session:
            build = builds.get(session, build_id)
            source = session.get_one(Source, build.source_id)
        if source.scm == sdists.SCM:
            limit = self.settings.limits.upload_bytes
            snapshot = sdists.snapshot(build, self.upstream, self.blobs, max_bytes=limit)
            recipes = [sdist_recipe(self.settings, build.project or "", snapshot.files)]
        elif build.rebuilds_id:
            recipes = [self._recipe_again(build.rebuilds_id)]
            snapshot = self._fetch(source, build, build.commit, recipes)
        elif pulls.is_of_fork(build):
            recipes, snapshot = self._of_base(source, build), self._fetch(source, build, build.commit)
        else:
            snapshot = self._fetch(source, build, build.commit)
            if not snapshot.touched:
                self._leave(build_id, source, task)
                return
            recipes = self._recipes(source, snapshot)
            if build.pull_request is None:  # filters speak of branches and tags
                recipes = select(recipes, build.ref or snapshot.commit)
            if any(recipe.submodules or recipe.lfs for recipe in recipes):
                snapshot = self._fetch(source, build, snapshot.commit, recipes)
        if not recipes:
            raise InvalidInput(
                f"No recipe of {source.name} takes {build.ref}.",
                code="recipe.none",
                hint="Give the repository a pyproject.toml, or a recipe whose tags or branches fit.",
            )
        earlier = equal.earlier(self.database, self.blobs, self.index, build, snapshot.sha256)
        with self.database.begin() as session:
            claims.finish(session, Task, *task, State.SUCCEEDED)
            images = image_rows(session)
            for index, recipe in enumerate(recipes):
                one = builds.get(session, build_id)
                if index:
                    one = _sibling(session, one)
                self._plan(session, one, source, snapshot, recipe, images, earlier)

    def _of_base(self, source: Source, build: Build) -> list[Recipe]:
        """The recipes for a stranger's commit: those of the branch that it is meant for."""
        base = build.pull_request.base if build.pull_request else ""
        recipes = self._recipes(source, self._fetch(source, build, None, base=base))
        for recipe in recipes:
            pulls.demand_plain(recipe)
        return recipes

    def _recipes(self, source: Source, snapshot: Snapshot) -> list[Recipe]:
        return _recipes(self.settings, source.name, source.recipe, snapshot.files, snapshot.projects)

    def _fetch(
        self,
        source: Source,
        build: Build,
        commit: str | None,
        recipes: Sequence[Recipe] = (),
        *,
        base: str = "",
    ) -> Snapshot:
        """The commit with what any of the recipes asks for; or what the branch `base` holds."""
        request = FetchRequest(
            url=source.url,
            ref=base or build.ref,
            commit=commit,
            since=self._built_before(source, build),
            base=_compared_base(source, build),
            paths=tuple(source.paths),
            submodules=any(recipe.submodules for recipe in recipes),
            lfs=any(recipe.lfs for recipe in recipes),
            mirror_dir=self.settings.mirrors_dir / (source.id if base else pulls.mirror_of(build, source)),
            allow_file=self.settings.sources_allow_file,
            private_hosts=self.settings.sources_private_hosts,
            credential=self._credential(source),
        )
        self.blobs.demand_room(0)
        with tempfile.TemporaryDirectory(prefix="snapshot-", dir=self.blobs.root / "tmp") as folder:
            snapshot = fetch_snapshot(request, Path(folder) / "source.tar")
            with snapshot.path.open("rb") as tar:
                self.blobs.put(iter(lambda: tar.read(1 << 20), b""), sha256=snapshot.sha256)
        return snapshot

    def _built_before(self, source: Source, build: Build) -> str | None:
        """The commit that the source's paths are compared with.

        None where paths play no part: for tags, and for what a person asked for.
        """
        is_push = build.trigger.startswith(builds.BY_PUSH) and build.ref.startswith("refs/heads/")
        if not source.paths or not is_push or build.pull_request:
            return None
        with self.database.read() as session:
            return builds.last_commit_built(session, build)

    def _leave(self, build_id: str, source: Source, task: tuple[str, int]) -> None:
        with self.database.begin() as session:
            claims.finish(session, Task, *task, State.SUCCEEDED)
            request = builds.get(session, build_id).pull_request
            sentence = _UNTOUCHED_BY_REQUEST if request else _UNTOUCHED
            builds.leave(session, build_id, sentence.format(paths=", ".join(source.paths)))

    def _recipe_again(self, build_id: str) -> Recipe:
        """The recipe of the build that is made again, whatever the farm has been told since."""
        with self.database.read() as session:
            return Recipe.model_validate(builds.get(session, build_id).recipe)

    def _credential(self, source: Source) -> Credential | None:
        if source.credential is None:
            return None
        with self.database.begin() as session:
            return take_credential(session, source.id)

    def _plan(
        self,
        session: Session,
        build: Build,
        source: Source,
        snapshot: Snapshot,
        recipe: Recipe,
        images: Sequence[ImageRow],
        earlier: equal.Earlier,
    ) -> None:
        build.commit, build.commit_time = snapshot.commit, snapshot.commit_time
        build.snapshot_sha256 = snapshot.sha256
        build.title = build.title or snapshot.subject[:500]
        build.recipe_name, build.recipe_path = recipe.name, recipe.path
        build.recipe, build.recipe_sha256 = recipe.model_dump(mode="json"), recipe_digest(recipe)
        build.not_followed = build.not_followed or [str(one) for one in recipe.left_out]
        build.project = build.project or recipe.project
        if not images:
            sentence = "The farm has no image to build in."
            error = EnvironmentProblem(sentence, code="image.none", hint=_NO_IMAGES)
            builds.fail(session, build.id, error)
            return
        try:
            targets = plan_targets(
                recipe,
                images,
                static_requires_python(snapshot.files, recipe),
                catalog=_catalog(self.settings),
                machines=crew.native_machines(session),
            )
        except InvalidInput as err:
            builds.fail(session, build.id, err)
            return
        if build.trigger == sdists.BY_RULE:
            targets = self._missing(session, build, targets)
        # Dispatch goes by id. The longest is begun first, or the slots would wait for it at the end.
        took = learned.seconds_by_target(session, source.id)
        needs = learned.memory_by_target(session, source.id)
        targets = sorted(targets, key=lambda one: -took.get(one.name, math.inf))
        for job_id, target in zip(sorted(new_id("job") for _ in targets), targets, strict=True):
            job = _job(job_id, build, source, snapshot, recipe, target)
            if target.name in needs and job.spec:
                job.memory_need = min(needs[target.name], job.spec["limits"]["memory_bytes"])
            earlier.answer(job)
            session.add(job)
        if build.trigger == sdists.BY_RULE and all(target.skip_reason for target in targets):
            builds.leave(session, build.id, _NOTHING_LEFT)
            return
        builds.settle(session, build.id)

    def _missing(self, session: Session, build: Build, targets: Sequence[Target]) -> list[Target]:
        """The targets of a build by rule: what became served or was tried meanwhile is skipped."""
        page = self.upstream.pages.stored(build.project or "")
        if page is None:
            return list(targets)
        version, sha256 = Version(build.version or ""), build.commit or ""
        met = unserved.reasons(session, page, version, sha256, targets, besides=build.id)
        return [replace(target, skip_reason=met.get(target.name)) for target in targets]


def _compared_base(source: Source, build: Build) -> str:
    """The branch that a pull request is compared with; empty where the source's paths play no part."""
    request = build.pull_request
    if not source.paths or request is None or request.is_fork or not build.trigger.startswith(builds.BY_PUSH):
        return ""
    return request.base


def sdist_targets(
    session: Session, settings: Settings, project: str, requires_python: str | None
) -> list[Target]:
    """What a build of an upstream project's sdist would make, as far as its page tells.

    Raises:
        InvalidInput: as for `plan_targets`, and `recipe.invalid` for the operator's recipe.
    """
    files = sdists.project_files(requires_python)
    recipe = sdist_recipe(settings, project, files)
    return plan_targets(
        recipe,
        image_rows(session),
        static_requires_python(files, recipe),
        catalog=_catalog(settings),
        machines=crew.native_machines(session),
    )


def sdist_recipe(settings: Settings, project: str, files: Mapping[str, str]) -> Recipe:
    """The recipe for an sdist: its filters speak of pushes, its paths of a repository."""
    first, *_rest = _recipes(settings, project, None, files, (".",))
    build = first.build.model_copy(update={"sdist": False, "wheel": True})
    return first.model_copy(update={"build": build, "path": ""})


def _recipes(
    settings: Settings, name: str, stored: str | None, files: Mapping[str, str], projects: Sequence[str]
) -> list[Recipe]:
    files = {path: text for path, text in files.items() if is_recipe_file(path)}
    if "." in projects and not {"pyproject.toml", "setup.py"} & set(files):
        files["setup.py"] = ""
    overlay = settings.recipes / f"{name}.toml"
    central = overlay.read_text() if stored is None and overlay.is_file() else stored
    return load_recipes(files, central, central_file=f"recipes/{name}.toml")


def _catalog(settings: Settings) -> Catalog | None:
    path = settings.recipes / "targets.toml"
    return load_catalog(str(path), path.read_text()) if path.is_file() else None


def _sibling(session: Session, build: Build) -> Build:
    builds.hold_source(session, build.source_id)
    twin = Build(
        id=new_id("bld"),
        number=builds.next_number(session, build.source_id),
        source_id=build.source_id,
        delivery_id=build.delivery_id,
        trigger=build.trigger,
        fresh=build.fresh,
        pull_request_id=build.pull_request_id,
        ref=build.ref,
        title=build.title,
        actor=build.actor,
        channel=build.channel,
        state=State.QUEUED,
        created_at=clock.now(),
    )
    session.add(twin)
    session.flush()
    return twin


def _job(
    job_id: str, build: Build, source: Source, snapshot: Snapshot, recipe: Recipe, target: Target
) -> Job:
    now = clock.now()
    family = crossing_to(target.platform) if target.is_cross else registry.family_of(target.platform)
    tier = pulls.tier_of(build, source)
    queue = jobs.queue_name(family, tier, _class(build))
    job = Job(id=job_id, build_id=build.id, target=target.name, required=target.is_required, spec={})
    for column, value in jobs.queued_values(build.source_id, queue, now).items():
        setattr(job, column, value)
    if target.skip_reason is not None:
        job.state, job.first_error, job.finished_at = State.SKIPPED, target.skip_reason, now
        return job
    spec: dict[str, Any] = to_attempt_spec_fields(recipe, target)
    if build.wheel_build is not None:
        spec |= {"wheel_build": build.wheel_build, "build_sdist": False}
    request = build.pull_request.number if build.pull_request else None
    if label := versions.local_label(build.ref, snapshot, request):
        spec["local_version"] = label
    if recipe.program is not None:
        spec["program"]["version"] = versions.of_program(build.ref, label)
    how = recipe.for_target(target.name).build
    if _may_use_cache(build, source) and how.compile_cache and not how.toolchain:
        spec["compile_cache"] = f"{source.id}-{source.tier}"
    job.spec = spec | {"source_sha256": snapshot.sha256, "source_date_epoch": snapshot.commit_time}
    job.input_sha256 = equal.input_digest(
        job.spec, target=target.name, tier=tier, recipe_sha256=build.recipe_sha256 or ""
    )
    return job


def _may_use_cache(build: Build, source: Source) -> bool:
    """What is in the cache is as good as the builds that wrote it: a release is made of its source alone.

    And no stranger writes there.
    """
    is_release = source.tier == "release" or build.ref.startswith("refs/tags/")
    return not is_release and source.scm != sdists.SCM and not pulls.is_of_fork(build)


def _class(build: Build) -> str:
    """Which of `wire.CLASSES`: nobody waits for a rule's or for a rebuild, a tag makes a release."""
    if build.trigger == sdists.BY_RULE or build.rebuilds_id:
        return "background"
    return "release" if build.ref.startswith("refs/tags/") else "interactive"


def image_rows(session: Session) -> list[ImageRow]:
    """The images in use, as targets are planned by them."""
    return [
        ImageRow(
            platform=image.platform,
            interpreters=tuple(image.interpreters),
            role=cast('Literal["builder", "test"]', image.role),
            image_id=image.image_id,
            toolchain=image.toolchain,
            machine=image.machine,
        )
        for image in registry.images(session)
    ]
