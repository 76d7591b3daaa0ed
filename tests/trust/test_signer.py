"""The signer as a process: its socket, its isolation, its end."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import socket
import struct
import threading
from pathlib import Path

import pytest

from buildfarm.errors import Conflict, ExternalFailure, Forbidden, InvalidInput
from buildfarm.trust import bundle, root, wire
from buildfarm.trust.client import SignerClient
from buildfarm.trust.verify import verify_bundle

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: becomes another user")
NOBODY = 65534


def attest(kit, client, folder, data, **facts):
    path = folder / "candidate"
    path.write_bytes(data)
    with path.open("rb") as file:
        return client.attest(kit.make_facts(**facts), file.fileno())


def publish(kit, signer, folder, log, data, **facts):
    attested = attest(kit, signer.client, folder, data, **facts)
    index = log.append(attested.entry_body)
    signed = signer.client.checkpoint(log.size, log.root, log.consistency, [log.entry(attested, index)])
    trusted = root.load(signer.client.health()["documents"]["trusted_root.json"].encode())
    return bundle.assemble(attested, signed, index, log.proof(index)), trusted


def framed(data):
    return struct.pack("!I", len(data)) + data


def as_user(user, action):
    """Run an action in a child of another user; its exit code says whether it was refused as it must be."""
    child = os.fork()
    if child == 0:
        code = 1
        with contextlib.suppress(BaseException):
            os.setresuid(user, user, user)
            code = 0 if action() else 1
        os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_a_file_is_published_through_the_socket_and_a_kill_between_the_steps_costs_nothing(
    kit, start_signer, tmp_path, policy
):
    log = kit.Log()
    signer = start_signer()
    first, _ = publish(kit, signer, tmp_path, log, b"one")
    before = attest(kit, signer.client, tmp_path, b"two", attempt_key="job_2/1")
    assert signer.stop(signal.SIGKILL) == -signal.SIGKILL
    signer = start_signer()
    assert attest(kit, signer.client, tmp_path, b"two", attempt_key="job_2/1") == before
    second, trusted = publish(kit, signer, tmp_path, log, b"two", attempt_key="job_2/1")
    for made, data in ((first, b"one"), (second, b"two")):
        verify_bundle(made, data, kit.WHEEL, trusted, policy).demand()
    assert signer.stop() == 0


def test_sigterm_ends_it_with_zero_and_takes_the_socket_away(start_signer):
    signer = start_signer()
    assert signer.socket.exists()
    assert signer.stop(signal.SIGTERM) == 0
    assert not signer.socket.exists()
    with pytest.raises(ExternalFailure) as refused:
        signer.client.health()
    assert refused.value.code == "signer.down"


def test_errors_come_back_as_the_class_they_were(kit, start_signer, tmp_path):
    signer = start_signer()
    attest(kit, signer.client, tmp_path, b"one")
    with pytest.raises(Conflict) as refused:
        attest(kit, signer.client, tmp_path, b"one", commit="0" * 40)
    assert refused.value.code == "signer.second_statement"
    assert refused.value.hint


def test_the_client_proves_growth_from_the_signers_own_checkpoint(kit, start_signer, tmp_path):
    signer, log = start_signer(), kit.Log()
    for number in range(6):
        publish(kit, signer, tmp_path, log, b"%d" % number, attempt_key=f"job_{number}/1")
    assert signer.client.health()["checkpoint_size"] == 6


def test_a_publisher_that_was_overtaken_proves_growth_again(kit, start_signer, tmp_path):
    signer, log = start_signer(), kit.Log()
    publish(kit, signer, tmp_path, log, b"one")
    log.append(b"row")
    small = (log.size, log.root, log.consistency(1))
    log.append(b"row")
    overtaken = []

    def consistency(old):
        if not overtaken:  # somebody else gets in between the client's question and its request
            overtaken.append(old)
            signer.client.checkpoint(small[0], small[1], lambda _old: small[2], [])
        return log.consistency(old)

    signer.client.checkpoint(log.size, log.root, consistency, [])
    assert overtaken == [1]
    assert signer.client.health()["checkpoint_size"] == 3


def test_many_publishers_at_once_are_served(kit, start_signer, tmp_path):
    signer, errors = start_signer(), []

    def work(number):
        try:
            folder = tmp_path / str(number)
            folder.mkdir()
            for turn in range(5):
                attest(kit, signer.client, folder, b"%d %d" % (number, turn), attempt_key=f"job_{number}/1")
        except Exception as error:  # noqa: BLE001 - handed to the main thread
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not errors
    assert signer.client.health()["attested"] == 40


def test_paths_of_any_length_work(kit, start_signer, tmp_path):
    deep = tmp_path
    while len(str(deep)) < 300:
        deep = deep / ("folder-" + "x" * 40)
    deep.mkdir(parents=True)
    signer = start_signer(data=deep / "vault", socket=deep / "signer.sock")
    attest(kit, signer.client, tmp_path, b"bytes")
    assert signer.stop() == 0


def test_a_second_signer_on_the_same_data_is_refused_and_the_first_goes_on(start_signer, tmp_path):
    first = start_signer()
    second = start_signer(socket=tmp_path / "signer.sock")
    assert second.process.wait(30) == 2
    assert b"signer.busy" in second.process.stderr.read()
    assert first.client.health()["attested"] == 0


def test_a_stale_socket_file_does_not_stop_it(start_signer, tmp_path):
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(tmp_path / "signer.sock"))
    assert start_signer().client.health()["attested"] == 0


def test_a_changed_record_stops_it_and_leaves_no_socket(kit, start_signer, tmp_path):
    signer = start_signer()
    attest(kit, signer.client, tmp_path, b"one")
    signer.stop()
    with (signer.data / "record.jsonl").open("ab") as record:
        record.write(b"{}\n")
    again = start_signer()
    assert again.process.wait(30) == 1
    assert b"signer.record_changed" in again.process.stderr.read()
    assert not again.socket.exists()


def test_a_folder_that_others_may_pass_through_stays_so_but_no_more(start_signer, tmp_path):
    data = tmp_path / "vault"
    data.mkdir(mode=0o755)
    start_signer(data=data)
    assert data.stat().st_mode & 0o777 == 0o711
    assert (data / "public").stat().st_mode & 0o777 == 0o755
    assert (data / "keys").stat().st_mode & 0o777 == 0o700


def test_it_gave_up_dumps_privileges_and_core_files(start_signer):
    signer = start_signer()
    status = Path(f"/proc/{signer.process.pid}/status").read_text()
    assert "NoNewPrivs:\t1" in status
    limit = resource.prlimit(signer.process.pid, resource.RLIMIT_CORE)
    assert limit == (0, 0)


@as_root
def test_started_by_root_it_has_no_network(start_signer):
    signer = start_signer()
    if signer.client.health()["network"]:
        pytest.skip("this container may not make network namespaces")
    pid = signer.process.pid
    assert os.readlink(f"/proc/{pid}/ns/net") != os.readlink("/proc/self/ns/net")
    devices = Path(f"/proc/{pid}/net/dev").read_text().splitlines()[2:]
    assert [line.split(":")[0].strip() for line in devices] == ["lo"]


@as_root
def test_it_becomes_the_user_it_is_given_below_folders_closed_to_that_user(kit, start_signer, tmp_path):
    assert tmp_path.stat().st_mode & 0o077 == 0  # pytest's folders are their owner's alone
    start_signer().stop()
    program = tmp_path / "program"
    program.mkdir(mode=0o700)
    signer = start_signer(f"--uid={NOBODY}", program=program)
    assert signer.client.health()["uid"] == NOBODY
    attest(kit, signer.client, tmp_path, b"bytes")
    signer.client.rotate()
    status = Path(f"/proc/{signer.process.pid}/status").read_text()
    assert f"Uid:\t{NOBODY}\t{NOBODY}\t{NOBODY}\t{NOBODY}" in status
    assert "Groups:\t \n" in status
    for path in signer.data.rglob("*"):
        assert path.stat().st_uid == NOBODY
    assert signer.stop() == 0


@as_root
def test_another_user_is_refused_by_the_kernels_word(start_signer, tmp_path):
    open_folder = Path(tmp_path.anchor) / "tmp" / f"buildfarm-signer-{os.getpid()}"
    open_folder.mkdir(mode=0o755)
    try:
        path = open_folder / "signer.sock"
        start_signer("--allow-uid=4242", socket=path)
        client = SignerClient(path)

        def is_refused():
            try:
                client.health()
            except Forbidden as error:
                return error.code == "signer.peer"
            return False

        assert as_user(NOBODY, is_refused) == 0
        assert as_user(4242, lambda: client.health()["attested"] == 0) == 0
    finally:
        for left in open_folder.iterdir():
            left.unlink()
        open_folder.rmdir()


def test_who_is_refused_before_it_could_ask_hears_why(tmp_path, monkeypatch):
    ended = threading.Event()

    def refuse():
        connection, _ = listener.accept()
        wire.send(connection, wire.failure(Forbidden("You may not.", code="signer.peer")))
        connection.close()
        ended.set()

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "signer.sock"))
        listener.listen()
        threading.Thread(target=refuse, daemon=True).start()
        send = wire.send

        def late(connection, value, descriptor=None):
            if "verb" in value:
                assert ended.wait(20)
            send(connection, value, descriptor)

        monkeypatch.setattr(wire, "send", late)
        with pytest.raises(Forbidden) as refused:
            SignerClient(tmp_path / "signer.sock").health()
    assert refused.value.code == "signer.peer"


@as_root
def test_without_other_users_the_socket_cannot_even_be_reached_by_them(start_signer):
    assert start_signer().socket.stat().st_mode & 0o077 == 0


GARBAGE = [
    b"",
    b"\x00",
    struct.pack("!I", 2**31) + b"x",
    framed(b"nope"),
    framed(b"[]"),
    framed(b"[" * 100_000),
    framed(b'{"verb": "sign"'),
    framed(b'{"verb": "sign"}'),
    framed(b'{"verb": "attest"}'),
    framed(b'{"verb": "attest", "facts": "{}"}'),
    framed(b'{"verb": "checkpoint"}'),
    framed(b'{"verb": "checkpoint", "request": "{}"}'),
    framed(b'{"verb": "checkpoint", "request": 7}'),
]


def test_garbage_on_the_socket_is_refused_and_the_signer_lives(start_signer):
    signer = start_signer()
    for message in GARBAGE:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(20)
            connection.connect(str(signer.socket))
            connection.sendall(message)
            connection.shutdown(socket.SHUT_WR)
            received = wire.receive(connection)
            assert received is not None or message == b"", message
            if received is not None:
                with pytest.raises((InvalidInput, ExternalFailure)):
                    wire.raise_failure(received[0])
        assert signer.client.health()["attested"] == 0


def test_there_is_no_verb_that_signs_given_bytes(start_signer):
    signer = start_signer()
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(20)
        connection.connect(str(signer.socket))
        for verb in ("sign", "Attest", "set", "note", "__class__", "", None, 1, ["attest"]):
            wire.send(connection, {"verb": verb, "payload": "AAAA"})
            answer, _ = wire.receive(connection)
            with pytest.raises(InvalidInput) as refused:
                wire.raise_failure(answer)
            assert refused.value.code == "signer.verb"


def test_descriptors_that_peers_send_do_not_pile_up(kit, start_signer, tmp_path):
    signer = start_signer()
    path = tmp_path / "file"
    path.write_bytes(b"bytes")
    folder = Path(f"/proc/{signer.process.pid}/fd")
    signer.client.health()
    before = len(list(folder.iterdir()))
    for _ in range(10):
        with socket.socket(socket.AF_UNIX) as connection, path.open("rb") as file:
            connection.settimeout(20)
            connection.connect(str(signer.socket))
            socket.send_fds(connection, [framed(b'{"verb": "health"}')], [file.fileno()] * 3)
            wire.receive(connection)
        with path.open("rb") as file, pytest.raises(InvalidInput):
            signer.client.attest(
                kit.make_facts(identity="https://evil.example/projects/demo/x"), file.fileno()
            )
    signer.client.health()
    assert len(list(folder.iterdir())) <= before + 2
