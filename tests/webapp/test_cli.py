"""The commands `flask --app webapp users ...` and `flask --app webapp demo`."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from flask import Flask

from tests.webapp.people import make_app
from webapp import accounts, demo
from webapp.extensions import db, live
from webapp.models import Comment, Post, User

ROOT = Path(__file__).resolve().parents[2]
Run = Callable[..., Result]


@pytest.fixture
def run(app: Flask) -> Run:
    """Return a function that runs a command, with text typed at its prompts."""
    return lambda *words, typed=None: app.test_cli_runner().invoke(args=words, input=typed)


def test_users_create_asks_for_the_password_twice(app: Flask, run: Run) -> None:
    result = run("users", "create", "Ada", "--admin", typed="ada-password\nada-password\n")

    assert result.exit_code == 0, result.output
    assert "Ada has an account now (admin)." in result.output
    assert "ada-password" not in result.output
    with app.app_context():
        user = accounts.authenticate("ada", "ada-password")
        assert user is not None
        assert user.role == "admin"


@pytest.mark.parametrize(
    ("name", "password", "sentence"),
    [
        ("ada", "another-password", "The name ada is taken"),
        ("static", "another-password", "The name static is reserved"),
        ("grace", "short", "this one has 5 characters"),
        ("grace", "x" * 73, "this one has 73 bytes"),
    ],
)
def test_users_create_refusal_is_one_sentence(
    run: Run, account: Callable[..., int], name: str, password: str, sentence: str
) -> None:
    account("ada")

    result = run("users", "create", name, "--password", password)

    assert result.exit_code == 1
    assert result.output.startswith("Error: ")
    assert sentence in result.output
    assert result.output.count("\n") == 1


def test_users_are_listed_promoted_demoted_disabled_and_enabled(
    run: Run, account: Callable[..., int]
) -> None:
    account("grace")
    account("Ada")

    def listing() -> list[list[str]]:
        return [line.split() for line in run("users", "list").output.splitlines()]

    assert [line[:2] for line in listing()] == [["Ada", "user"], ["grace", "user"]]
    assert run("users", "promote", "ada").output == "ada is an administrator now.\n"
    assert listing()[0][1] == "admin"
    assert run("users", "demote", "ada").exit_code == 0
    assert listing()[0][1] == "user"
    assert run("users", "disable", "ada").exit_code == 0
    assert listing()[0][-1] == "disabled"
    assert run("users", "enable", "ada").exit_code == 0
    assert listing()[0][-1] != "disabled"


def test_users_password_is_changed(app: Flask, run: Run, account: Callable[..., int]) -> None:
    account("ada")

    assert run("users", "password", "ada", "--password", "a-new-password").exit_code == 0
    assert run("users", "password", "ada", "--password", "short").exit_code == 1

    with app.app_context():
        assert accounts.authenticate("ada", "a-new-password") is not None


@pytest.mark.parametrize("command", ["promote", "demote", "disable", "enable"])
def test_users_command_for_nobody_is_one_sentence(run: Run, command: str) -> None:
    result = run("users", command, "nobody-here")

    assert result.exit_code == 1
    assert result.output == "Error: There is nobody with the name nobody-here.\n"


def test_demo_is_added_once(app: Flask, run: Run) -> None:
    first, second = run("demo"), run("demo")

    assert (first.exit_code, second.exit_code) == (0, 0)
    assert first.output.startswith("3 posts added.")
    assert second.output.startswith("0 posts added.")
    with app.app_context():
        assert db.session.query(User).count() == len(demo.NAMES)
        assert (db.session.query(Post).count(), db.session.query(Comment).count()) == (3, 4)
        assert accounts.authenticate("ada", demo.PASSWORD) is not None


def test_demo_is_published_to_open_pages(app: Flask) -> None:
    with app.app_context(), live.capture() as events:
        demo.add()

    assert [event.name for event in events].count("post.created") == 3
    assert [event.name for event in events].count("comment.created") == 4


def test_demo_on_an_empty_database_migrates_it(tmp_path: Path) -> None:
    app = make_app(tmp_path / "new.db")

    assert app.test_cli_runner().invoke(args=["demo"]).output.startswith("3 posts added.")


def test_demo_in_production_is_refused(database_file: Path) -> None:
    app = make_app(database_file, app_env="production")

    result = app.test_cli_runner().invoke(args=["demo"])

    assert result.exit_code == 1
    assert "APP_ENV=production is refused here" in result.output


def test_command_without_a_database_is_one_sentence(tmp_path: Path) -> None:
    app = make_app(tmp_path / "x.db", database_url="postgresql://me:hunter2@127.0.0.1:1/none")

    result = app.test_cli_runner().invoke(args=["users", "list"])

    assert result.exit_code == 1
    assert result.output.startswith("Error: The database ")
    assert "hunter2" not in result.output


def test_flask_command_with_bad_settings_prints_the_sentence_only() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "flask", "--app", "webapp", "users", "list"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "APP_ENV": "production"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode != 0
    assert "SECRET_KEY is refused because it is missing" in done.stderr
    assert "Traceback" not in done.stderr
