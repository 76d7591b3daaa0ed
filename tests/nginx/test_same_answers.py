"""nginx says what web says: same status, headers and body for every request of the corpus."""

from __future__ import annotations

import pytest

from tests.front.conftest import get
from tests.front.corpus import CASES, SDIST, WHEEL, Case, fill
from tests.front.stage import basic
from tests.front.wire import Answer
from tests.nginx.conftest import LOCAL, Appliance

JSON, HTML = "application/vnd.pypi.simple.v1+json", "application/vnd.pypi.simple.v1+html"
PIP = f"Accept: {JSON}, {HTML}; q=0.1, text/html; q=0.01\r\nAccept-Encoding: gzip, deflate\r\n"
UV = f"Accept: {JSON}, {HTML};q=0.2, text/html;q=0.01\r\nAccept-Encoding: zstd, gzip, deflate\r\n"
PAGE, FILES = "/dev/simple/my-widget/", "/dev/files/my-widget/"
#: What both must agree on.
COMPARED = (
    "content-type", "content-length", "content-encoding", "content-range", "etag", "vary", "cache-control",
    "last-modified", "location", "www-authenticate", "allow", "x-pypi-last-serial", "x-content-type-options",
)  # fmt: skip

#: Path -> header lines. Those that nginx itself must answer.
OURS = [
    ("/dev/simple/", PIP),
    ("/dev/simple/", UV),
    (PAGE, PIP),
    (PAGE, UV),
    (PAGE, "Accept-Encoding: gzip\r\n"),
    (PAGE, "Accept: text/html\r\nAccept-Encoding: gzip, deflate\r\n"),
    (PAGE, "Accept: text/html\r\nAccept-Encoding: zstd, gzip\r\n"),
    (PAGE, f"Accept: {JSON}\r\nAccept-Encoding: zstd\r\n"),
    (PAGE, "Accept: */*\r\nAccept-Encoding: gzip\r\n"),
    (PAGE, PIP + "Range: bytes=0-10\r\n"),
    (PAGE, PIP + 'If-None-Match: "no"\r\n'),
    (PAGE, PIP + "If-None-Match: *\r\n"),
    (PAGE, UV + "If-None-Match: *\r\n"),
    ("/dev/pypi/my-widget/json", PIP),
    ("/dev/pypi/my-widget/json", UV + "If-None-Match: *\r\n"),
    ("/dev/namespaces", PIP),
    ("/dev/namespaces", PIP + "If-None-Match: *\r\n"),
    ("/dev/namespace/my", UV),
    ("/dev/rss/updates.xml", PIP),
    ("/dev/rss/project/my-widget/releases.xml", PIP),
    (FILES + WHEEL, ""),
    (FILES + WHEEL, PIP),
    (FILES + LOCAL, ""),
    (FILES + LOCAL.replace("+", "%2B"), ""),
    (FILES + LOCAL.replace("+", "%2b") + ".metadata", ""),
    (FILES + WHEEL + ".metadata", PIP),
    (FILES + WHEEL + ".provenance", ""),
    (FILES + WHEEL + ".sigstore.json", ""),
    (FILES + SDIST, "Accept-Encoding: gzip\r\n"),
    (FILES + SDIST, "Range: bytes=2-4\r\n"),
    (FILES + SDIST, "Range: bytes=2-\r\n"),
    (FILES + SDIST, "Range: bytes=-3\r\n"),
    (FILES + SDIST, "Range: bytes=0-999\r\n"),
    (FILES + SDIST, "Range: bytes=-999\r\n"),
    (FILES + SDIST, 'Range: bytes=2-4\r\nIf-Range: "other"\r\n'),
    (FILES + SDIST, "If-None-Match: *\r\n"),
]
#: Those that it may hand on.
OTHERS = [
    ("/dev/simple", PIP),
    ("/dev/simple/my-widget", PIP),
    ("/dev/simple/my-widget?a=b", PIP),
    ("/dev/simple/My.Widget/", PIP),
    ("/dev/simple/my%2Dwidget/", PIP),
    ("/dev/simple/my%2Fwidget/", PIP),
    ("/dev/simple/nothing/", PIP),
    ("/dev/simple/.root/", PIP),
    ("/dev/simple/my-widget.json/", PIP),
    ("/dev/simple/-/", PIP),
    ("/dev/simple//", PIP),
    ("/dev//simple/", PIP),
    ("/dev/simple/x/../my-widget/", PIP),
    ("/dev/simple/%2e%2e/simple/", PIP),
    ("/dev/simple/my-widget/;x", PIP),
    ("/dev/simple/" + "a" * 3000 + "/", PIP),
    (f"{PAGE}?format={JSON}", "Accept-Encoding: gzip\r\n"),
    (f"{PAGE}?format=image/png", "Accept-Encoding: gzip\r\n"),
    (PAGE, ""),
    (PAGE, f"Accept: {JSON}\r\n"),
    (PAGE, f"Accept: {HTML}\r\nAccept-Encoding: gzip\r\n"),
    (PAGE, f"Accept: {JSON};q=0, {HTML}\r\nAccept-Encoding: gzip\r\n"),
    (PAGE, "Accept: application/*\r\nAccept-Encoding: gzip\r\n"),
    (PAGE, "Accept: image/png\r\nAccept-Encoding: gzip\r\n"),
    (PAGE, "Accept: nonsense\r\nAccept-Encoding: gzip;q=0.5, br\r\n"),
    (PAGE, PIP.replace("gzip, deflate", "gzip;q=0, *")),
    (PAGE, PIP.replace("gzip, deflate", "identity;q=0")),
    (PAGE, PIP + "If-Modified-Since: Thu, 01 Jan 2037 00:00:00 GMT\r\n"),
    (PAGE, PIP + 'If-Match: "no"\r\n'),
    (PAGE, PIP + "If-Unmodified-Since: Thu, 01 Jan 1970 00:00:00 GMT\r\n"),
    ("/dev/pypi/my-widget/2.0/json", PIP),
    ("/dev/namespaces", ""),
    ("/dev/namespaces/", PIP),
    ("/dev/namespace/", PIP),
    ("/dev/namespace/My", PIP),
    ("/dev/namespace/nothing", PIP),
    ("/dev/pypi/my-widget/json", ""),
    ("/dev/pypi/My_Widget/json", PIP),
    ("/dev/rss/other.xml", PIP),
    (FILES + "nothing-1.0-py3-none-any.whl", ""),
    (FILES + WHEEL.replace("_", "%5F"), ""),
    (FILES + "..%2F..%2Fsimple%2F.root.json.gz", ""),
    ("/dev/files%2Fmy-widget/" + WHEEL, ""),
    ("/dev/files/my-widget", ""),
    ("/dev/files/my-widget/", ""),
    ("/dev/files/My-Widget/" + WHEEL, ""),
    (FILES + SDIST, "Range: bytes=99-\r\n"),
    (FILES + SDIST, "Range: bytes=-0\r\n"),
    (FILES + SDIST, "Range: bytes=4-2\r\n"),
    (FILES + SDIST, "Range: bytes=0-1,3-4\r\n"),
    (FILES + SDIST, "Range: lines=0-1\r\n"),
    (FILES + SDIST, "Range: bytes=99999999999999999999-\r\n"),
    (FILES + SDIST, "Range: bytes=2-4\r\nIf-Range: Thu, 01 Jan 2037 00:00:00 GMT\r\n"),
    (FILES + SDIST, 'Range: bytes=2-4\r\nIf-Range: W/"x"\r\n'),
    ("/nothing/simple/", PIP),
    ("/Dev/simple/", PIP),
    ("/healthz", ""),
    ("/favicon.ico", ""),
]


def seen(answer: Answer, method: str) -> tuple[object, ...]:
    names = list(COMPARED)
    if answer.status == 200:
        # nginx leaves it away where the status itself says that there are ranges.
        names.append("accept-ranges")
    if answer.status == 200 and "x-pypi-last-serial" in answer.headers:
        # The policy of pages is their own; what web gives to all that it says is no part of this.
        names.append("content-security-policy")
    return answer.status, method, {name: answer.headers.get(name) for name in names}, answer.body


def is_webs(answer: Answer) -> bool:
    return "x-request-id" in answer.headers


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.line}: {case.name}")
def test_the_corpus_is_answered_as_by_web(shared: Appliance, case: Case) -> None:
    request = fill(case, shared.facts)
    ours, web = shared.ask(request, head=case.is_head), shared.ask_web(request, head=case.is_head)
    if b"%00" in request:  # nginx takes no NUL, whatever is configured
        assert (ours.status, ours.body) == (400, b"This is no request that can be understood.\n")
        return
    assert ours.status == case.status
    method = "HEAD" if case.is_head else "GET"
    assert seen(ours, method) == seen(web, method)


def test_every_request_has_one_answer_whoever_gives_it(shared: Appliance) -> None:
    token = shared.house.token("read:dev")
    wrong = []
    for path, lines in OURS + OTHERS:
        for method in ("GET", "HEAD"):
            request = get(path, basic(token), lines, method=method)
            web = shared.ask_web(request, head=method == "HEAD")
            ours = shared.ask(request, head=method == "HEAD")
            asked = f"{method} {path} {lines!r}"
            if seen(web, method) != seen(ours, method):
                wrong.append(f"{asked}\n  web   {seen(web, method)}\n  nginx {seen(ours, method)}")
            by_web = (path, lines) in OTHERS or (method == "HEAD" and "Range" in lines and FILES in path)
            if is_webs(ours) and not by_web:
                wrong.append(f"{asked}\n  was handed on, {ours.status}")
    assert not wrong, "\n".join(wrong)


def test_a_validator_that_was_given_is_known_again(shared: Appliance) -> None:
    token = shared.house.token("read:dev")
    for path, lines in OURS:
        first = shared.ask(get(path, basic(token), lines))
        if first.status == 200 and "If-None-Match" not in lines:
            again = get(path, basic(token), lines, f'If-None-Match: W/{first.headers["etag"]}, "x"\r\n')
            ours, web = shared.ask(again), shared.ask_web(again)
            assert (ours.status, seen(ours, "GET")) == (304, seen(web, "GET"))


def test_refusals_are_the_same_and_cost_no_connection(shared: Appliance) -> None:
    stranger = shared.house.token("read:stable")
    odd = [f"Authorization: {value}\r\n" for value in ("Basic ==", "Digest x", "")]
    for lines in ("", basic("nonsense"), basic("bft_nonsense"), basic(stranger), basic("", "somebody"), *odd):
        for path in (PAGE, FILES + WHEEL, "/dev/simple/nothing/", "/nothing/simple/"):
            request = get(path, lines, PIP)
            web = shared.ask_web(request)
            wire = shared.wire()
            ours = [wire.send(request).answer() for _ in range(2)]
            assert web.status in {401, 403}
            assert [seen(one, "GET") for one in ours] == [seen(web, "GET")] * 2
            assert not any(map(is_webs, ours))


def test_a_refused_upload_keeps_its_sentence_in_the_status_line(shared: Appliance) -> None:
    token = shared.house.token("upload:dev")
    body = b'--x\r\nContent-Disposition: form-data; name=":action"\r\n\r\nnonsense\r\n--x--\r\n'
    lines = ("Content-Type: multipart/form-data; boundary=x\r\n", f"Content-Length: {len(body)}\r\n")
    request = get("/dev/legacy/", basic(token), *lines, method="POST") + body
    ours, web = shared.ask(request), shared.ask_web(request)
    assert 400 <= web.status < 500
    assert (ours.status, ours.reason, ours.body) == (web.status, web.reason, web.body)
    assert " " in ours.reason


def test_what_is_no_request_is_told_so_in_a_sentence(shared: Appliance) -> None:
    for request, status in (
        (b"nonsense\r\n\r\n", 400),
        (b"GET /dev/simple/../../.. HTTP/1.1\r\nHost: farm\r\n\r\n", 400),
        (get("/dev/simple/", "Host: other\r\n"), 400),
        (get("/dev/simple/", "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n"), 400),
        (get("/" + "a" * 9000), 414),
        (get("/dev/simple/", f"X: {'a' * 9000}\r\n"), 400),
    ):
        answer = shared.ask(request)
        assert (answer.status, answer.body.count(b"\n"), b"<" in answer.body) == (status, 1, False), request


def test_verdicts_are_not_told_to_clients(shared: Appliance) -> None:
    token = shared.house.token("read:dev")
    for path in ("/_verdict/dev", "/_verdict/new/dev", "/_verdict/known/dev"):
        answer = shared.ask(get(path, basic(token)))
        assert (answer.status, answer.headers.get("x-verdict")) == (404, None)


def test_other_methods_are_webs(shared: Appliance) -> None:
    token = shared.house.token("read:dev")
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        for path in (PAGE, FILES + WHEEL):
            request = get(path, basic(token), "Content-Length: 0\r\n", method=method)
            ours, web = shared.ask(request), shared.ask_web(request)
            assert seen(ours, method) == seen(web, method)
            assert ours.status == 405


def test_files_of_a_stage_are_asked_for_anew(shared: Appliance) -> None:
    tree = shared.house.tree
    (link,) = (tree.root / "dev" / "files" / "my-widget").glob(WHEEL)
    tree.link(f"pr-widget-1/files/my-widget/{WHEEL}", link.resolve())
    token = shared.house.token("read:dev", "build")
    request = get(f"/pr-widget-1/files/my-widget/{WHEEL}", basic(token))
    ours, web = shared.ask(request), shared.ask_web(request)
    assert seen(ours, "GET") == seen(web, "GET")
    assert (ours.status, is_webs(ours)) == (200, False)
    assert ours.headers["cache-control"] == "max-age=0, must-revalidate, private"
