from __future__ import annotations

import gzip
import os
import threading
import time
from pathlib import Path

from buildfarm.index.pagetree import _KEEP_S, ROOT, PageTree


def write(tree: PageTree, number: int, *, name: str = "widget", pad: int = 0) -> None:
    body = f"{number}".encode() + b"x" * pad
    bodies = {"index.json": b"j" + body, "index.html": b"h" + body}
    tree.write("dev", name, bodies, {f"w-{number}.whl": {"sha256": str(number)}}, number)


def test_a_page_is_whole(tmp_tree: PageTree) -> None:
    assert tmp_tree.read("dev", "widget") is None
    write(tmp_tree, 4)
    page = tmp_tree.read("dev", "widget")
    assert page is not None
    assert (page.body("index.json"), page.body("index.html"), page.serial) == (b"j4", b"h4", 4)
    assert gzip.decompress(page.body("index.json.gz")) == b"j4"
    assert page.files == {"w-4.whl": {"sha256": "4"}}
    assert len(set(page.etags.values())) == 4


def test_the_same_serial_again_shows_the_newer_bytes(tmp_tree: PageTree) -> None:
    write(tmp_tree, 1)
    assert tmp_tree.read("dev", "widget")
    write(tmp_tree, 1, pad=3)
    page = tmp_tree.read("dev", "widget")
    assert page is not None
    assert page.body("index.json") == b"j1xxx"


def test_a_dropped_page_is_gone_for_new_readers_alone(tmp_tree: PageTree) -> None:
    write(tmp_tree, 1)
    page = tmp_tree.read("dev", "widget")
    tmp_tree.drop("dev", "widget")
    tmp_tree.drop("dev", "widget")
    assert tmp_tree.read("dev", "widget") is None
    assert page is not None
    assert page.body("index.json") == b"j1"


def test_a_reader_in_the_middle_keeps_its_generation_through_many_replacements(tmp_tree: PageTree) -> None:
    write(tmp_tree, 1)
    page = tmp_tree.read("dev", "widget")
    assert page is not None
    long_ago = time.time() - 10 * _KEEP_S
    os.utime(page.folder, (long_ago, long_ago))  # it has been there for long when it is replaced
    for number in range(2, 6):
        write(tmp_tree, number)
    assert page.body("index.json") == b"j1"


def test_replaced_generations_are_swept_after_a_while(tmp_tree: PageTree) -> None:
    for number in range(5):
        write(tmp_tree, number)
    folder = tmp_tree.root / "dev" / ".generations" / "widget"
    assert len(list(folder.iterdir())) == 5
    long_ago = time.time() - 2 * _KEEP_S
    for path in folder.iterdir():
        os.utime(path, (long_ago, long_ago))
    write(tmp_tree, 9)
    # The one that was current a moment ago stays too: its time counts from its replacement.
    assert {path.name.split(".")[0] for path in folder.iterdir()} == {"4", "9"}


def test_readers_never_see_a_mixture(tmp_tree: PageTree) -> None:
    write(tmp_tree, 0)
    over, wrong, reads = threading.Event(), [], [0]

    def read() -> None:
        while not over.is_set():
            page = tmp_tree.read("dev", "widget")
            if page is None:
                wrong.append("nothing")
                return
            number = str(page.serial)
            bodies = {
                page.body("index.json"),
                page.body("index.html"),
                gzip.decompress(page.body("index.json.gz")),
            }
            names = {f"w-{number}.whl": {"sha256": number}}
            if bodies != {f"j{number}".encode(), f"h{number}".encode()} or page.files != names:
                wrong.append((number, bodies))
            reads[0] += 1

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(1, 150):
        write(tmp_tree, number)
    over.set()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert reads[0] > 50


def test_names_that_are_no_pages(tmp_tree: PageTree) -> None:
    write(tmp_tree, 1)
    write(tmp_tree, 1, name=ROOT)
    for name in ("..", ".", "", ".generations", "x" * 5000, "no/such", "widget/index.json"):
        assert tmp_tree.read("dev", name) is None
    assert tmp_tree.names("dev") == {"widget"}
    assert tmp_tree.names("stable") == set()
    assert tmp_tree.has_channel("dev")
    assert not any(tmp_tree.has_channel(name) for name in ("stable", "..", "", "dev/widget", "\0"))


def test_the_serial_lasts(tmp_path: Path) -> None:
    tree = PageTree(tmp_path)
    assert tree.serial == -1
    tree.set_serial(7)
    assert PageTree(tmp_path).serial == 7
    (tmp_path / "serial").write_text("garbage")
    assert tree.serial == -1
