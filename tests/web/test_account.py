"""Log-in, log-out, tokens: who gets in, and how far."""

import re

import farm_seed
import pytest

from buildfarm.config import Settings
from webapp.context import SESSION_COOKIE
from webapp.pages.shell import own_path
from webapp.pages.throttle import Throttle


def csrf(client, page: str = "/account") -> str:
    return re.findall(r'name="csrf" value="([^"]+)"', client.get(page).text)[0]


def log_in(client, password=farm_seed.PASSWORD, name=farm_seed.MEMBER, **more):
    return client.post("/login", data={"username": name, "password": password, **more})


def test_the_session_cookie_is_out_of_reach_of_scripts_and_other_sites(house):
    cookie = log_in(house.client()).headers["Set-Cookie"]
    assert cookie.startswith(f"{SESSION_COOKIE}=")
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    assert "Secure" not in cookie


def test_behind_https_the_session_cookie_is_secure(house):
    object.__setattr__(
        house.farm, "settings", house.farm.settings.model_copy(update={"public_url": "https://f.example"})
    )
    assert isinstance(house.farm.settings, Settings)
    assert "Secure" in log_in(house.client()).headers["Set-Cookie"]


def test_a_wrong_name_and_a_wrong_password_are_answered_alike(house):
    bad = log_in(house.client(), password="wrong")
    unknown = log_in(house.client(), name="nobody", password="wrong")
    assert bad.status_code == unknown.status_code == 401
    assert bad.text.replace(farm_seed.MEMBER, "") == unknown.text.replace("nobody", "")
    assert "Set-Cookie" not in bad.headers


def test_after_ten_wrong_passwords_even_the_right_one_waits(house):
    for _ in range(10):
        assert log_in(house.client(), password="wrong").status_code == 401
    assert log_in(house.client()).status_code == 429
    assert log_in(house.client(), name=farm_seed.ADMIN).status_code == 303


def test_the_throttle_forgets_with_time_and_after_a_success():
    now = [0.0]
    throttle = Throttle(2, 60, monotonic=lambda: now[0])
    throttle.failed("a", "x")
    now[0] = 30
    throttle.failed("a", "x")
    assert throttle.wait_s("a", "x") == 31
    assert throttle.wait_s("a", "y") == throttle.wait_s("b", "x") == 0
    now[0] = 60.5
    assert throttle.wait_s("a", "x") == 0
    throttle.failed("a", "x")
    throttle.forget("a", "x")
    throttle.failed("a", "x")
    assert throttle.wait_s("a", "x") == 0


@pytest.mark.parametrize(
    "target",
    [
        "https://evil.example/",
        "//evil.example",
        "/\\evil.example",
        "evil",
        "",
        "javascript:x",
        "/a\nb",
        "/\t/e",
    ],
)
def test_after_the_log_in_nobody_is_sent_elsewhere(house, target):
    assert log_in(house.client(), next=target).location == "/"
    assert own_path(target) == "/"


def test_after_the_log_in_one_is_where_one_wanted_to_be(house):
    assert log_in(house.client(), next="/builds?state=failed").location == "/builds?state=failed"


def test_a_foreign_page_cannot_log_somebody_in(house):
    form = {"username": farm_seed.MEMBER, "password": farm_seed.PASSWORD}
    answer = house.client().post("/login", data=form, headers={"Sec-Fetch-Site": "cross-site"})
    assert answer.status_code == 403


def test_logging_out_ends_the_session_itself(house):
    client = house.client(farm_seed.MEMBER)
    stolen = client.get_cookie(SESSION_COOKIE).value
    assert client.post("/logout", data={"csrf": csrf(client)}).location == "/login"
    thief = house.client()
    thief.set_cookie(SESSION_COOKIE, stolen)
    assert thief.get("/account").status_code == 302


def test_logging_out_needs_the_form_token(house):
    client = house.client(farm_seed.MEMBER)
    assert client.post("/logout").status_code == 403
    assert client.get("/account").status_code == 200


def test_a_token_is_shown_once_works_and_can_be_revoked(house):
    client = house.client(farm_seed.MEMBER)
    form = {"csrf": csrf(client), "name": "build box", "scope": ["read:dev", "view"], "days": "30"}
    page = client.post("/account/tokens", data=form).text
    (value,) = set(re.findall(r"bft_\w{38}", page))
    assert f"password {value}" in page
    again = client.get("/account").text
    assert value not in again
    assert "build box" in again
    program = house.app.test_client()
    headers = {"Authorization": f"Bearer {value}"}
    assert program.get("/api/v1/builds", headers=headers).status_code == 200
    (token,) = re.findall(r"/account/tokens/(tok_\w+)/revoke", again)
    assert client.post(f"/account/tokens/{token}/revoke", data={"csrf": csrf(client)}).status_code == 303
    assert "build box" not in client.get("/account").text


@pytest.mark.parametrize("scope", ["admin", "build", "upload:dev", "promote:staging", "builder:dev"])
def test_nobody_gives_a_token_more_than_they_may(house, scope):
    client = house.client(farm_seed.MEMBER)
    assert f'value="{scope}"' not in client.get("/account").text
    form = {"csrf": csrf(client), "name": "more", "scope": [scope]}
    assert client.post("/account/tokens", data=form).status_code == 403


def test_nobody_revokes_the_token_of_somebody_else(house):
    admin, member = house.client(farm_seed.ADMIN), house.client(farm_seed.MEMBER)
    admin.post("/account/tokens", data={"csrf": csrf(admin), "name": "mine", "scope": ["admin"]})
    (token,) = re.findall(r"/account/tokens/(tok_\w+)/revoke", admin.get("/account").text)
    assert member.post(f"/account/tokens/{token}/revoke", data={"csrf": csrf(member)}).status_code == 404
    assert "mine" not in member.get("/account").text


def test_the_theme_is_remembered_and_drawn_by_the_server(house):
    client = house.client()
    assert "data-theme" not in client.get("/login").text
    assert (
        client.post("/theme", data={"theme": "dark", "back": "/login?next=/builds"}).location
        == "/login?next=/builds"
    )
    assert '<html lang="en" data-theme="dark">' in client.get("/login").text
    client.post("/theme", data={"theme": "system", "back": "//evil.example"})
    assert "data-theme" not in client.get("/login").text
    assert client.post("/theme", data={"theme": '"><script>'}).status_code == 400
