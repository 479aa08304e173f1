"""`create_app()`: what becomes of the settings, and what a bad one looks like."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from flask import Flask, current_app

from config import SettingsError
from tests.webapp.people import SECRET, Browser, make_app
from webapp import create_app

ROOT = Path(__file__).resolve().parents[2]


def test_factory_with_bad_settings_raises_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APP_ENV", "production")

    with pytest.raises(SettingsError, match="SECRET_KEY is refused because it is missing"):
        create_app()


def test_factory_settings_reach_flask(tmp_path: Path) -> None:
    app = make_app(
        tmp_path / "x.db", trusted_hosts="a.example,.b.example", max_body_mb=3, log_level="error"
    )

    assert app.config["TRUSTED_HOSTS"] == ["a.example", ".b.example"]
    assert app.config["MAX_CONTENT_LENGTH"] == 3 * 1024 * 1024
    assert app.logger.level == 40
    assert app.secret_key == SECRET
    assert app.config["JWT_SECRET_KEY"] != SECRET


def test_factory_opens_no_database(tmp_path: Path) -> None:
    make_app(tmp_path / "deep" / "x.db")

    assert list((tmp_path / "deep").iterdir()) == []


def test_factory_two_applications_do_not_share_anything(tmp_path: Path) -> None:
    first, second = make_app(tmp_path / "1.db"), make_app(tmp_path / "2.db")

    assert first.config["SQLALCHEMY_DATABASE_URI"] != second.config["SQLALCHEMY_DATABASE_URI"]
    with first.app_context():
        assert current_app.name == "webapp"


@pytest.mark.parametrize("app_env", ["development", "production"])
def test_session_cookie_flags_fit_the_environment(database_file: Path, app_env: str) -> None:
    browser = Browser(make_app(database_file, app_env=app_env))
    cookie = browser.get("/login", base_url="https://site.example").headers["Set-Cookie"]

    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    assert "Path=/" in cookie
    assert ("Secure" in cookie) is (app_env == "production")
    assert cookie.startswith("__Host-session=") is (app_env == "production")


def test_untrusted_host_is_400_even_without_an_address_to_link_to(database_file: Path) -> None:
    client = make_app(database_file, trusted_hosts="site.example").test_client()

    assert client.get("/", base_url="http://site.example:8000").status_code == 200
    page = client.get("/", base_url="http://evil.example")
    assert page.status_code == 400
    assert "evil.example" not in page.headers.get("Location", "")
    assert page.text.startswith("<!doctype html>")
    api = client.get("/api/v1/posts", base_url="http://evil.example")
    assert api.status_code == 400
    assert api.json["code"] == 400


def test_webapp_imports_no_tornado() -> None:
    code = (
        "import sys, webapp; webapp.create_app();"
        "print(sorted(m for m in sys.modules if m.split('.')[0] in ('tornado', 'async_handlers')))"
    )
    printed = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={"SECRET_KEY": SECRET, "DATABASE_URL": "sqlite:///var/unused.db"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    assert printed.stdout.strip() == "[]"


def test_url_map_has_the_promised_routes(app: Flask) -> None:
    rules = {rule.rule for rule in app.url_map.iter_rules()}

    assert {
        "/",
        "/<username>",
        "/user/<name>",
        "/post/<int:post_id>",
        "/login",
        "/register",
        "/logout",
        "/api/v1/tokens",
        "/api/v1/posts",
        "/api/v1/posts/<int:post_id>",
    } <= rules
