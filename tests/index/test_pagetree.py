from __future__ import annotations

import os
import threading
from pathlib import Path

from buildfarm.index.pagetree import FORMS, ROOT, PageTree, Stored


def write(tree: PageTree, number: int, *, name: str = "widget", pad: int = 0) -> None:
    body = f"{number}".encode() + b"x" * pad
    tree.put_page("dev", name, {form: form.encode() + body for form in FORMS}, number)


def found(tree: PageTree, path: str = "dev/simple/widget.json.gz") -> Stored:
    file = tree.find(path)
    assert file is not None
    return file


def test_a_page_says_its_serial_and_form_by_its_time(tmp_tree: PageTree) -> None:
    assert tmp_tree.find("dev/simple/widget.json.gz") is None
    write(tmp_tree, 4)
    files = [found(tmp_tree, f"dev/simple/widget.{form}") for form in FORMS]
    assert [file.mtime for file in files] == [32, 33, 34]
    assert {file.serial for file in files} == {4}
    assert [Path(file.path).read_bytes() for file in files] == [form.encode() + b"4" for form in FORMS]
    assert files[0].validator == f"20-{len('json.gz4'):x}"


def test_a_file_is_the_blob_that_its_name_means(tmp_tree: PageTree, tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(b"12345")
    (tmp_path / "two").write_bytes(b"1234567")
    tmp_tree.link("dev/files/widget/w.whl", tmp_path / "one")
    assert found(tmp_tree, "dev/files/widget/w.whl").size == 5
    tmp_tree.link("dev/files/widget/w.whl", tmp_path / "two")
    tmp_tree.link("dev/files/widget/w.whl", tmp_path / "two")
    assert found(tmp_tree, "dev/files/widget/w.whl").size == 7
    assert tmp_tree.listing("dev/files/widget") == {"w.whl"}
    (tmp_path / "two").unlink()
    assert tmp_tree.find("dev/files/widget/w.whl") is None


def test_a_dropped_page_takes_its_files_along(tmp_tree: PageTree, tmp_path: Path) -> None:
    write(tmp_tree, 1)
    tmp_tree.link("dev/files/widget/w.whl", tmp_path)
    tmp_tree.drop_project("dev", "widget")
    tmp_tree.drop_project("dev", "widget")
    assert not any(tmp_tree.find(f"dev/simple/widget.{form}") for form in FORMS)
    assert tmp_tree.listing("dev/files/widget") == set()


def test_an_open_reader_keeps_its_version(tmp_tree: PageTree) -> None:
    write(tmp_tree, 1)
    with Path(found(tmp_tree).path).open("rb") as source:
        for number in range(2, 6):
            write(tmp_tree, number)
        assert source.read() == b"json.gz1"


def test_readers_never_see_a_mixture(tmp_tree: PageTree) -> None:
    write(tmp_tree, 0)
    over, wrong, reads = threading.Event(), [], [0]

    def read() -> None:
        while not over.is_set():
            with Path(found(tmp_tree).path).open("rb") as source:
                stat = os.fstat(source.fileno())
                number = Stored.of("", stat).serial
                body = source.read()
            if body != b"json.gz" + str(number).encode() + b"x" * number or len(body) != stat.st_size:
                wrong.append((number, body))
            reads[0] += 1

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(1, 150):
        write(tmp_tree, number, pad=number)
    over.set()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert reads[0] > 50


def test_paths_that_are_none(tmp_tree: PageTree) -> None:
    write(tmp_tree, 1)
    write(tmp_tree, 1, name=ROOT)
    for name in ("", ".generations", "x" * 5000, "no/such", "a\0b", "\ud800"):
        assert tmp_tree.find(f"dev/simple/{name}.json.gz") is None
    assert set(tmp_tree.names("dev")) == {"widget"}
    assert set(tmp_tree.names("stable")) == set()


def test_the_serial_lasts_and_its_time_moves_with_every_change(tmp_path: Path) -> None:
    tree = PageTree(tmp_path / "new")
    tree.note_change()
    assert tree.serial == -1
    times = set()
    for serial in (7, 7, 8):
        tree.set_serial(serial)
        times.add((tree.root / "serial").stat().st_mtime_ns)
        tree.note_change()
        times.add((tree.root / "serial").stat().st_mtime_ns)
    assert len(times) == 6
    assert PageTree(tree.root).serial == 8
    (tree.root / "serial").write_text("garbage")
    assert tree.serial == -1
