"""Each SCM's API against servers that take exactly what the vendors' descriptions allow."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st

from buildfarm import clock
from buildfarm.errors import Conflict, ExternalFailure, FarmError, InvalidInput
from buildfarm.scm.forges import address
from buildfarm.scm.forges.access import Opening, opened
from buildfarm.scm.forges.faults import fault
from buildfarm.scm.forges.github import _place
from buildfarm.scm.forges.port import Forge, Outcome, Status, WantedHook
from tests.scm.forge_server import ForgeServer

#: kind -> its description, the prefix that it does not tell, what the API's address ends with
SERVERS = {
    "github": ("github", "/api/v3", "/api/v3"),
    "gitlab": ("gitlab", "", ""),
    "gitea": ("gitea", "", "/api/v1"),
    "forgejo": ("gitea", "", "/api/v1"),
    "bitbucket-data-center": ("bitbucket-data-center", "", "/rest/api/latest"),
    "bitbucket-cloud": ("bitbucket-cloud", "", "/2.0"),
}
COMMIT = "c0ffee" + "0" * 34
URL = "https://farm.example/hooks/widget"
WANTED = WantedHook(URL, "first-secret-of-the-hook", "whsec_" + "A" * 43 + "=")
DONE = Status(
    COMMIT, "refs/heads/main", "buildfarm/widget/cp313-manylinux_2_28_x86_64", Outcome.FAILED,
    "src/rim.c:12:5: error: no such header", "https://farm.example/jobs/job_1",
    "src/rim.c:12:5: error: no such header",
)  # fmt: skip


@pytest.fixture(params=list(SERVERS))
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def serve() -> Iterator[Callable[[str], ForgeServer]]:
    with ExitStack() as stack:

        def start(kind: str) -> ForgeServer:
            description, prefix, _ = SERVERS[kind]
            server = ForgeServer(description, prefix)
            stack.callback(server.close)
            return server

        yield start


@pytest.fixture
def server(serve: Callable[[str], ForgeServer], kind: str) -> ForgeServer:
    return serve(kind)


@pytest.fixture
def open_forge() -> Iterator[Callable[..., Forge]]:
    with ExitStack() as stack:

        def open_one(server: ForgeServer, kind: str, **changes: Any) -> Forge:
            api = server.url + SERVERS[kind][2]
            what = Opening(kind, api, "acme/widget", None, server.token, "")
            return stack.enter_context(opened(replace(what, **changes)))

        yield open_one


@pytest.fixture
def forge(server: ForgeServer, kind: str, open_forge: Callable[..., Forge]) -> Forge:
    return open_forge(server, kind)


@pytest.mark.parametrize("outcome", list(Outcome))
def test_a_commit_is_marked_as_the_description_allows(
    forge: Forge, server: ForgeServer, outcome: Outcome
) -> None:
    forge.set_status(replace(DONE, outcome=outcome), None)
    assert server.wrong == []
    (call,) = server.calls
    assert COMMIT in call.path
    assert DONE.description == call.body["description"]
    assert DONE.url in {call.body.get("target_url"), call.body.get("url")}


def test_a_comment_is_written_once_then_changed_and_written_anew_when_somebody_removed_it(
    forge: Forge, server: ForgeServer, kind: str
) -> None:
    (request, *_) = forge.requests_of(COMMIT)
    first = forge.comment(request, "one", None)
    # As after a crash: nobody knows any more that it was written. (Data Center lists comments in activities,
    # which the server does not remember.)
    if kind != "bitbucket-data-center":
        assert forge.comment(request, "one", None) == first
    assert forge.comment(request, "two", first) == first
    comments = [one for key, one in server.made.items() if "omment" in key or "note" in key]
    assert len(comments) == 1
    assert "two" in {comments[0].get("body"), comments[0].get("text")} | {
        comments[0].get("content", {}).get("raw")
    }
    server.made.clear()
    assert forge.comment(request, "three", first) != first
    assert server.wrong == []


def test_a_hook_is_made_listed_changed_pinged_and_removed(forge: Forge, server: ForgeServer) -> None:
    made = forge.create_hook(WANTED)
    assert made.url == URL
    assert made.enabled
    assert forge.events <= made.events
    assert [hook.id for hook in forge.hooks()] == [made.id]
    changed = forge.edit_hook(made.id, replace(WANTED, url=URL + "-2"))
    assert (changed.id, changed.url) == (made.id, URL + "-2")
    if forge.pings:
        forge.ping_hook(made.id)
    else:
        with pytest.raises(Conflict, match="tests no hook"):
            forge.ping_hook(made.id)
    forge.delete_hook(made.id)
    assert server.made == {}
    assert server.wrong == []
    sent = [str(call.body) for call in server.calls if call.body]
    assert all(WANTED.secret in body for body in sent if "url" in body)


def test_an_owner_has_hooks_of_its_own(
    kind: str, server: ForgeServer, open_forge: Callable[..., Forge]
) -> None:
    owner = "acme/tools" if kind == "gitlab" else "acme"
    forge = open_forge(server, kind, repository=owner, is_owner=True)
    made = forge.create_hook(WANTED)
    assert [hook.id for hook in forge.hooks()] == [made.id]
    assert forge.edit_hook(made.id, replace(WANTED, url=URL + "-2")).url == URL + "-2"
    if forge.pings:
        forge.ping_hook(made.id)
    if forge.redelivers:
        for one in forge.failed_deliveries(made.id, datetime(2019, 1, 1, tzinfo=UTC)):
            forge.redeliver(made.id, one)
    forge.delete_hook(made.id)
    assert server.made == {}
    assert server.wrong == []
    kinds = {"orgs", "groups", "projects", "workspaces"}
    assert all(kinds & set(call.path.split("/")) and "repos" not in call.path for call in server.calls)


def test_failed_deliveries_are_found_and_sent_again(forge: Forge, server: ForgeServer) -> None:
    hook = forge.create_hook(WANTED)
    failed = forge.failed_deliveries(hook.id, datetime(2019, 1, 1, tzinfo=UTC))
    if not forge.redelivers:
        assert list(failed) == []
        return
    for one in failed:
        forge.redeliver(hook.id, one)
    assert server.wrong == []
    assert len([call for call in server.calls if call.path.endswith(("/attempts", "/resend"))]) == len(failed)


def test_a_delivery_that_was_taken_later_did_not_fail(serve, open_forge) -> None:
    server = serve("github")
    forge = open_forge(server, "github")
    tries = [
        {"id": 3, "guid": "a", "delivered_at": "2026-06-01T12:00:02Z", "status_code": 200, "status": "OK"},
        {"id": 2, "guid": "b", "delivered_at": "2026-06-01T12:00:01Z", "status_code": 502, "status": "Bad"},
        {"id": 1, "guid": "a", "delivered_at": "2026-06-01T12:00:00Z", "status_code": 502, "status": "Bad"},
        {"id": 0, "guid": "c", "delivered_at": "2026-05-01T12:00:00Z", "status_code": 502, "status": "Bad"},
    ]
    server.judge = lambda call: (200, {}, tries) if call.path.endswith("/deliveries") else None
    found = forge.failed_deliveries("7", datetime(2026, 6, 1, tzinfo=UTC))
    assert [(one.id, one.delivery_id) for one in found] == [("2", "b")]


def test_a_hook_that_the_scm_switched_off_says_so(serve, open_forge) -> None:
    off = {
        "id": 1,
        "url": URL,
        "alert_status": "temporarily_disabled",
        "disabled_until": "2026-06-01T12:01:00Z",
    }
    server = serve("gitlab")
    server.judge = lambda _call: (200, {}, [off])
    (hook,) = open_forge(server, "gitlab").hooks()
    assert not hook.enabled
    assert hook.trouble == "GitLab has switched it off until 2026-06-01T12:01:00Z."


def _pem() -> str:
    key = rsa.generate_private_key(65537, 2048)
    return key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()).decode()


def test_an_app_marks_commits_by_one_check_run_that_points_at_the_line(serve, open_forge) -> None:
    server = serve("github")
    server.token = "ghs_16C7e42F292c6912E7710c838347Ae178B4a"  # the description's example
    forge = open_forge(server, "github", app_id="12", token=_pem())
    known = forge.set_status(replace(DONE, outcome=Outcome.RUNNING, error=""), None)
    assert known is not None
    assert forge.set_status(DONE, known) == known
    assert server.wrong == []
    created, updated = server.of("checks/create")[0].body, server.of("checks/update")[0].body
    assert (created["status"], created["head_sha"]) == ("in_progress", COMMIT)
    assert (updated["status"], updated["conclusion"]) == ("completed", "failure")
    (note,) = updated["output"]["annotations"]
    assert (note["path"], note["start_line"], note["annotation_level"]) == ("src/rim.c", 12, "failure")
    assert server.of("apps/create-installation-access-token")


def test_an_app_looks_after_the_hook_of_the_organisation_it_is_installed_in(serve, open_forge) -> None:
    server = serve("github")
    server.token = "ghs_16C7e42F292c6912E7710c838347Ae178B4a"  # the description's example
    forge = open_forge(server, "github", repository="acme", is_owner=True, app_id="12", token=_pem())
    made = forge.create_hook(WANTED)
    assert [hook.id for hook in forge.hooks()] == [made.id]
    assert server.of("apps/get-org-installation")
    assert server.wrong == []


def test_gitlab_that_has_the_state_already_is_content(serve, open_forge) -> None:
    server = serve("gitlab")
    said = 'Cannot transition status via :run from :running (Reason(s): Status cannot transition via "run")'
    server.judge = lambda _call: (400, {}, {"message": said})
    open_forge(server, "gitlab").set_status(DONE, None)
    server.judge = lambda _call: (400, {}, {"message": "ref is missing"})
    with pytest.raises(Conflict, match="ref is missing"):
        open_forge(server, "gitlab").set_status(DONE, None)


@pytest.mark.parametrize(
    ("answer", "code", "kind_of_error"),
    [
        ((401, {}, {"message": "Bad credentials"}), "forge.token_refused", Conflict),
        ((403, {}, {"message": "Resource not accessible"}), "forge.not_allowed", Conflict),
        ((404, {}, {"message": "Not Found"}), "forge.not_found", Conflict),
        ((422, {}, {"message": "No commit found for SHA"}), "forge.refused", Conflict),
        ((429, {"Retry-After": "30"}, {"message": "slow down"}), "forge.rate_limited", ExternalFailure),
        ((502, {}, None), "forge.away", ExternalFailure),
        ((301, {"Location": "http://elsewhere.example/"}, None), "forge.moved", Conflict),
    ],
)
def test_each_bad_answer_is_an_error_that_says_what_to_do(
    forge: Forge, server: ForgeServer, answer, code: str, kind_of_error: type[FarmError]
) -> None:
    server.before = lambda _method, _path: answer
    with pytest.raises(kind_of_error) as caught:
        forge.set_status(DONE, None)
    assert caught.value.code == code
    assert server.token not in f"{caught.value} {caught.value.facts}"


def test_an_scm_that_is_not_there_is_away(kind: str, server: ForgeServer, open_forge) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}" + SERVERS[kind][2]
        forge = open_forge(server, kind, api_url=url)
        with pytest.raises(ExternalFailure) as caught:
            forge.set_status(DONE, None)
    assert caught.value.code == "forge.away"
    assert server.token not in str(caught.value)


def test_rate_limits_say_until_when() -> None:
    now = clock.now()
    reset = {
        "x-ratelimit-remaining": "0",
        "x-ratelimit-reset": str(int((now + timedelta(minutes=7)).timestamp())),
    }
    limited = fault(403, reset, "API rate limit exceeded for user ID 1.")
    assert limited.code == "forge.rate_limited"
    assert abs(limited.facts["until"] - now - timedelta(minutes=7)) < timedelta(seconds=2)
    secondary = fault(403, {"retry-after": "60"}, "You have exceeded a secondary rate limit")
    assert now <= secondary.facts["until"] - timedelta(seconds=60) <= clock.now()
    far = fault(429, {"retry-after": "9999999"}, "")
    assert far.facts["until"] - now < timedelta(hours=3)
    assert fault(403, {"x-ratelimit-remaining": "4999"}, "Must have admin rights").code == "forge.not_allowed"


@given(
    st.integers(400, 599),
    st.dictionaries(
        st.sampled_from(
            [
                "retry-after",
                "x-ratelimit-reset",
                "x-ratelimit-remaining",
                "ratelimit-reset",
                "ratelimit-remaining",
            ]
        ),
        st.text(max_size=20),
    ),
    st.text(),
)
def test_no_answer_breaks_the_reading_of_errors(status: int, headers: dict[str, str], said: str) -> None:
    found = fault(status, headers, said)
    assert isinstance(found, FarmError)
    assert "\n" not in str(found)


@pytest.mark.parametrize(
    ("kind", "url", "api", "repository"),
    [
        ("github", "https://github.com/acme/widget.git", "https://api.github.com", "acme/widget"),
        ("github", "ssh://git@ghe.example/acme/widget", "https://ghe.example/api/v3", "acme/widget"),
        ("gitlab", "https://gitlab.example:8443/a/b/widget.git", "https://gitlab.example:8443", "a/b/widget"),
        ("forgejo", "https://code.example/acme/widget.git", "https://code.example/api/v1", "acme/widget"),
        ("bitbucket-data-center", "https://bb.example/scm/acme/widget.git", "https://bb.example/rest/api/latest",
         "acme/widget"),
        ("bitbucket-data-center", "ssh://git@bb.example:7999/~mira/widget.git",
         "https://bb.example/rest/api/latest", "~mira/widget"),
        ("bitbucket-cloud", "https://bitbucket.org/acme/widget.git", "https://api.bitbucket.org/2.0",
         "acme/widget"),
        ("gitea", "http://127.0.0.1:3000/acme/widget", "http://127.0.0.1:3000/api/v1", "acme/widget"),
    ],
)  # fmt: skip
def test_the_api_is_found_from_the_sources_url(kind: str, url: str, api: str, repository: str) -> None:
    assert address.api_url(kind, url) == api
    assert address.repository_path(kind, url, api) == repository


def test_an_scm_below_a_path_is_told() -> None:
    api = address.checked_api_url("https://tools.example/gitlab/")
    assert (
        address.repository_path("gitlab", "https://tools.example/gitlab/acme/widget.git", api)
        == "acme/widget"
    )


@pytest.mark.parametrize(
    ("kind", "url", "owner"),
    [
        ("github", "https://ghe.example/acme", "acme"),
        ("github", "https://github.com/orgs/acme", "acme"),
        ("gitlab", "https://gitlab.example/groups/acme/tools", "acme/tools"),
        ("gitlab", "https://gitlab.example/acme/tools/", "acme/tools"),
        ("bitbucket-data-center", "https://bb.example/projects/ACME", "ACME"),
        ("forgejo", "https://codeberg.org/acme", "acme"),
    ],
)
def test_an_owner_is_known_by_its_pages_address(kind: str, url: str, owner: str) -> None:
    assert address.owner_path(kind, url, address.api_url(kind, url)) == owner


@pytest.mark.parametrize(
    "url",
    ["http://gitlab.example", "ftp://x", "https://u:p@x.example", "https://x.example?a=b", "https://", ""],
)
def test_a_token_is_not_sent_in_clear_or_anywhere_odd(url: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        address.checked_api_url(url)
    assert caught.value.code == "forge.api_url"


@pytest.mark.parametrize(
    ("line", "place"),
    [
        ("src/rim.c:12:5: error: x", ("src/rim.c", 12)),
        ("cp313: ./src/rim.c:3: error", ("src/rim.c", 3)),
        ('  File "setup.py", line 7, in <module>', ("setup.py", 7)),
        ("../outside.c:1: error", None),
        ("/etc/passwd.txt:1: error", None),
        ("error: no such thing", None),
    ],
)
def test_the_line_of_an_error_is_found_in_the_repository_alone(line: str, place: object) -> None:
    assert _place(line) == place
