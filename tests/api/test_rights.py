"""Every route as anonymous, as somebody who may only look, and as an administrator."""

import pytest

SOURCE = {"name": "gadget", "url": "https://git.example/acme/gadget.git"}
OWNER = {"name": "acme", "url": "https://ghe.example/acme", "scm": "github"}
IMAGES = {"images": []}
LIFT = {"channel": "mirror", "project": "widget", "version": "1.0", "rule": "age", "reason": "a fix"}
WAVE = {"trigger": "project", "subject": "widget"}
RULE = {"channel": "dev", "patterns": ["num*"]}
#: method, path, body, status for who may look, status for an administrator
ROUTES = [
    ("GET", "/sources", None, 200, 200),
    ("POST", "/sources", SOURCE, 403, 201),
    ("GET", "/sources/widget", None, 200, 200),
    ("GET", "/sources/widget/why?of=main", None, 200, 200),
    ("DELETE", "/sources/widget", None, 403, 200),
    ("POST", "/sources/widget/projects", {"projects": ["widget-extra"]}, 403, 200),
    ("PUT", "/sources/widget/reads", {"channels": ["dev"]}, 403, 200),
    ("PUT", "/sources/widget/follows", {"branches": ["main"]}, 403, 200),
    ("PUT", "/sources/widget/url", {"url": "https://git.example/acme/moved.git"}, 403, 200),
    ("PUT", "/sources/widget/limit", {"jobs_max": 2}, 403, 200),
    ("POST", "/sources/widget/secrets", {}, 403, 201),
    # The kind generic signs with a key of the farm's.
    ("PUT", "/sources/widget/secrets", {"secret": "made-by-the-scm-itself"}, 403, 400),
    ("GET", "/sources/widget/hook", None, 403, 200),
    ("PUT", "/sources/widget/credential", {}, 403, 400),
    ("DELETE", "/sources/widget/credential", None, 403, 404),
    # A source of the kind generic has no API.
    ("PUT", "/sources/widget/scm-token", {"token": "t0ken"}, 403, 400),
    ("DELETE", "/sources/widget/scm-token", None, 403, 404),
    ("GET", "/sources/widget/scm-hook", None, 403, 404),
    ("POST", "/sources/widget/scm-hook", {"verb": "check"}, 403, 404),
    ("GET", "/sources/widget/pull-requests", None, 200, 200),
    ("POST", "/sources/widget/pull-requests/18/approvals", {"commit": "a" * 40}, 403, 404),
    ("GET", "/connections", None, 200, 200),
    ("POST", "/connections", OWNER, 403, 201),
    ("GET", "/connections/acme", None, 404, 404),
    ("DELETE", "/connections/acme", None, 403, 404),
    ("GET", "/offered-repositories", None, 200, 200),
    ("POST", "/offered-repositories/ofr_nothing/accept", {}, 403, 404),
    ("POST", "/offered-repositories/ofr_nothing/dismiss", {}, 403, 404),
    ("GET", "/deliveries", None, 200, 200),
    ("GET", "/deliveries/{delivery}", None, 200, 200),
    ("POST", "/deliveries/dlv_nothing/replay", {}, 403, 404),
    ("GET", "/builds", None, 200, 200),
    ("POST", "/builds", {"source": "widget", "ref": "main"}, 403, 201),
    ("GET", "/builds/{build}", None, 200, 200),
    ("POST", "/builds/bld_nothing/compare", {}, 403, 404),
    ("POST", "/builds/bld_nothing/rebuild", {}, 403, 404),
    ("POST", "/builds/{build}/cancel", {}, 403, 200),
    ("GET", "/jobs/{job}", None, 200, 200),
    ("GET", "/jobs/{job}/log", None, 200, 200),
    ("GET", "/jobs/{job}/attempts/1", None, 403, 200),
    ("GET", "/jobs/{job}/attempts/1/source", None, 403, 404),
    ("GET", "/jobs/{job}/attempts/1/index/simple/setuptools/", None, 403, 200),
    ("GET", "/jobs/{job}/attempts/1/index/files/widget/x-1.whl", None, 403, 404),
    # This farm has neither a crates registry nor a Go module proxy.
    ("GET", "/jobs/{job}/attempts/1/index/crates/index/config.json", None, 403, 403),
    ("GET", "/jobs/{job}/attempts/1/index/crates/files/serde/1.0.0/download", None, 403, 403),
    ("GET", "/jobs/{job}/attempts/1/index/go/example.org/a/@v/list", None, 403, 403),
    ("GET", "/projects", None, 200, 200),
    ("GET", "/projects/widget", None, 200, 200),
    ("POST", "/projects", {"name": "gadget"}, 403, 201),
    ("PUT", "/projects/widget/status", {"status": "archived"}, 403, 200),
    ("GET", "/namespaces", None, 200, 200),
    ("POST", "/namespaces", {"prefix": "acme"}, 403, 201),
    ("GET", "/namespaces/acme", None, 404, 404),
    ("DELETE", "/namespaces/acme", None, 403, 404),
    ("GET", "/releases/widget/1.0", None, 200, 200),
    ("POST", "/releases/widget/1.0/yank", {"reason": "broken"}, 403, 200),
    ("POST", "/releases/widget/1.0/unyank", {}, 403, 200),
    ("POST", "/releases/widget/1.0/withdraw", {"reason": "leaked"}, 403, 200),
    ("GET", "/waves", None, 200, 200),
    ("GET", "/waves/offers", None, 200, 200),
    ("POST", "/waves/preview", WAVE, 200, 200),
    ("POST", "/waves", WAVE, 403, 400),
    ("GET", "/waves/wave-9", None, 404, 404),
    ("POST", "/waves/wave-9/cancel", None, 403, 404),
    ("POST", "/waves/wave-9/promote", {}, 403, 404),
    ("POST", "/waves/wave-9/undo", None, 403, 404),
    ("GET", "/channels", None, 200, 200),
    ("GET", "/channels/dev/policy", None, 200, 200),
    ("PUT", "/channels/dev/policy", {"toml": ""}, 403, 409),
    ("POST", "/channels/dev/policy/check", {"toml": ""}, 200, 200),
    ("POST", "/channels/dev/prefetch", {"text": ""}, 403, 409),
    ("POST", "/channels/dev/exports", {}, 403, 409),
    ("POST", "/channels/dev/imports", None, 403, 400),
    ("GET", "/mirror/exports/1", None, 403, 404),
    ("GET", "/mirror/exports/99999999999999999999/manifest", None, 403, 404),
    ("PUT", "/mirror/projects/unseen/files/unseen-1.0.tar.gz", None, 403, 404),
    ("GET", "/mirror/projects", None, 200, 200),
    ("GET", "/mirror/projects/unseen", None, 404, 404),
    ("POST", "/mirror/projects/widget/refresh", None, 403, 409),
    ("POST", "/mirror/projects/unseen/evict", None, 403, 404),
    ("GET", "/mirror/upstreams", None, 200, 200),
    ("GET", "/mirror/events", None, 200, 200),
    ("POST", "/channels/dev/supplements", {"project": "x", "version": "1"}, 403, 409),
    ("GET", "/wheel-rules", None, 200, 200),
    ("PUT", "/wheel-rules/science", RULE, 403, 409),
    ("GET", "/wheel-rules/science", None, 404, 404),
    ("POST", "/wheel-rules/check", RULE, 409, 409),
    ("DELETE", "/wheel-rules/science", None, 403, 404),
    ("GET", "/lifts", None, 200, 200),
    ("POST", "/lifts", LIFT, 403, 201),
    ("DELETE", "/lifts/lft_nothing", None, 403, 404),
    ("GET", "/advisories", None, 200, 200),
    ("PUT", "/advisories", None, 403, 400),
    ("POST", "/channels", {"name": "canary"}, 403, 201),
    ("GET", "/channels/dev", None, 200, 200),
    ("PATCH", "/channels/dev", {"public": True}, 403, 200),
    ("GET", "/promotions", None, 200, 200),
    (
        "POST",
        "/promotions",
        {"project": "widget", "version": "1.0", "from": "dev", "to": "staging"},
        403,
        201,
    ),
    ("POST", "/promotions/prm_nothing/undo", {}, 403, 404),
    ("GET", "/tokens", None, 403, 200),
    ("POST", "/tokens", {"name": "ci", "scopes": ["build"]}, 403, 201),
    ("DELETE", "/tokens/tok_nothing", None, 403, 404),
    ("GET", "/users", None, 403, 200),
    ("POST", "/users", {"name": "ada", "password": "a long password"}, 403, 201),
    ("GET", "/builders", None, 200, 200),
    ("POST", "/builders", {"name": "builder-two", "tiers": ["dev"]}, 403, 201),
    ("POST", "/builders/join", {"machine": "x86_64"}, 403, 403),  # a builder's own token alone
    ("PUT", "/builders/builder-one/drain", {}, 403, 200),
    ("DELETE", "/builders/builder-one/drain", None, 403, 200),
    ("GET", "/queue", None, 200, 200),
    ("PUT", "/queue/pause", {"reason": "new disks"}, 403, 200),
    ("DELETE", "/queue/pause", None, 403, 200),
    ("GET", "/images", None, 200, 200),
    ("PUT", "/images", IMAGES, 403, 200),
    ("PUT", "/images/sha256:0/archive", None, 403, 404),
    ("DELETE", "/images/none", None, 403, 404),
    # No signer runs here: what it has to be asked for is not there.
    ("GET", "/keys", None, 403, 404),
    ("GET", "/keys/signer", None, 403, 503),
    ("GET", "/keys/<key_id>", None, 403, 404),
    ("POST", "/keys/rotate", {}, 403, 503),
    ("GET", "/journal", None, 403, 200),
    ("GET", "/journal/checkpoint", None, 200, 200),
]
IDS = [f"{method} {path}" for method, path, *_ in ROUTES]


@pytest.fixture(scope="module")
def unchanged(template):
    """One farm for all requests that must change nothing, and a look at its journal afterwards."""
    before = template.client(template.admin).get("/api/v1/journal?limit=200").json
    yield template
    assert template.client(template.admin).get("/api/v1/journal?limit=200").json == before


def ask(house, token: str, method: str, path: str, body: object):
    path = path.format(build=house.build_id, job=house.job_id, delivery=house.delivery_id)
    return house.client(token).open(f"/api/v1{path}", method=method, json=body)


@pytest.mark.parametrize(("method", "path", "body", "_look", "_admin"), ROUTES, ids=IDS)
def test_without_a_credential_nothing_is_told(unchanged, method, path, body, _look, _admin):
    answer = ask(unchanged, "", method, path, body)
    assert answer.status_code == 401
    assert answer.content_type == "application/problem+json"
    assert answer.json["code"] == "access.unauthenticated"


@pytest.mark.parametrize(("method", "path", "body", "look", "_admin"), ROUTES, ids=IDS)
def test_who_may_look_changes_nothing(unchanged, method, path, body, look, _admin):
    answer = ask(unchanged, unchanged.viewer, method, path, body)
    assert answer.status_code == look, answer.text


@pytest.mark.parametrize(("method", "path", "body", "_look", "admin"), ROUTES, ids=IDS)
def test_an_administrator_may_do_everything(full, method, path, body, _look, admin):
    answer = ask(full, full.admin, method, path, body)
    assert answer.status_code == admin, answer.text


def test_the_table_above_knows_every_route(full):
    known = {(method, path.format(build="<>", job="<>", delivery="<>")) for method, path, *_ in ROUTES}
    served = set()
    for rule in full.app.url_map.iter_rules():
        if str(rule).startswith("/api/v1/"):
            for method in rule.methods - {"HEAD", "OPTIONS"}:
                served.add((method, str(rule).removeprefix("/api/v1")))
    assert len(served) == len(known) + 1  # whoami, which answers everybody


def test_anonymous_is_told_that_it_is(full):
    assert full.client().get("/api/v1/whoami").json == {"id": None, "name": "anonymous", "scopes": []}


def test_a_token_is_told_what_it_may_do(full):
    assert full.client(full.promoter).get("/api/v1/whoami").json["scopes"] == ["promote:staging", "view"]


def test_a_promoter_promotes_to_its_channel_alone(full):
    client = full.client(full.promoter)
    step = {"project": "widget", "version": "1.0", "from": "dev"}
    assert client.post("/api/v1/promotions", json=step | {"to": "stable"}).status_code == 403
    assert client.post("/api/v1/promotions", json=step | {"to": "staging"}).status_code == 201


def test_yanking_needs_every_channel_that_lists_the_release(full):
    # The release is in dev; this token may act on staging alone.
    answer = full.client(full.promoter).post("/api/v1/releases/widget/1.0/yank", json={})
    assert answer.status_code == 403
    assert "promote:dev" in answer.json["detail"]


def test_a_browser_cookie_alone_writes_nothing(full):
    client = full.client()
    client.set_cookie("buildfarm_session", "whatever")
    answer = client.post("/api/v1/builds", json={"source": "widget", "ref": "main"})
    assert (answer.status_code, answer.json["code"]) == (403, "api.no_authorization")
