"""How commands end: exit codes, one sentence, no traceback, nothing that steers a terminal."""

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import click
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from buildfarm.cli.main import NOUNS, cli
from buildfarm.cli.output import log_text, plain

#: Commands of rooms that print no answer of a farm.
ELSEWHERE = {"up", "doctor", "verify", "recipe"}


def test_an_unreachable_farm_is_one_line_and_exit_2(run, monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("BUILDFARM_URL", f"http://127.0.0.1:{free.getsockname()[1]}")
        ended = run("build", "list")
    assert ended.code == 2
    assert ended.err.count("\n") == 1
    assert "does not answer" in ended.err


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("", "BUILDFARM_URL is not set"),
        ("farm.example", "lacks http"),
        ("ftp://farm.example", "is no address"),
    ],
)
def test_a_wrong_address_is_named(run, monkeypatch, url, sentence):
    monkeypatch.setenv("BUILDFARM_URL", url)
    ended = run("build", "list")
    assert (ended.code, sentence in ended.err) == (2, True)


def test_what_is_no_farm_is_said_to_be_none(run, monkeypatch):
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<h1>It works!</h1>")

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    monkeypatch.setenv("BUILDFARM_URL", f"http://127.0.0.1:{server.server_port}")
    ended = run("build", "list")
    server.shutdown()
    thread.join()
    server.server_close()
    assert (ended.code, "is no farm" in ended.err) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["build", "show", "bld_nothing"], 1),
        (["source", "add", "Bad Name", "https://git.example/x.git"], 2),
        (["source", "add", "gadget", "ftp://git.example/x.git"], 2),
        (["build", "list", "--limit", "0"], 2),
        (["nonsense"], 2),
        (["build", "nonsense"], 2),
        (["build", "start", "widget"], 2),
    ],
)
def test_exit_codes_tell_not_so_from_asked_wrongly(run, arguments, code):
    ended = run(*arguments)
    assert ended.code == code
    assert "Traceback" not in ended.err
    assert ended.err


def test_a_forbidden_thing_is_exit_1_and_an_unknown_token_exit_2(run, full, monkeypatch):
    monkeypatch.setenv("BUILDFARM_TOKEN", full.viewer)
    ended = run("token", "list")
    assert (ended.code, "may not do everything" in ended.err) == (1, True)
    monkeypatch.setenv("BUILDFARM_TOKEN", "bft_wrong")
    assert run("token", "list").code == 2


def test_a_netrc_file_does_not_replace_the_token(run, monkeypatch, tmp_path):
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login somebody password else\n")
    (tmp_path / "netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert run("build", "list").code == 0


def test_a_bug_is_a_sentence_and_a_file(run, monkeypatch, tmp_path):
    def broken(*_, **__):
        raise ZeroDivisionError("oh")

    monkeypatch.setattr("buildfarm.cli.build.from_environment", broken)
    ended = run("build", "list")
    assert ended.code == 2
    assert "Traceback" not in ended.err
    details = tmp_path / "state" / "buildfarm" / "errors.log"
    assert str(details) in ended.err
    assert "ZeroDivisionError: oh" in details.read_text()


def test_help_imports_no_command_and_no_http_client():
    code = (
        "import sys; sys.argv = ['buildfarm', '--help']\n"
        "from buildfarm.cli.main import cli\n"
        "cli.main(standalone_mode=False)\n"
        "print(sorted({'requests', 'sqlalchemy', 'flask', 'buildfarm.cli.build'} & set(sys.modules)))"
    )
    root = Path(__file__).parents[2]
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root
    )
    assert answer.stdout.endswith("[]\n")
    assert all(noun in answer.stdout for noun in NOUNS)


@pytest.mark.parametrize("noun", sorted(set(NOUNS) - ELSEWHERE))
def test_every_command_can_print_json(noun):
    group = cli.get_command(click.Context(cli), noun)
    assert group
    for name, command in _commands(noun, group):
        assert any("--json" in option.opts for option in command.params), f"{noun} {name}"
        assert command.help, f"{noun} {name}"


def _commands(name: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    if not isinstance(command, click.Group):
        yield name, command
        return
    for inner_name, inner in command.commands.items():
        yield from _commands(inner_name, inner)


@pytest.mark.parametrize("noun", sorted(NOUNS))
def test_every_noun_has_a_manual_entry(noun):
    assert f"`{noun}" in (Path(__file__).parents[2] / "docs" / "cli.md").read_text()


@given(st.text())
@settings(max_examples=200)
def test_nothing_printed_in_a_table_steers_a_terminal(text):
    shown = plain(text)
    assert not [char for char in shown if (ord(char) < 32 and char != "\t") or 127 <= ord(char) < 160]
    assert "\u202e" not in shown


@given(
    st.lists(st.sampled_from(["\x1b", "[31m", "[2J", "]0;title\x07", "text", "\n", "\x9b5n", "\t"])).map(
        "".join
    )
)
@settings(max_examples=200)
def test_a_log_on_a_terminal_keeps_colours_alone(text):
    shown = log_text(text)
    assert "\x07" not in shown
    assert "\x9b" not in shown
    assert shown.count("\x1b") == shown.count("\x1b[31m")


def test_times_are_shown_without_their_fraction():
    assert plain("2026-01-02T03:04:05.678901Z") == "2026-01-02 03:04:05"
