"""The sandboxed process that checks files."""

from __future__ import annotations

from collections.abc import Sequence
from tempfile import TemporaryFile

from buildfarm.wheels import child, platforms, sample
from buildfarm.wheels.facts import Expectation
from buildfarm.wheels.validate import answer_for


def answer(asked: str, files: Sequence[int]) -> str:
    """What the rules say of the one file, which has to be as the expectation has it."""
    return answer_for(files[0], Expectation.from_json(asked))


def main() -> None:
    """Check two files first: what that loads and compiles is there for every child, read with rights to."""
    platforms.load()
    for filename, data in sample.files().items():
        with TemporaryFile(buffering=0) as file:
            file.write(data)
            answer(Expectation(filename, None, None, len(data)).to_json(), [file.fileno()])
    child.serve(answer)


if __name__ == "__main__":
    main()
