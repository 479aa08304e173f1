"""The Flask extension: set-up, publishing's checks, cursors, authorising."""

from __future__ import annotations

import datetime
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from flask_sqlalchemy import SQLAlchemy

from flasknado.errors import ConfigurationError
from flasknado.live import Identity, InvalidEvent, Live
from flasknado.live.event import parse_cursor
from flasknado.live.state import state_of
from tests.flasknado.live.helpers import LiveApp

MakeApp = Callable[..., LiveApp]


def test_init_app_adds_the_tables_to_the_metadata_once() -> None:
    db, live = SQLAlchemy(), Live()
    for _ in range(2):
        app = Flask(__name__)
        app.config["SQLALCHEMY_DATABASE_URI"] = "sqlite://"
        db.init_app(app)
        live.init_app(app, db)
        with app.app_context():
            db.create_all()
            assert {"live_log", "live_event"} <= set(sa.inspect(db.engine).get_table_names())
    assert {"live_log", "live_event"} <= set(db.metadata.tables)


def test_constructor_with_app_and_db_initialises() -> None:
    app, db = Flask(__name__), SQLAlchemy()
    app.config["SQLALCHEMY_DATABASE_URI"] = "sqlite://"
    db.init_app(app)
    live = Live(app, db)
    assert state_of(app).hooks is live


def test_init_app_with_a_bad_setting_is_refused() -> None:
    app, db = Flask(__name__), SQLAlchemy()
    app.config["LIVE_RETENTION_EVENTS"] = -5
    with pytest.raises(ConfigurationError, match=r"LIVE_RETENTION_EVENTS must be .*, not -5"):
        Live(app, db)


@pytest.mark.parametrize("fallbacks", ["an old key", [""], ["old", None], {"old"}])
def test_init_app_with_bad_fallback_keys_is_refused_without_showing_them(fallbacks: Any) -> None:
    app, db = Flask(__name__), SQLAlchemy()
    app.secret_key = "new"
    app.config["SECRET_KEY_FALLBACKS"] = fallbacks
    with pytest.raises(ConfigurationError, match="SECRET_KEY_FALLBACKS must be a list") as refused:
        Live(app, db)
    assert "old" not in str(refused.value).replace("SECRET_KEY_FALLBACKS", "")


def test_ticket_of_before_the_secret_key_changed_is_good(make_live_app: MakeApp) -> None:
    old = make_live_app()
    new = make_live_app(SECRET_KEY="new", SECRET_KEY_FALLBACKS=[old.app.secret_key])
    tickets = [state_of(live_app.app).tickets for live_app in (old, new)]
    assert tickets[0] is not None
    assert tickets[1] is not None
    place, now = parse_cursor("3f2a9c01:42"), time.time()
    assert tickets[1].check(tickets[0].issue(Identity("ann"), ["a"], place, now), now) is not None
    assert tickets[0].check(tickets[1].issue(Identity("ann"), ["a"], place, now), now) is None


def test_publish_in_an_application_without_live_names_the_mend() -> None:
    with (
        Flask("bare").app_context(),
        pytest.raises(ConfigurationError, match=r"'bare' has no live events: call live\.init_app"),
    ):
        Live().publish("a", "n")


def test_publish_without_an_application_context_is_flasks_own_error(live_app: LiveApp) -> None:
    with pytest.raises(RuntimeError, match="application context"):
        live_app.live.publish("a", "n")


@pytest.mark.parametrize(
    ("channel", "name", "data"),
    [("a b", "n", 1), ("a", "n\n", 1), ("a", "reset", 1), ("a", "n", object())],
)
def test_publish_of_what_cannot_be_is_refused_at_once(
    live_app: LiveApp, channel: str, name: str, data: object
) -> None:
    with live_app.app.app_context(), pytest.raises(InvalidEvent):
        live_app.live.publish(channel, name, data)


def test_publish_writes_what_flasks_json_can(live_app: LiveApp) -> None:
    with live_app.live.capture() as captured:
        live_app.publish("a", data={"on": datetime.date(2026, 1, 2)})
    assert captured[0].data == '{"on":"Fri, 02 Jan 2026 00:00:00 GMT"}'


def test_publish_over_the_size_limit_is_refused(make_live_app: Callable[..., LiveApp]) -> None:
    live_app = make_live_app(LIVE_MAX_DATA_BYTES=20)
    live_app.publish("a", data="x" * 18)
    with pytest.raises(InvalidEvent, match="20 bytes"):
        live_app.publish("a", data="x" * 19)


def test_publish_from_a_thread_in_a_context_of_its_own(live_app: LiveApp) -> None:
    thread = threading.Thread(target=live_app.publish, args=("a",))
    thread.start()
    thread.join()
    assert parse_cursor(live_app.cursor()).offset == 1


def test_cursor_counts_commits_and_keeps_its_epoch(live_app: LiveApp) -> None:
    first = parse_cursor(live_app.cursor())
    live_app.publish("a", "b")
    assert first.offset == 0
    assert parse_cursor(live_app.cursor()) == (first.epoch, 2)


def test_cursor_before_any_event_survives_a_rollback(live_app: LiveApp) -> None:
    with live_app.app.app_context():
        live_app.db.session.execute(sa.text("SELECT 1"))
        cursor = live_app.live.cursor()
        live_app.db.session.rollback()
    assert live_app.cursor() == cursor


def test_cursor_before_any_event_in_a_writing_transaction_does_not_deadlock(
    live_app: LiveApp,
) -> None:
    with live_app.app.app_context():
        live_app.db.session.add(live_app.Note())
        live_app.db.session.flush()
        cursor = live_app.live.cursor()
        live_app.db.session.commit()
    assert live_app.cursor() == cursor


def test_cursor_of_a_database_in_memory_works() -> None:
    app, db, live = Flask(__name__), SQLAlchemy(), Live()
    app.config["SQLALCHEMY_DATABASE_URI"] = "sqlite://"
    db.init_app(app)
    live.init_app(app, db)
    with app.app_context():
        db.create_all()
        live.publish("a", "n", 1)
        db.session.commit()
        assert live.cursor().endswith(":1")


def test_epochs_of_two_databases_differ(make_live_app: Callable[..., LiveApp]) -> None:
    epochs = {parse_cursor(make_live_app(database=f"{name}.db").cursor()).epoch for name in "abc"}
    assert len(epochs) == 3


def test_may_read_without_a_registered_function_is_denied_and_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with Flask(__name__).app_context():
        assert Live().may_read("a") is False
    assert "register a function with @live.authorize" in caplog.text


def test_authorize_returns_the_function_and_the_last_one_decides() -> None:
    live = Live()

    @live.authorize
    def nobody(channel: str) -> bool:
        return False

    @live.authorize
    def everybody(channel: str) -> bool:
        return True

    assert nobody("a") is False
    with Flask(__name__).app_context():
        assert live.may_read("a") is True
