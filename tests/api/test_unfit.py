"""What a database can neither look for nor keep is the caller's mistake, wherever in a request it stands."""

from __future__ import annotations

import pytest

from tests.conftest import House

MUCH = "9" * 25
#: PostgreSQL has no NUL in texts, SQLite has.
PATHS = [
    "/hooks/\0", "/api/v1/deliveries?search=%00", "/api/v1/deliveries?before=%00", "/api/v1/sources/\0",
    "/api/v1/connections/\0", "/api/v1/offered-repositories?url=%00", "/deliveries?search=%00", "/sources/\0",
    "/api/v1/builds/\0", "/api/v1/projects/\0", f"/api/v1/journal?after={MUCH}",
    f"/api/v1/sources/widget/pull-requests?before={MUCH}",
]  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
def test_a_nul_or_too_large_a_number_in_a_url_is_refused(each_house: House, path: str) -> None:
    client = each_house.client(each_house.token("admin"))
    answer = client.post(path, data=b"{}") if path.startswith("/hooks/") else client.get(path)
    assert answer.status_code in {200, 400, 401, 404, 422}, answer.text


def test_a_nul_or_too_large_a_number_elsewhere_is_refused(each_house: House) -> None:
    each_house.source("widget")
    client = each_house.client(each_house.token("admin"))
    asked = client.post("/api/v1/tokens", json={"name": "a\0b", "scopes": ["view"]})
    assert asked.status_code in {201, 400}
    approved = client.post(
        f"/api/v1/sources/widget/pull-requests/{MUCH}/approvals", json={"commit": "a" * 40}
    )
    assert (approved.status_code, approved.json["code"]) == (400, "request.unfit")
    assert each_house.client().post("/login", data={"username": "\0", "password": "x"}).status_code < 500
