"""What the rows share: our farms and their peers, each started when a row first asks for it."""

from __future__ import annotations

import hashlib
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from bench.index import crowd, ours, peers, real
from bench.index.crowd import Crowd
from bench.index.load import RUNS
from bench.index.ours import Ours
from bench.index.process import Server, free_port
from bench.index.seed import SeedFile, listed, seed, small_names
from bench.index.wheels import metadata_of, some_wheel
from buildfarm.bootstrap import Farm

PROJECTS = 20_000
BIG_FILES = 1_000
#: Releases of the project `grown` at devpi; ours has `BIG_FILES`.
GROWN = 200
FEW, MANY = 200, 200_000
_LARGE = 200_000_000


class Stand:
    """Everything that is running; ended at the end of the block."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._stack = ExitStack()
        #: The ten wheels of the project `small`.
        self.small = dict(some_wheel("small", f"1.{number}") for number in range(10))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @cached_property
    def library(self) -> Ours:
        """Our farm with 20,000 projects, among them `small`, `big` and `large`."""
        return self._stack.enter_context(ours.farm(self.folder / "library", seed=self._fill_library))

    @cached_property
    def appliance(self) -> Server:
        """nginx before that farm."""
        return self._stack.enter_context(ours.appliance(self.library, self.folder / "appliance"))

    @cached_property
    def static(self) -> Server:
        """nginx with the same bytes."""
        folder = self.folder / "static"
        folder.mkdir()
        peers.copy_channel(self.library.reads, "dev", ("small", "large"), folder / "www", listed=("big",))
        return self._stack.enter_context(
            peers.nginx(folder, "nginx-static.conf", answers="/dev/simple/small/")
        )

    @cached_property
    def few(self) -> Ours:
        """Our farm with 200 projects, one of them, `grown`, with a thousand releases."""
        return self._stack.enter_context(ours.farm(self.folder / "few", seed=self.fill_few))

    @cached_property
    def many(self) -> Ours:
        """The same with 200,000 projects."""
        return self._stack.enter_context(
            ours.farm(self.folder / "many", seed=lambda farm: self._fill(farm, MANY))
        )

    @cached_property
    def real(self) -> Ours:
        """Our farm with the real set, uploaded file by file.

        Some real names have a dot, which the farm takes only where an operator waives that rule.
        """
        farm = self._stack.enter_context(
            ours.farm(self.folder / "real", seed=lambda _: None, settings={"validation.waived": ["N-04"]})
        )
        for wheel in real.fetch():
            peers.upload(farm.writes, "/dev/legacy/", wheel.name, wheel.read_bytes())
        return farm

    @cached_property
    def real_static(self) -> Server:
        """nginx with the same bytes."""
        names = peers.project_names(self.real.reads, "dev")
        folder = self.folder / "real-static"
        peers.copy_channel(self.real.reads, "dev", names, folder / "www")
        return self._stack.enter_context(peers.nginx(folder, "nginx-static.conf", answers="/dev/simple/"))

    @cached_property
    def mirror(self) -> Ours:
        """Our farm whose channel `mirror` has the real set as its upstream."""
        upstream = f"{self.real_static.url}/dev/simple"
        return self._stack.enter_context(
            ours.farm(self.folder / "mirror", seed=lambda _: None, settings={"mirror.upstreams": [upstream]})
        )

    @cached_property
    def cache(self) -> Server:
        """A cache in nginx before the same upstream."""
        return self._stack.enter_context(
            peers.nginx(
                self.folder / "cache", "nginx-cache.conf", upstream=urlsplit(self.real_static.url).port,
                answers="/dev/simple/idna/",
            )
        )  # fmt: skip

    @cached_property
    def proxpi(self) -> Server:
        """proxpi before the same upstream."""
        upstream = f"{self.real_static.url}/dev/simple/"
        return self._stack.enter_context(peers.proxpi(self.folder / "proxpi", upstream))

    @cached_property
    def crowds(self) -> list[Crowd]:
        """What became of cold files that a hundred clients asked for at once."""
        port = free_port()
        upstream = f"http://127.0.0.1:{port}/simple"
        farm = ours.farm(
            self.folder / "crowd", seed=lambda _: None, settings={"mirror.upstreams": [upstream]}
        )
        return crowd.measure(self._stack.enter_context(farm).reads, port, RUNS)

    @cached_property
    def devpi(self) -> Server:
        """devpi with the ten wheels of `small`."""
        server = self._stack.enter_context(peers.devpi(self.folder / "devpi"))
        for filename, body in self.small.items():
            peers.upload(server, peers.DEVPI_INDEX, filename, body)
        return server

    def fill_devpi_big(self) -> None:
        """A project of a thousand files at devpi; of one release, which it takes a good deal faster."""
        for number in range(BIG_FILES):
            filename, body = some_wheel("big", "1.0", 1000)
            peers.upload(
                self.devpi, peers.DEVPI_INDEX, filename.replace("-1.0-", f"-1.0-{number + 1}-"), body
            )

    @cached_property
    def pypiserver(self) -> Server:
        """pypiserver with the ten wheels of `small`."""
        return self._stack.enter_context(peers.pypiserver(self.folder / "pypiserver", self.small))

    def fill_few(self, farm: Farm) -> None:
        """The index of 200 projects."""
        self._fill(farm, FEW)

    def _fill(self, farm: Farm, projects: int) -> None:
        metadata = farm.blobs.put_bytes(metadata_of(next(iter(self.small.values()))))
        own = [listed(farm.blobs, "grown", BIG_FILES, metadata), listed(farm.blobs, "small", 10, metadata)]
        _fill_up(farm, own, projects, metadata)

    def _fill_library(self, farm: Farm) -> None:
        def kept(filename: str, version: str, body: bytes, metadata: bytes) -> SeedFile:
            sha256 = farm.blobs.put_bytes(body)
            return SeedFile(filename, version, sha256, len(body), farm.blobs.put_bytes(metadata))

        some = metadata_of(next(iter(self.small.values())))
        metadata = farm.blobs.put_bytes(some)
        block = hashlib.shake_128(b"large").digest(1 << 20)
        large = (block * (_LARGE // len(block) + 1))[:_LARGE]
        own = [
            (
                "small",
                [
                    kept(name, name.split("-")[1], body, metadata_of(body))
                    for name, body in self.small.items()
                ],
            ),
            listed(farm.blobs, "big", BIG_FILES, metadata),
            ("large", [kept("large-1.0-py3-none-any.whl", "1.0", large, some)]),
        ]
        _fill_up(farm, own, PROJECTS, metadata)


def _fill_up(farm: Farm, own: list[tuple[str, list[SeedFile]]], projects: int, metadata_sha256: str) -> None:
    """So many projects altogether: `own`, and others of one file each."""
    others = (listed(farm.blobs, name, 1, metadata_sha256) for name in small_names(projects - len(own)))
    seed(farm, "dev", own)
    seed(farm, "dev", others)
