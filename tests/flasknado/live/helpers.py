"""An application with live events, clients that read it, and waiting with a deadline."""

from __future__ import annotations

import http.client
import json
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import sqlalchemy as sa
from flask import Flask, g, request
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.orm import Mapped, mapped_column

import flasknado.live
from flasknado import HTTPServer, WSGIContainer
from flasknado.live import Identity, Live
from flasknado.live.state import state_of
from tests.support.serving import Serving

DEADLINE_S = 15.0


def wait_for(condition: Callable[[], Any], what: str = "", deadline_s: float = DEADLINE_S) -> Any:
    """Return the first true value of `condition()`; fails after the deadline."""
    ends = time.monotonic() + deadline_s
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < ends, f"did not happen in {deadline_s} s: {what or condition}"
        time.sleep(0.005)


@dataclass
class LiveApp:
    """A Flask application with a database of its own and live events.

    `session` is false where the log is not a part of the application's database.
    """

    app: Flask
    db: SQLAlchemy
    live: Live
    Note: Any
    session: bool = True
    mount: str = ""

    def publish(self, *channels: str, data: Any = None, name: str = "note") -> None:
        """Publish one event to each channel, in one transaction."""
        with self.app.app_context():
            for channel in channels:
                self.live.publish(channel, name, data)
            if self.session:
                self.db.session.commit()

    def signal(self, channel: str, name: str = "typing", data: Any = None) -> None:
        with self.app.app_context():
            self.live.signal(channel, name, data)

    def revoke(self, user: str) -> None:
        with self.app.app_context():
            self.live.revoke(user)
            if self.session:
                self.db.session.commit()

    def settle(self) -> None:
        """Have everything that was published get its offset, where nobody else sees to it."""
        with self.app.app_context():
            self.log.settle()

    def cursor(self) -> str:
        with self.app.app_context():
            return self.live.cursor()

    @property
    def log(self) -> Any:
        return state_of(self.app).log

    def engine(self) -> sa.Engine:
        """Return the engine of the log's database."""
        engine: sa.Engine = self.log.engine()
        return engine

    def server(self, **options: Any) -> HTTPServer:
        container = WSGIContainer(self.app, mount=self.mount)
        return HTTPServer(container, handlers=flasknado.live.routes(), **options)


def make_app(
    directory: Path,
    database: str = "app.db",
    *,
    url: str | None = None,
    log_url: str | None = None,
    metadata: sa.MetaData | None = None,
    bind_key: str | None = None,
    **config: Any,
) -> LiveApp:
    """Return an application on a SQLite file or at `url`, its tables created.

    With `log_url` its log is there, and not in its database; with `bind_key` that bind has both
    the log and the notes. `metadata` is that of its tables.
    `X-User` says who asks, `X-Expires` until when; anybody reads channels that do not begin
    with `user:`, and only `NAME` reads `user:NAME`.
    """
    app = Flask("live_tests")
    app.secret_key = "a secret of the tests"
    url = url or f"sqlite:///{directory / database}"
    app.config.update(SQLALCHEMY_DATABASE_URI=url, **config)
    db = SQLAlchemy() if metadata is None else SQLAlchemy(metadata=metadata)
    live = Live()

    class Note(db.Model):  # type: ignore[name-defined]
        __bind_key__ = bind_key
        id: Mapped[int] = mapped_column(primary_key=True)
        text: Mapped[str] = mapped_column(default="")

    db.init_app(app)
    live.init_app(app, None if log_url else db, database_url=log_url, bind_key=bind_key)

    @app.before_request
    def who() -> Any:
        g.user = request.headers.get("X-User")
        if g.user == "banned":
            return {"message": "you are banned", "success": False, "code": 403}, 403
        return None

    @live.authorize
    def may_read(channel: str) -> bool:
        return not channel.startswith("user:") or channel == f"user:{g.user}"

    @live.identity
    def who_asks() -> Identity:
        expires = request.headers.get("X-Expires")
        return Identity(g.user, float(expires) if expires else None)

    with app.app_context():
        db.create_all()
    return LiveApp(app, db, live, Note, session=log_url is None)


@dataclass
class Message:
    """What an EventSource dispatches, and what it remembers."""

    id: str
    event: str
    data: str

    @property
    def body(self) -> Any:
        return json.loads(self.data)


@dataclass
class EventSourceParser:
    """The event stream interpretation of the HTML standard, section 9.2.6, independent of ours."""

    last_event_id: str = ""
    retry_ms: int | None = None
    messages: list[Message] = field(default_factory=list)
    _buffer: str = ""
    _id: str = ""
    _event: str = ""
    _data: str = ""

    def feed(self, text: str) -> None:
        self._buffer += text
        *lines, self._buffer = re.split("\r\n|\r|\n", self._buffer)
        for line in lines:
            self._line(line)

    def _line(self, line: str) -> None:
        if not line:
            self._dispatch()
            return
        if line.startswith(":"):
            return
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "event":
            self._event = value
        elif name == "data":
            self._data += value + "\n"
        elif name == "id" and "\0" not in value:
            self._id = value
        elif name == "retry" and re.fullmatch("[0-9]+", value):
            self.retry_ms = int(value)

    def _dispatch(self) -> None:
        self.last_event_id = self._id
        if self._data:
            event = self._event or "message"
            self.messages.append(Message(self._id, event, self._data.removesuffix("\n")))
        self._data = self._event = ""


class StreamClient:
    """A client of an endless response over its own socket."""

    def __init__(
        self, serving: Serving, path: str, headers: dict[str, str] | None = None, **query: Any
    ) -> None:
        self._connection = http.client.HTTPConnection(*serving.address, timeout=DEADLINE_S)
        url = f"{path}?{urlencode(query, doseq=True)}" if query else path
        self._connection.request("GET", url, headers=headers or {})
        # Kept, because a response that says "close" takes the connection's own away.
        self.socket = self._connection.sock
        self.response = self._connection.getresponse()
        self.status = self.response.status
        self.headers = self.response.headers

    def lines(self) -> Iterator[str]:
        for line in self.response:
            yield line.decode()

    def json(self) -> Any:
        return json.loads(self.response.read())

    def close(self) -> None:
        self.response.close()
        self._connection.close()
        self.socket.close()

    def __enter__(self) -> StreamClient:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


class SseClient(StreamClient):
    """An EventSource."""

    def __init__(
        self, serving: Serving, *channels: str, headers: dict[str, str] | None = None, **query: Any
    ) -> None:
        super().__init__(serving, "/live/events", headers, channel=channels, **query)
        self.parser = EventSourceParser()
        self._lines = self.lines()

    def read(self, count: int) -> list[Message]:
        """Return the first `count` messages, waiting for them."""
        while len(self.parser.messages) < count:
            self._feed()
        return self.parser.messages

    def opened(self) -> SseClient:
        """Wait until the stream has told its first cursor, so that it has joined."""
        while not self.parser.last_event_id:
            self._feed()
        return self

    def read_to_end(self) -> None:
        """Read until the server ends the stream."""
        for line in self._lines:
            self.parser.feed(line)

    def _feed(self) -> None:
        line = next(self._lines, None)
        assert line is not None, f"the stream ended after {self.parser.messages}"
        self.parser.feed(line)


def get(
    serving: Serving,
    path: str,
    headers: dict[str, str] | None = None,
    *,
    method: str = "GET",
    **query: Any,
) -> tuple[int, http.client.HTTPMessage, Any]:
    """Return status, headers and (JSON) body of one request."""
    connection = http.client.HTTPConnection(*serving.address, timeout=DEADLINE_S)
    url = f"{path}?{urlencode(query, doseq=True)}" if query else path
    connection.request(method, url, headers=headers or {})
    response = connection.getresponse()
    body = response.read()
    connection.close()
    is_json = response.headers.get("Content-Type", "").startswith("application/json")
    return response.status, response.headers, json.loads(body) if is_json and body else body
