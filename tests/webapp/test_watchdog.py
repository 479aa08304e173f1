"""The watchdog tells of a transaction that is open too long, while it is, once, with its view."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from flask import Flask, stream_with_context
from sqlalchemy import text

from tests.support.poll import poll
from tests.webapp.people import make_app
from webapp import watchdog
from webapp.extensions import db

WATCHDOG = "webapp.watchdog"


@pytest.fixture
def app(database_file: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Flask]:
    monkeypatch.setattr(watchdog, "LOOK_EVERY_S", 0.01)
    app = make_app(database_file, transaction_warning_s=0.5)
    yield app
    with app.app_context():
        db.engine.dispose()


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == WATCHDOG]


@pytest.mark.parametrize("kind", ["view", "stream"])
def test_transaction_that_is_held_is_logged_once_while_it_is_open(
    app: Flask, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    caplog.set_level(logging.WARNING, WATCHDOG)
    told: list[list[str]] = []

    def hold() -> None:
        db.session.execute(text("SELECT 41 + 1"))
        told.append(poll(lambda: warnings_of(caplog), bool))

    def view() -> str:
        hold()
        return "done"

    def stream() -> Iterator[str]:
        @stream_with_context
        def parts() -> Iterator[str]:
            hold()
            yield "done"

        return parts()

    app.add_url_rule("/held", "held", view if kind == "view" else stream)

    assert app.test_client().get("/held").text == "done"
    app.extensions[WATCHDOG].look()

    (warning,) = told[0]
    assert "GET held" in warning
    assert threading.current_thread().name in warning
    assert warning.endswith("last statement: SELECT 41 + 1")
    assert warnings_of(caplog) == told[0]


def test_transactions_that_end_in_time_are_forgotten(
    app: Flask, caplog: pytest.LogCaptureFixture
) -> None:
    app.extensions[WATCHDOG].warn_after_s = 3600
    for _ in range(20):
        assert app.test_client().get("/").status_code == 200

    assert app.extensions[WATCHDOG].look() is False
    assert warnings_of(caplog) == []


def test_connection_of_a_command_is_not_watched(
    app: Flask, account: Callable[..., int], caplog: pytest.LogCaptureFixture
) -> None:
    account("ada")
    with app.app_context():
        db.session.execute(text("SELECT 1"))
        assert app.extensions[WATCHDOG].look() is False


def test_watchdog_that_is_turned_off_is_not_there(database_file: Path) -> None:
    assert WATCHDOG not in make_app(database_file, transaction_warning_s=0).extensions
