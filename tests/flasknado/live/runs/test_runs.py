"""Durable runs: their events, who follows them, how they end, and what bounds them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
import requests
import sqlalchemy as sa
from flask import g, request

from flasknado.live import TooManyRuns
from flasknado.live.errors import LiveError
from flasknado.live.log.run_table import live_run
from flasknado.live.state import state_of
from flasknado.ops.metrics.sources import LiveSource
from tests.flasknado.live.helpers import (
    EventSourceParser,
    LiveApp,
    Message,
    SseClient,
    StreamClient,
    wait_for,
)
from tests.support.serving import Serving, serving

MakeApp = Callable[..., LiveApp]
LOGS = ["sqlite", "sqlite apart", "memory", "postgres"]


class Producers:
    """Generators that are held back by their test, and what happened in them."""

    def __init__(self) -> None:
        self.story: list[str] = []
        self.go_on = threading.Event()

    async def words(self, *words: Any) -> AsyncIterator[Any]:
        try:
            for word in words:
                await self._wait(word)
                yield word if word != "path" else request.path
        finally:
            self.story.append("closed")

    async def _wait(self, word: Any) -> None:
        if word == "fail":
            raise LookupError("a secret")
        while word == "wait" and not self.go_on.is_set():
            await asyncio.sleep(0.005)

    def words_of_thread(self, *words: Any) -> Iterator[Any]:
        try:
            for word in words:
                if word == "fail":
                    raise LookupError("a secret")
                if word == "wait":
                    self.go_on.wait(20)
                yield word if word != "path" else request.path
        finally:
            self.story.append("closed")


class RunApp:
    """An application whose view starts a run of the words that it is given."""

    def __init__(self, live_app: LiveApp) -> None:
        self.live_app = live_app
        self.producers = Producers()
        live_app.app.add_url_rule("/ask", view_func=self.ask, methods=["GET", "POST"])
        live_app.app.add_url_rule("/cancel/<run>", view_func=self.cancel, methods=["POST"])

    def ask(self) -> Any:
        words = request.args.getlist("word")
        kind = self.producers.words_of_thread if "sync" in request.args else self.producers.words
        options: dict[str, Any] = {"keep_result": True} if "keep" in request.args else {}
        if "output" in request.args:
            options["output"] = request.args["output"]
        return self.live_app.live.run(kind(*words), channel="chat:1", **options)

    def cancel(self, run: str) -> dict[str, bool]:
        return {"cancelled": self.live_app.live.cancel(run)}

    @contextlib.contextmanager
    def serve(self) -> Iterator[Serving]:
        with serving(self.live_app.server) as served:
            try:
                yield served
            finally:
                self.producers.go_on.set()  # else the drain waits for them

    def runs(self) -> list[Any]:
        with self.live_app.app.app_context():
            return self.live_app.live.runs("chat:1")


@pytest.fixture
def run_app(live_app: LiveApp) -> RunApp:
    return RunApp(live_app)


@pytest.fixture
def make_two(
    make_live_app: MakeApp, request: pytest.FixtureRequest
) -> Callable[..., tuple[LiveApp, LiveApp]]:
    """Return a function that makes an application and another process of it, as it were."""

    def make_two(log: str, **config: Any) -> tuple[LiveApp, LiveApp]:
        options = {}
        if log == "postgres":
            options["url"] = request.getfixturevalue("postgres").url()
        return make_live_app(**options), make_live_app(**options, **config)

    return make_two


@pytest.fixture
def served(run_app: RunApp) -> Iterator[Serving]:
    with run_app.serve() as served:
        yield served


def ask(served: Serving, *words: str, user: str | None = None, **query: str) -> Any:
    response = requests.post(
        f"{served.url}/ask",
        params=[("word", word) for word in words] + list(query.items()),
        headers={"X-User": user} if user else {},
        timeout=15,
    )
    assert response.status_code == 202, response.text
    return response.json()


def events_of(served: Serving, run: dict[str, str], last: str = "run.") -> list[tuple[str, Any]]:
    """Return the events of a run's channel from its beginning to the one whose name begins so."""
    with SseClient(served, run["channel"], after=run["cursor"]) as client:
        wanted = [message for message in until(client, last) if message.body["data"]["run"]]
        return [(message.event, message.body["data"]) for message in wanted]


ENDS = ("run.finished", "run.failed", "run.cancelled", "run.interrupted")


def until(client: SseClient, last: str = "run.") -> list[Message]:
    count = 1
    while True:
        messages = client.read(count)
        event = messages[count - 1].event
        if event in ENDS and event.startswith(last):
            return messages[:count]
        count += 1


@pytest.mark.parametrize("kind", ["async", "sync"])
@pytest.mark.parametrize("log", LOGS)
def test_output_becomes_events_between_a_start_and_an_end(
    make: MakeApp, log: str, kind: str
) -> None:
    app = RunApp(make(log))
    with app.serve() as served:
        run = ask(served, "Hello", "path", **{kind: "1"})
        assert events_of(served, run) == [
            ("run.started", {"run": run["run"]}),
            ("run.output", {"run": run["run"], "data": "Hello"}),
            ("run.output", {"run": run["run"], "data": "/ask"}),
            ("run.finished", {"run": run["run"], "outputs": 2}),
        ]
        wait_for(lambda: app.runs()[0].state == "finished")
        (known,) = app.runs()
        assert (known.id, known.channel, known.cursor) == tuple(
            run[k] for k in ("run", "channel", "cursor")
        )
        assert app.producers.story == ["closed"]


def test_client_that_lost_its_connection_goes_on_where_it_was_and_another_sees_the_same(
    run_app: RunApp, served: Serving
) -> None:
    run = ask(served, "one", "wait", "three")
    with SseClient(served, run["channel"], after=run["cursor"]) as first:
        seen = first.read(2)
        assert [message.event for message in seen] == ["run.started", "run.output"]
    run_app.producers.go_on.set()
    with SseClient(served, run["channel"], headers={"Last-Event-ID": seen[1].id}) as again:
        rest = until(again)
    assert [m.body["data"].get("data") for m in rest] == ["wait", "three", None]
    with SseClient(served, run["channel"], after=run["cursor"]) as other:
        assert [m.id for m in until(other)] == [m.id for m in [*seen, *rest]]


class AskClient(SseClient):
    """An EventSource of the view itself."""

    def __init__(self, served: Serving, *words: str, headers: dict[str, str] | None = None):
        headers = {"Accept": "text/event-stream", **(headers or {})}
        super(SseClient, self).__init__(served, "/ask", headers, word=words)
        self.parser = EventSourceParser()
        self._lines = self.lines()


def test_event_source_of_the_view_follows_its_run_and_starts_no_other_when_it_reconnects(
    run_app: RunApp, served: Serving
) -> None:
    with AskClient(served, "one", "wait", "three") as client:
        seen = client.read(2)
        assert client.headers["X-Run"] == seen[0].body["data"]["run"]
    run_app.producers.go_on.set()
    last = {"Last-Event-ID": seen[1].id}
    with AskClient(served, "one", "wait", "three", headers=last) as client:
        rest = until(client)
    assert [m.body["data"].get("data") for m in rest] == ["wait", "three", None]
    assert len(run_app.runs()) == 1


def test_output_may_have_a_name_and_be_kept_as_one_event(run_app: RunApp, served: Serving) -> None:
    run = ask(served, "Hel", "lo", keep="1", output="token")
    assert events_of(served, run)[1:] == [
        ("token", {"run": run["run"], "data": "Hel"}),
        ("token", {"run": run["run"], "data": "lo"}),
        ("run.result", {"run": run["run"], "data": "Hello"}),
        ("run.finished", {"run": run["run"], "outputs": 2}),
    ]
    kept = sa.text('SELECT name FROM live_event ORDER BY "offset"')
    with run_app.live_app.engine().connect() as connection:
        assert list(connection.scalars(kept)) == ["run.started", "run.result", "run.finished"]


def test_result_that_is_too_large_is_said_to_be_missing(make_live_app: MakeApp) -> None:
    app = RunApp(make_live_app(LIVE_MAX_DATA_BYTES=200))
    with app.serve() as served:
        run = ask(served, "x" * 100, "y" * 100, keep="1")
        name, data = events_of(served, run)[-1]
        assert name == "run.finished"
        assert data["result"].startswith("not kept: an event's data may have at most 200 bytes")


@pytest.mark.parametrize("kind", ["async", "sync"])
def test_cancelled_run_publishes_nothing_more_and_closes_its_generator(
    run_app: RunApp, served: Serving, kind: str
) -> None:
    run = ask(served, "one", "wait", "never", **{kind: "1"})
    with SseClient(served, run["channel"], after=run["cursor"]) as client:
        client.read(2)
        said = requests.post(f"{served.url}/cancel/{run['run']}", timeout=15).json()
        assert said == {"cancelled": True}
        run_app.producers.go_on.set()
        assert [m.event for m in until(client)] == ["run.started", "run.output", "run.cancelled"]
    wait_for(lambda: run_app.producers.story == ["closed"])
    wait_for(lambda: run_app.runs()[0].state == "cancelled")
    again = requests.post(f"{served.url}/cancel/{run['run']}", timeout=15).json()
    assert again == {"cancelled": False}


def test_metrics_have_the_runs_that_go_on_and_how_others_ended(
    run_app: RunApp, served: Serving
) -> None:
    source = LiveSource(served.server)

    def numbers() -> dict[str, Any]:
        samples = {family.name: family.samples for family in source()}
        ended = {label: count for (label,), count in samples["live_runs_ended"].items()}
        return {
            "started": samples["live_runs_started"][()],
            "running": samples["live_runs"][()],
            **{label: count for label, count in ended.items() if count},
        }

    assert numbers() == {"started": 0, "running": 0}
    ask(served, "one")
    ask(served, "fail")
    cancelled = ask(served, "wait")
    wait_for(lambda: numbers() == {"started": 3, "running": 1, "finished": 1, "failed": 1})
    requests.post(f"{served.url}/cancel/{cancelled['run']}", timeout=15)
    wait_for(lambda: numbers()["running"] == 0)
    assert numbers() == {"started": 3, "running": 0, "finished": 1, "failed": 1, "cancelled": 1}


@pytest.mark.parametrize("log", ["sqlite", "postgres"])
def test_run_is_cancelled_from_another_process(
    make_two: Callable[..., tuple[LiveApp, LiveApp]], log: str
) -> None:
    one, other = make_two(log)
    app = RunApp(one)
    with app.serve() as served:
        run = ask(served, "one", "wait")
        with SseClient(served, run["channel"], after=run["cursor"]) as client:
            client.read(2)
            with other.app.app_context():  # which has runs of its own, and this is none of them
                assert other.live.cancel(run["run"])
                assert not other.live.cancel("unknown")
            assert until(client)[-1].event == "run.cancelled"


@pytest.mark.parametrize("kind", ["async", "sync"])
def test_failed_run_tells_its_clients_a_reference_and_the_log_the_rest(
    run_app: RunApp, served: Serving, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    run = ask(served, "one", "fail", **{kind: "1"})
    name, data = events_of(served, run)[-1]
    assert name == "run.failed"
    assert data["message"].startswith("The run failed. Reference: ")
    record = next(r for r in caplog.records if "has failed" in r.getMessage())
    assert record.exc_info is not None
    assert str(record.exc_info[1]) == "a secret"


# The client's stop.


def stop(served: Serving, body: Any, user: str | None = None) -> requests.Response:
    return requests.post(
        f"{served.url}/live/stop",
        data=body if isinstance(body, str) else json.dumps(body),
        headers={"X-User": user} if user else {},
        timeout=15,
    )


def test_only_the_user_who_started_a_run_may_stop_it_by_default(
    run_app: RunApp, served: Serving
) -> None:
    run = ask(served, "wait", user="ann")["run"]
    anonymous = ask(served, "wait")["run"]
    assert stop(served, {"run": run}, "bob").status_code == 403
    assert stop(served, {"run": run}).status_code == 403
    assert stop(served, {"run": anonymous}).status_code == 403
    assert stop(served, {"run": run}, "banned").json()["message"] == "you are banned"
    assert [r.state for r in run_app.runs()] == ["running"] * 2
    assert stop(served, {"run": run}, "ann").json() == {"run": run, "stopped": True}
    wait_for(lambda: stop(served, {"run": run}, "ann").json() == {"run": run, "stopped": False})


def test_application_decides_who_may_stop_a_run(
    run_app: RunApp, served: Serving, caplog: pytest.LogCaptureFixture
) -> None:
    answers: list[Any] = [False, 1, True]

    @run_app.live_app.live.authorize_stop
    def may_stop(run: Any) -> Any:
        assert run.channel == "chat:1"
        return answers.pop(0)

    run = ask(served, "wait")["run"]
    assert stop(served, {"run": run}).status_code == 403
    assert stop(served, {"run": run}).status_code == 403
    assert "authorize_stop" in caplog.text
    assert stop(served, {"run": run}).status_code == 200


def test_stop_of_what_is_no_run_is_refused(served: Serving) -> None:
    assert stop(served, {"run": "unknown"}).status_code == 404
    for body in ("", "[]", '{"run": 7}', "{" * 4000):
        response = stop(served, body)
        assert response.status_code == 400
        assert response.json()["message"] == 'the body must be {"run": "..."}, with the id of a run'
    assert stop(served, "x" * 5000).status_code == 413


# Bounds.


def test_runs_above_their_number_are_answered_503(make_live_app: MakeApp) -> None:
    app = RunApp(make_live_app(LIVE_MAX_RUNS=1))
    with app.serve() as served:
        run = ask(served, "wait")
        response = requests.post(f"{served.url}/ask?word=more", timeout=15)
        assert response.status_code == 503
        assert response.headers["Retry-After"] == "2"
        assert "as many as it may (LIVE_MAX_RUNS)" in response.text
        app.producers.go_on.set()
        events_of(served, run)
        wait_for(lambda: requests.post(f"{served.url}/ask?word=more", timeout=15).ok)


def test_runs_above_the_number_of_their_threads_are_answered_503(make_live_app: MakeApp) -> None:
    app = RunApp(make_live_app(LIVE_RUN_THREADS=1))
    with app.serve() as served:
        ask(served, "wait", sync="1")
        response = requests.post(f"{served.url}/ask?word=more&sync=1", timeout=15)
        assert response.status_code == 503
        assert "(LIVE_RUN_THREADS)" in response.text
        ask(served, "on the loop")
        app.producers.go_on.set()
        wait_for(lambda: requests.post(f"{served.url}/ask?word=more&sync=1", timeout=15).ok)


def test_run_that_takes_too_long_or_publishes_too_much_fails(make_live_app: MakeApp) -> None:
    app = RunApp(make_live_app(LIVE_RUN_TIMEOUT_S=0.3, LIVE_MAX_RUN_BYTES=300))
    with app.serve() as served:
        name, data = events_of(served, ask(served, "wait"))[-1]
        assert name == "run.failed"
        assert data["message"] == (
            "a run may take 0.3 s (LIVE_RUN_TIMEOUT_S), and it has taken longer"
        )
        name, data = events_of(served, ask(served, "x" * 100, "y" * 100, "z" * 100))[-1]
        assert data["message"] == (
            "a run may publish 300 bytes (LIVE_MAX_RUN_BYTES), and it has more"
        )


def test_output_above_the_size_of_an_event_fails_the_run(make_live_app: MakeApp) -> None:
    app = RunApp(make_live_app(LIVE_MAX_DATA_BYTES=200))
    with app.serve() as served:
        name, data = events_of(served, ask(served, "x" * 300))[-1]
        assert name == "run.failed"
        assert "at most 200 bytes (LIVE_MAX_DATA_BYTES)" in data["message"]


def test_run_waits_for_room_in_the_buffer_of_events(
    run_app: RunApp, served: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flasknado.live.log.buffered.MAX_WAITING_BYTES", 600)
    words = [f"word {n}" for n in range(40)]
    run = ask(served, *words)
    outputs = [data["data"] for name, data in events_of(served, run) if name == "run.output"]
    assert outputs == words


# Beside the view's transaction, the request, and other servers.


def test_run_in_a_transaction_that_has_written_is_refused_on_sqlite(run_app: RunApp) -> None:
    live_app = run_app.live_app
    with live_app.app.test_request_context():
        live_app.app.preprocess_request()
        live_app.db.session.add(live_app.Note(text="not committed"))
        live_app.db.session.flush()
        with pytest.raises(LiveError, match=r"commit before live.run\(\)"):
            live_app.live.run(run_app.producers.words("one"), "chat:1")
        live_app.db.session.commit()
        response = live_app.live.run(run_app.producers.words("one"), "chat:1")
        assert response.status_code == 202
    wait_for(lambda: run_app.runs()[0].state == "finished")


def test_run_without_a_request_has_a_thread(run_app: RunApp) -> None:
    live_app = run_app.live_app
    with live_app.app.app_context():
        run = live_app.live.start_run(run_app.producers.words_of_thread("one"), "chat:1")
    wait_for(lambda: run_app.runs()[0].state == "finished")
    assert run_app.runs()[0].id == run.id
    assert run.user is None


@pytest.mark.parametrize("kind", ["async", "sync"])
def test_run_under_another_server_has_a_thread_and_its_end_is_published(
    run_app: RunApp, kind: str
) -> None:
    client = run_app.live_app.app.test_client()
    with run_app.live_app.live.capture() as events:
        response = client.post(f"/ask?word=one&word=path&{kind}=1")
        assert response.status_code == 202
        wait_for(lambda: events and events[-1].name == "run.finished")
    said = [json.loads(event.data).get("data") for event in events]
    assert said == [None, "one", "/ask", None]
    with run_app.live_app.app.test_request_context():
        g.user = None
        wait_for(lambda: run_app.producers.story == ["closed"])


@pytest.mark.parametrize("source", ["text", b"bytes", {"a": 1}, 7])
def test_what_is_no_generator_is_refused(run_app: RunApp, source: Any) -> None:
    with (
        run_app.live_app.app.test_request_context(),
        pytest.raises(TypeError, match="a run takes a generator"),
    ):
        run_app.live_app.live.run(source, "chat:1")


def test_too_many_runs_says_so_as_text() -> None:
    assert str(TooManyRuns("too many")) == "too many"
    assert TooManyRuns("too many").code == 503


# The end of a process.


def test_drain_waits_for_runs_and_then_interrupts_them(run_app: RunApp) -> None:
    async def drain(served: Serving, timeout_s: float) -> bool:
        return await served.server.drain(timeout_s)

    def drained(served: Serving, timeout_s: float) -> Any:
        return asyncio.run_coroutine_threadsafe(drain(served, timeout_s), served.loop)

    with run_app.serve() as served:
        ask(served, "wait", "three")
        draining = drained(served, 15)
        wait_for(lambda: served.server.draining)
        assert not draining.done()
        run_app.producers.go_on.set()
        assert draining.result(15)
    assert run_app.runs()[0].state == "finished"
    run_app.producers.go_on.clear()
    run_app.producers.story.clear()
    with run_app.serve() as served:
        ask(served, "wait", "never")
        assert not drained(served, 0.2).result(15)
    newest = run_app.runs()[0]
    assert newest.state == "interrupted"
    assert run_app.producers.story == ["closed"]
    batch = run_app.live_app.log.read(0, ["chat:1"], 100)
    assert batch.events[-1].name == "run.interrupted"
    assert json.loads(batch.events[-1].data)["message"] == "the server that ran it has stopped"


@pytest.mark.parametrize("log", ["sqlite", "postgres"])
def test_run_whose_process_says_nothing_is_told_to_be_interrupted_by_another(
    make_two: Callable[..., tuple[LiveApp, LiveApp]], log: str
) -> None:
    one, other = make_two(log, LIVE_RUN_LOST_AFTER_S=0.3)
    app = RunApp(one)
    with app.serve() as served, serving(other.server) as elsewhere:
        run = ask(served, "one", "wait", "never")
        # Its process beats every three seconds, and the other waits for a tenth of that.
        with SseClient(elsewhere, run["channel"], after=run["cursor"]) as client:
            assert until(client)[-1].event == "run.interrupted"
            state = state_of(app.live_app.app).runs
            state._beat()  # it is told, and stops: what it has to say would contradict
            app.producers.go_on.set()
            wait_for(lambda: app.producers.story == ["closed"])
            other.publish("chat:1", name="later")
            messages = client.read(4)
            assert [m.event for m in messages] == [
                "run.started",
                "run.output",
                "run.interrupted",
                "later",
            ]


def test_end_that_another_process_has_told_is_not_told_again(run_app: RunApp) -> None:
    with run_app.serve() as served:
        run = ask(served, "wait")
        with run_app.live_app.engine().begin() as connection:
            connection.execute(sa.update(live_run).values(state="interrupted"))
        run_app.producers.go_on.set()
        wait_for(lambda: run_app.producers.story == ["closed"])
        wait_for(lambda: not state_of(run_app.live_app.app).runs._endings)
        run_app.live_app.log.flush()
        batch = run_app.live_app.log.read(0, ["chat:1"], 100)
        assert [event.name for event in batch.events] == ["run.started", "run.output"]
        assert run["run"]


def test_ended_runs_are_forgotten_after_the_retention(make_live_app: MakeApp) -> None:
    app = RunApp(
        make_live_app(LIVE_RETENTION_S=0.2, LIVE_PRUNE_INTERVAL_S=0.05, LIVE_RUN_LOST_AFTER_S=0.25)
    )
    with app.serve() as served:
        run = ask(served, "one")
        with StreamClient(served, "/live/poll", channel="chat:1", timeout_s=0):
            pass  # so that there is a hub, and somebody looks
        wait_for(lambda: app.runs() == [])
        assert run["run"]


def test_runs_of_a_log_in_memory_are_forgotten_after_the_retention(make: MakeApp) -> None:
    app = RunApp(
        make("memory", LIVE_RETENTION_S=0.2, LIVE_PRUNE_INTERVAL_S=0.05, LIVE_RUN_LOST_AFTER_S=0.25)
    )
    with app.serve() as served:
        ask(served, "one")
        StreamClient(served, "/live/poll", channel="chat:1", timeout_s=0).close()
        wait_for(lambda: app.runs() == [])
