"""One attempt from source snapshot to uploaded files: a fresh container for each step.

    image                 on the builder: the image with the recipe's system packages, unless it is there
    source, deps, build   one container, builder image: the stranger's code runs here
    repair                one container, builder image: our tools, or the recipe's, on the stranger's wheel
    test                  one container, image without compilers
    upload                on the builder: the files go to the farm

Whatever happens, the containers and the working directory are gone when `run_attempt` returns.
"""

from __future__ import annotations

import hashlib
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import docker
from buildfarm import log
from buildfarm.errors import FarmError, IntegrityFailure, InvalidInput, StaleAttempt
from buildfarm.sandbox.channel import Output, Traffic
from buildfarm.sandbox.compilecache import CompileCache
from buildfarm.sandbox.containers import Ended, Stop
from buildfarm.sandbox.derived import derived_image
from buildfarm.sandbox.engine import connect
from buildfarm.sandbox.logstream import LogStream
from buildfarm.sandbox.phases import Timeline
from buildfarm.sandbox.port import FarmPort
from buildfarm.sandbox.prestart import Kind, Script
from buildfarm.sandbox.spec import AttemptOutcome, AttemptSpec, FailureClass, Phase
from buildfarm.sandbox.stage import Stage, Stages
from buildfarm.sandbox.verdict import Ending, Verdict, is_native, judge, judge_platform, judge_shape, some

_log = log.get(__name__)

_NO_DEV_BUILD = (
    "A source archive alone makes no dev build: have the recipe build wheels for branches, or push a tag."
)
_BUILD_PHASES: frozenset[Phase] = frozenset({"source", "deps", "build"})


def run_attempt(
    spec: AttemptSpec,
    farm: FarmPort,
    *,
    docker_host: str | None,
    workdir: Path,
    instance: str,
    bytecode: Path | None = None,
    nudge: threading.Event | None = None,
    report: Callable[[AttemptOutcome], None] = lambda _: None,
) -> AttemptOutcome:
    """Build, repair, test and hand over what `spec` describes.

    Never raises for anything that ends the attempt: the farm, the engine and the stranger's code
    all end in an outcome, because a builder must always be able to report.

    Args:
        spec: the attempt.
        farm: the farm as this attempt sees it.
        docker_host: the engine, on this machine; None follows the environment.
        workdir: a directory on this machine's disk; the attempt makes its own below it.
        instance: the builder's name, put on each container for the janitor.
        bytecode: the host's store of it (`bytecode.store_of`), where somebody compiles what is noted there.
        report: is given the outcome as soon as it is known, before containers are removed.
        nudge: when it is set, the farm is asked at once whether to go on, not at the next heartbeat.
    """
    root = workdir.resolve() / f"{spec.job_id}_{spec.attempt}"
    with log.bind(job=spec.job_id, attempt=spec.attempt):
        try:
            attempt = _Attempt(spec, farm, root, instance, bytecode, nudge or threading.Event())
            return attempt.run(docker_host, report)
        finally:
            shutil.rmtree(root, ignore_errors=True)


class _OverError(Exception):
    """The attempt has ended with a verdict."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(verdict.first_error)
        self.verdict = verdict


class _Attempt:
    def __init__(
        self,
        spec: AttemptSpec,
        farm: FarmPort,
        root: Path,
        instance: str,
        bytecode: Path | None,
        nudge: threading.Event,
    ) -> None:
        self._spec = spec
        self._farm = farm
        self._root = root
        self._instance = instance
        self._bytecode = bytecode
        self._deadline = time.monotonic() + spec.limits.seconds
        self._cancelled = threading.Event()
        self._ended = threading.Event()
        self._engine: dict[str, str] = {}
        # Beside the working directories of a host's builders, which share it.
        place = root.parent.parent / "compile-cache" / (spec.compile_cache or "")
        self._cache = CompileCache(place) if spec.compile_cache else None
        self._nudge = nudge
        self._timeline = Timeline()
        self._log = LogStream(farm, spec.limits.log_bytes, self._timeline.enter)

    def run(self, docker_host: str | None, report: Callable[[AttemptOutcome], None]) -> AttemptOutcome:
        """Do all of it and tell how it went."""
        self._log.enter("image" if self._spec.needs_images else "source")
        threading.Thread(target=self._beat, daemon=True).start()
        with ExitStack() as leftovers:
            verdict = self._verdict(docker_host, leftovers)
            phase = self._log.phase
            self._timeline.close(None)
            verdict = self._close_log(verdict)
            self._ended.set()
            self._nudge.set()
            outcome = AttemptOutcome(
                state=verdict.state,
                cause=verdict.cause,
                failure_class=verdict.failure_class,
                first_error=verdict.first_error,
                error_line=verdict.error_line,
                phase=None if verdict.state == "succeeded" else phase,
                phases=self._timeline.reports,
                engine=self._engine,
            )
            report(outcome)
        if self._cache:
            self._cache.trim()
        return outcome

    def _verdict(self, docker_host: str | None, leftovers: ExitStack) -> Verdict:
        """Go through the steps; what is still to be removed is in `leftovers`."""
        try:
            shutil.rmtree(self._root, ignore_errors=True)
            self._root.mkdir(mode=0o700, parents=True)
            client = leftovers.enter_context(connect(docker_host))
            facts = client.version()
            self._engine = {"version": str(facts["Version"]), "kernel": str(facts["KernelVersion"])}
            images = self._images(docker_host)
            self._steps(leftovers.enter_context(Stages(partial(self._open_stage, client))), images)
        except _OverError as over:
            return over.verdict
        except StaleAttempt:
            return Verdict("cancelled", None, "The attempt is no longer current.")
        except FarmError as error:
            _log.warning("attempt_broken", code=error.code, reason=error.message)
            return _infrastructure(error)
        except Exception as error:  # noqa: BLE001 - the builder must report, whatever it is
            _log.warning("attempt_broken", exc_info=True)
            sentence = f"The builder itself failed: {type(error).__name__}: {error}"
            return Verdict("failed", "engine", " ".join(sentence.split()))
        return Verdict("succeeded", None, None)

    def _open_stage(self, client: docker.APIClient, script: Script, image: str) -> Stage:
        """Take or start the container of one step; called from a thread of its own."""
        return Stage(
            client,
            kind=Kind(script, image, self._spec.interpreter, self._spec.limits),
            spec=self._spec,
            farm=self._farm,
            root=self._root,
            instance=self._instance,
            cache=self._cache if script == "build" else None,
            bytecode=self._bytecode,
            feed=self._log.feed,
        )

    def _images(self, docker_host: str | None) -> tuple[str, str | None]:
        """The images to build and to test in, with the system packages that the recipe names."""
        spec = self._spec
        build = self._image(docker_host, spec.build_image, spec.build_packages)
        if spec.test is None or spec.test_image is None or not spec.build_wheel:
            return build, None
        return build, self._image(docker_host, spec.test_image, spec.test.system_packages)

    def _image(self, docker_host: str | None, base: str, packages: list[str]) -> str:
        if not packages:
            return base
        self._log.say(f"{base} with {' '.join(packages)}")
        try:
            image = derived_image(
                base,
                packages,
                docker_host=docker_host,
                cache=self._root.parent / "images",
                say=self._log.say,
                should_stop=self._should_stop,
            )
        except InvalidInput as error:
            raise _OverError(Verdict("failed", "system-package", error.message)) from error
        self._go_on()
        if image is None:
            raise _OverError(Verdict("cancelled", None, "The attempt was cancelled."))
        self._log.say(f"image {image}")
        return image

    def _steps(self, stages: Stages, images: tuple[str, str | None]) -> None:
        spec = self._spec
        build_image, test_image = images
        self._log.enter("source")
        stages.open("build", build_image)
        source = self._fetch()
        if spec.build_wheel:
            stages.open("repair", build_image)
            if test_image is not None:
                stages.open("trial", test_image)
        outputs = self._build(stages, source)
        files = [output for output in outputs if not output.filename.endswith(".whl")]
        for wheel in (output for output in outputs if output not in files):
            final = self._repair(stages, wheel, source)
            self._test(stages, final, source)
            files.append(final)
        self._log.enter("upload")
        for output in files:
            self._go_on()
            self._log.say(f"upload {output.filename} sha256:{output.sha256}")
            self._farm.put_artifact(output.path, output.filename, output.sha256)

    def _fetch(self) -> Path:
        source = self._root / "source.tar"
        self._farm.fetch_source(source)
        with source.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest != self._spec.source_sha256:
            raise IntegrityFailure("The source that arrived is not the one that was promised.", sha256=digest)
        self._log.say(f"source sha256:{digest}")
        return source

    def _build(self, stages: Stages, source: Path) -> list[Output]:
        spec = self._spec
        plan = {
            "subdirectory": spec.subdirectory,
            "before": spec.before,
            "config_settings": spec.config_settings,
            "program": spec.program.model_dump() if spec.program else None,
            "wheel": spec.build_wheel,
            "sdist": spec.build_sdist,
            "wheel_build": spec.wheel_build,
            "local_version": spec.local_version,
        }
        ended, traffic = self._run(stages, "build", plan, {"source.tar": source}, _BUILD_PHASES)
        names = [output.filename for output in traffic.outputs]
        wrong = missing = None
        if ended.exit_code == 0 and not names and traffic.facts.get("withheld"):
            missing = _NO_DEV_BUILD
        elif ended.exit_code == 0 and not names:
            missing = "The build ended well but handed out no file."
        elif ended.exit_code == 0:
            sdist = spec.build_sdist and not traffic.facts.get("withheld")
            wrong = judge_shape(names, wheel=spec.build_wheel, sdist=sdist, native=spec.expect_native)
        self._judge(ended, traffic, missing=missing, wrong=wrong)
        return traffic.outputs

    def _repair(self, stages: Stages, wheel: Output, source: Path) -> Output:
        self._log.enter("repair")
        if not is_native(wheel.filename):
            self._log.say(f"{wheel.filename} is pure: nothing to repair")
            return wheel
        plan = {
            "wheel": wheel.filename,
            "repair": self._spec.repair,
            "platform": self._spec.target.partition("-")[2],
            "subdirectory": self._spec.subdirectory,
        }
        inputs = {wheel.filename: wheel.path, "source.tar": source}
        ended, traffic = self._run(stages, "repair", plan, inputs)
        wrong = missing = None
        if ended.exit_code == 0 and not traffic.facts.get("compiled"):
            wrong = f"{wheel.filename} is tagged for a platform but holds no compiled code."
        elif ended.exit_code == 0 and traffic.facts.get("musl"):
            wrong = f"{wheel.filename} holds code compiled for musl, not for glibc."
        elif ended.exit_code == 0 and self._spec.repair and len(traffic.outputs) != 1:
            missing = f"The repair left {len(traffic.outputs)} wheels."
        final = traffic.outputs[0] if self._spec.repair and traffic.outputs else wheel
        if ended.exit_code == 0 and not (wrong or missing):
            wrong = judge_platform(final.filename, self._spec.target)
        self._judge(ended, traffic, missing=missing, wrong=wrong)
        return final

    def _test(self, stages: Stages, wheel: Output, source: Path) -> None:
        test = self._spec.test
        if test is None:
            return
        self._log.enter("test")
        plan = {
            "wheel": wheel.filename,
            "subdirectory": self._spec.subdirectory,
            **test.model_dump(),
        }
        inputs = {wheel.filename: wheel.path, "source.tar": source}
        ended, traffic = self._run(stages, "trial", plan, inputs)
        self._judge(ended, traffic)

    def _run(
        self,
        stages: Stages,
        script: Script,
        plan: Mapping[str, Any],
        inputs: Mapping[str, Path],
        marks: frozenset[Phase] = frozenset(),
    ) -> tuple[Ended, Traffic]:
        self._go_on()
        stage = stages.take(script)
        self._timeline.use(stage.container)
        self._log.enter(self._log.phase, marks)
        ended, traffic = stage.run(plan, inputs, self._should_stop)
        self._log.finish_stretch()
        if traffic.unknown:
            self._log.say(f"Asked for, and nowhere: {some(traffic.unknown, 20)}.")
        self._timeline.close(ended.exit_code)
        stages.dismiss(script)
        return ended, traffic

    def _judge(
        self, ended: Ended, traffic: Traffic, *, missing: str | None = None, wrong: str | None = None
    ) -> None:
        phase = self._log.phase
        seen = self._log.seen[phase]
        ending = Ending(
            phase=phase,
            exit_code=ended.exit_code,
            was_ready=ended.was_ready,
            stopped=ended.stopped,
            oom_killed=ended.oom_killed,
            pids_refused=ended.pids_refused,
            disk_full=seen.disk_full,
            refusal=traffic.refusal,
            failure=traffic.failure,
            index_failures=traffic.index_failures,
            index_refusals=traffic.index_refusals,
            unknown=traffic.unknown,
            missing=missing,
            wrong=wrong,
            telling=seen.errors.telling(phase),
        )
        if (verdict := judge(ending, self._spec.limits)) is not None:
            raise _OverError(verdict)

    def _should_stop(self) -> Stop | None:
        if self._cancelled.is_set() or self._log.stale:
            return "cancelled"
        if time.monotonic() > self._deadline:
            return "deadline"
        if self._log.idle_seconds() > self._spec.limits.idle_seconds:
            return "idle"
        return None

    def _go_on(self) -> None:
        """Between two steps: end here when the attempt was cancelled or has used its time up."""
        ending = Ending(phase=self._log.phase, stopped=self._should_stop())
        if (verdict := judge(ending, self._spec.limits)) is not None:
            raise _OverError(verdict)

    def _beat(self) -> None:
        alive = True
        while alive and not self._ended.is_set():
            self._nudge.clear()
            try:
                alive = self._farm.heartbeat(self._log.phase, self._timeline.container_id)
            except StaleAttempt:
                alive = False
            except Exception as error:  # noqa: BLE001 - the lease decides, one lost beat does not
                _log.warning("heartbeat_lost", error=str(error))
            if alive and not self._ended.is_set():
                self._nudge.wait(self._spec.heartbeat_seconds)
        self._cancelled.set()

    def _close_log(self, verdict: Verdict) -> Verdict:
        if verdict.state != "succeeded":
            own = self._log.say(f"{verdict.state}: {verdict.first_error}")
            verdict = replace(verdict, error_line=verdict.error_line or own)
        try:
            self._log.close()
        except FarmError as error:
            if verdict.state == "succeeded":
                return _infrastructure(error)
            return replace(verdict, error_line=None)  # the farm may not have that line
        return verdict


def _infrastructure(error: FarmError) -> Verdict:
    """The verdict on what the farm, the engine or the source did to the attempt."""
    here = error.code.startswith(("engine.", "image."))
    failure_class: FailureClass = "engine" if here else "farm"
    if isinstance(error, IntegrityFailure):
        failure_class = "source"
    return Verdict("failed", failure_class, " ".join(str(error).split()))
