"""Administration on pages: accounts, roles and content."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from flask import Flask

from tests.webapp.people import ApiClient, Browser, assert_api_error
from tests.webapp.test_credentials import again, is_logged_in
from tests.webapp.test_live_access import revoked
from webapp.extensions import db
from webapp.models import ADMIN, User

Account = Callable[..., int]
LogIn = Callable[..., Browser]
Obtain = Callable[..., ApiClient]


def press(boss: Browser, user_id: int, action: str) -> int:
    token = boss.csrf_token("/admin")
    data = {"csrf_token": token, "action": action}
    return boss.client.post(f"/admin/{user_id}", data=data).status_code


@pytest.mark.parametrize("path", ["/admin", "/admin/content"])
def test_administration_is_for_administrators(app: Flask, browser: LogIn, path: str) -> None:
    assert Browser(app).get(path).location == f"/login?next={path}"
    ada = browser("ada")
    assert ada.get(path).status_code == 403
    assert "Admin<" not in ada.get("/").text
    boss = browser("boss", ADMIN)
    assert boss.get(path).status_code == 200
    assert "Admin<" in boss.get("/").text


def test_accounts_are_listed_and_found_by_name(browser: LogIn, account: Account) -> None:
    for name in ("ada", "grace"):
        account(name)
    boss = browser("boss", ADMIN)

    everybody, found = boss.get("/admin").text, boss.get("/admin?q=gr").text

    assert "Make ada an administrator" in everybody
    assert "This is you." in everybody
    assert "Make grace an administrator" in found
    assert "Make ada" not in found
    assert "nobody of that name" in boss.get("/admin?q=%25").text


def test_account_is_disabled_enabled_promoted_and_logged_out(app: Flask, browser: LogIn) -> None:
    ada, boss = browser("ada"), browser("boss", ADMIN)

    assert press(boss, 1, "disable") == 302
    assert not is_logged_in(ada.client)
    assert press(boss, 1, "enable") == 302
    ada = again(app)
    assert press(boss, 1, ADMIN) == 302
    with app.app_context():
        assert db.session.get_one(User, 1).role == ADMIN
    assert ada.get("/admin").status_code == 200
    assert press(boss, 1, "logout") == 302
    assert not is_logged_in(ada.client)
    assert revoked(app) == ["1"] * 3


def test_account_errors(browser: LogIn) -> None:
    boss = browser("boss", ADMIN)

    assert press(boss, 1, "disable") == 409
    assert press(boss, 99, "disable") == 404
    browser("ada")
    assert press(boss, 2, "king") == 400


def test_api_changes_roles_and_logs_out(api: Obtain) -> None:
    ada, boss = api("ada"), api("boss", ADMIN)
    path = f"/admin/users/{ada.user_id}"

    assert boss.request("PATCH", path, json={"role": ADMIN}).json["role"] == ADMIN
    assert_api_error(boss.request("PATCH", path, json={"role": "king"}), 422)
    assert "at least one" in assert_api_error(boss.request("PATCH", path, json={}), 422)
    assert boss.request("DELETE", f"{path}/sessions").status_code == 204
    assert_api_error(ada.request("GET", "/me"), 401)
    assert_api_error(boss.request("PATCH", "/admin/users/2", json={"role": "user"}), 409)


def test_content_is_shown_and_comments_of_others_can_be_deleted(
    browser: LogIn, api: Obtain
) -> None:
    ada = api("ada")
    post_id = ada.post("A post of hers")
    ada.request("POST", f"/posts/{post_id}/comments", json={"body": "Buy cheap ships"})
    boss = browser("boss", ADMIN)

    page = boss.get("/admin/content").text
    deleted = boss.submit(f"/post/{post_id}/comments/1/delete", form_on="/admin/content")

    assert "A post of hers" in page
    assert "Buy cheap ships" in page
    assert deleted.location == f"/post/{post_id}#comments-heading"
    assert ada.request("GET", f"/posts/{post_id}").json["comment_count"] == 0


def test_comment_is_deleted_by_its_author_and_not_by_others(browser: LogIn, api: Obtain) -> None:
    ada, grace = api("ada"), api("grace")
    path = f"/posts/{ada.post()}/comments"
    comment = grace.request("POST", path, json={"body": "Mine."}).json

    assert_api_error(ada.request("DELETE", f"{path}/{comment['id']}"), 403)
    linus = browser("linus")
    assert "Delete this comment" not in linus.get("/post/1").text.partition("<template")[0]
    refused = linus.submit("/post/1/comments/1/delete", form_on="/post/1")
    assert refused.status_code == 403
    assert_api_error(grace.request("DELETE", f"/posts/{ada.post()}/comments/{comment['id']}"), 404)
    assert grace.request("DELETE", f"{path}/{comment['id']}").status_code == 204
    assert grace.request("GET", path).json["comments"] == []
