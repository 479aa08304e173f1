"""`flask live ...` on SQLite and PostgreSQL."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import Result

from flasknado.live.event import parse_cursor
from tests.flasknado.live.helpers import LiveApp, wait_for
from tests.support.postgres import PostgresServer

MakeApp = Callable[..., LiveApp]


@pytest.fixture(params=["sqlite", "postgresql", "apart"])
def app(request: pytest.FixtureRequest, make_live_app: MakeApp, tmp_path: Any) -> LiveApp:
    if request.param == "sqlite":
        return make_live_app(LIVE_RETENTION_EVENTS=2)
    if request.param == "apart":
        return make_live_app(log_url=f"sqlite:///{tmp_path}/log.db", LIVE_RETENTION_EVENTS=2)
    server: PostgresServer = request.getfixturevalue("postgres")
    return make_live_app(url=server.url(), LIVE_RETENTION_EVENTS=2)


def run(live_app: LiveApp, *arguments: str) -> Result:
    return live_app.app.test_cli_runner().invoke(args=["live", *arguments])


def lines(result: Result) -> list[Any]:
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.output.splitlines()]


def test_publish_commits_and_prints_the_cursor(app: LiveApp) -> None:
    with app.live.capture() as captured:
        result = run(app, "publish", "posts", "post.created", '{"id": 1}')
    assert (result.exit_code, result.output.strip()) == (0, app.cursor())
    assert [(e.channel, e.name, e.data) for e in captured] == [
        ("posts", "post.created", '{"id":1}')
    ]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("a", "n", "{"), "DATA is not JSON"),
        (("a b", "n"), "'a b' is not a channel"),
        (("a", "reset"), "'reset' is reserved"),
    ],
)
def test_publish_of_what_cannot_be_is_one_sentence(
    live_app: LiveApp, arguments: tuple[str, ...], text: str
) -> None:
    result = run(live_app, "publish", *arguments)
    assert result.exit_code == 1
    assert text in result.output
    assert "Traceback" not in result.output


def test_tail_after_a_cursor_prints_its_channels(app: LiveApp) -> None:
    begin = app.cursor()
    app.publish("a", "b", "a", data={"n": 1})
    printed = lines(run(app, "tail", "a", "--after", begin, "--count", "2"))
    assert [(line["id"], line["channel"]) for line in printed] == [
        (begin.replace(":0", ":1"), "a"),
        (begin.replace(":0", ":3"), "a"),
    ]


def test_tail_waits_for_what_comes(app: LiveApp) -> None:
    app.cursor()
    results: list[Result] = []
    thread = threading.Thread(target=lambda: results.append(run(app, "tail", "--count", "1")))
    thread.start()
    # It begins somewhere from now, so it is told again and again until it has heard.
    wait_for(lambda: app.publish("a") or not thread.is_alive(), "the tail to end")
    thread.join()
    assert lines(results[0])[0]["channel"] == "a"


def test_tail_after_a_cursor_of_another_log_prints_a_reset(app: LiveApp) -> None:
    app.publish("a")
    results: list[Result] = []
    thread = threading.Thread(
        target=lambda: results.append(run(app, "tail", "--after", "other:1", "--count", "1"))
    )
    thread.start()
    wait_for(lambda: app.publish("a") or not thread.is_alive(), "the tail to end")
    thread.join()
    assert [line["event"] for line in lines(results[0])] == ["reset", "note"]


def test_prune_and_stats_tell_what_is_kept(app: LiveApp) -> None:
    app.publish(*["a"] * 5)
    assert run(app, "prune").output == "3 events deleted.\n"
    said = json.loads(run(app, "stats").output)
    assert (said["cursor"], said["oldest"], said["events"]) == (app.cursor(), 4, 2)
    assert run(app, "prune").output == "0 events deleted.\n"


def test_command_waits_for_a_moment_in_which_sqlite_is_locked(
    make_live_app: MakeApp, tmp_path: Any
) -> None:
    live_app = make_live_app(log_url=f"sqlite:///{tmp_path}/log.db")
    live_app.publish("a")
    other = sqlite3.connect(tmp_path / "log.db", isolation_level=None, check_same_thread=False)
    # Without WAL, as while it is being switched on, a writer locks readers out.
    other.execute("PRAGMA journal_mode = DELETE")
    other.execute("BEGIN EXCLUSIVE")
    unlock = threading.Timer(0.5, other.rollback)
    unlock.start()

    result = run(live_app, "stats")

    unlock.join()
    other.close()
    assert (result.exit_code, "cursor" in result.output) == (0, True), result.output


def test_renew_gives_the_log_another_name(app: LiveApp) -> None:
    app.publish("a", "a")
    app.settle()
    before = parse_cursor(app.cursor())
    result = run(app, "renew")
    after = parse_cursor(app.cursor())
    assert result.output == f"{before} is {after} now.\n"
    assert after.epoch != before.epoch
    assert after.offset == before.offset == 2


def test_database_that_is_not_there_is_one_sentence(make_live_app: MakeApp) -> None:
    live_app = make_live_app()
    with live_app.app.app_context():
        live_app.db.drop_all()
    result = run(live_app, "stats")
    assert result.exit_code == 1
    assert "no such table" in result.output
    assert len(result.output.splitlines()) == 1


def test_log_in_memory_is_refused_with_the_mend(make_live_app: MakeApp) -> None:
    result = run(make_live_app(log_url="memory://"), "stats")
    assert result.exit_code == 1
    assert "give Live a database" in result.output
