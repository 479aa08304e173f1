"""What the transports share: their query, authorisation, CORS and errors.

A refusal is JSON, `{"message", "success": false, "code"}`, and always comes before a
stream has begun.
"""

from __future__ import annotations

import http
import logging
import sys
from collections.abc import Collection, Mapping
from typing import Any, ClassVar

import flask
from tornado.web import HTTPError, RequestHandler, stream_request_body

from flasknado.errors import ConfigurationError
from flasknado.flask_apps import flask_app_of
from flasknado.live.endpoints.access import (
    authorize,
    check_channels,
    grants,
    refusals,
    tags_of,
)
from flasknado.live.event import Cursor, check_last, connection_digest, is_pattern
from flasknado.live.flask_cors import FlaskCors, flask_cors_of
from flasknado.live.formats import (
    ALLOWED_HEADERS,
    CONNECTION_FIELD,
    EXPOSED_HEADERS,
    TICKET_MARK,
    WHO_FIELD,
    cursor_of_last_event_id,
    cursor_or_reset,
    last_event_id,
)
from flasknado.live.html import check_format
from flasknado.live.hub.hub import Hub, hub_of
from flasknado.live.hub.subscriber import Subscriber
from flasknado.live.origins import CORS_KEY, NO_OTHER_ORIGIN, OriginPolicy, host_of, policy_in
from flasknado.live.state import LiveState, state_of
from flasknado.live.tickets import Access, Identity, Ticket
from flasknado.native.in_flask import Caller, Refused, app_of, in_flask
from flasknado.native.methods import methods_of

log = logging.getLogger("flasknado.live")

PREFLIGHT_MAX_AGE_S = 600


class LiveHandler(RequestHandler):
    """Base of the live handlers, and of your own; one per request, on the loop's thread.

    Refusals are JSON, the application's CORS policy applies, and responses are not cached. Your
    own handlers may use `address()` in addition to the members of Tornado's `RequestHandler`.
    """

    ambient_fields: ClassVar[tuple[str, ...]] = ("Cookie",)
    """What a browser adds to a request by itself, and a page cannot: who is logged in."""
    client_gone = False
    own_page = True
    """False if a page of another origin asks; known once the request is prepared."""
    _identity: Identity | None = None

    @classmethod
    def check_server(cls, server: Any) -> None:
        """Raise `ConfigurationError` if the application's log cannot be kept where it is to be.

        Called when a server is made with such handlers.
        """
        state = cls._state_beside(server)
        if state is not None:
            state.log.check()

    @classmethod
    def begin_serving(cls, server: Any) -> None:
        """Begin to follow the log: what is published needs an offset, whoever is connected.

        Called on the loop's thread once the server listens.
        """
        state = cls._state_beside(server)
        if state is not None:
            try:
                hub_of(state, server)
            except ConfigurationError as error:
                log.error("live events are not available: %s", error)

    @staticmethod
    def _state_beside(server: Any) -> LiveState | None:
        application = server.native.application.settings.get("wsgi_app")
        try:
            return state_of(flask_app_of(application))
        except ConfigurationError:
            return None  # as each request will be told

    @property
    def state(self) -> LiveState:
        """What the application beside this handler has of `Live`; raises `Refused` (500)."""
        try:
            return state_of(app_of(self))
        except ConfigurationError as error:
            raise Refused(500, str(error)) from None

    def hub(self) -> Hub:
        """Return this process's hub of the application; raises `Refused` (500)."""
        try:
            return hub_of(self.state, self.settings.get("http_server"))
        except ConfigurationError as error:
            raise Refused(500, str(error)) from None

    def address(self) -> str | None:
        """Return the client's address, according to trusted proxies."""
        address = self.request.remote_ip
        return sys.intern(address) if address else None

    def channels(self) -> list[str]:
        """Return the channels asked for, by name or by tag, each once; raises `Refused`."""
        channels = self.optional_channels()
        if not channels:
            raise Refused(400, "no channel is given: ask for ?channel=NAME, once for each channel")
        return channels

    def optional_channels(self) -> list[str]:
        """Return the same, or none."""
        named = self.get_query_arguments("channel", strip=False)
        tagged = [channel for tag in self.tags() for channel in sorted(tag.channels)]
        channels = list(dict.fromkeys([*named, *tagged]))
        with refusals():
            check_channels(channels, self.state.options)
        return channels

    def introduce(self, subscriber: Subscriber, channels: Collection[str]) -> None:
        """Note what a client has told of itself beside who it is; raises `Refused` (400)."""
        subscriber.digest = self.digest()
        if any(map(is_pattern, channels)):
            subscriber.grants = grants(Caller(self), self.state)

    def digest(self) -> str | None:
        """Return the digest of the connection's id, if there is one; raises `Refused` (400)."""
        connection = self.get_query_argument("connection", None)
        if connection is None:
            connection = self.request.headers.get(CONNECTION_FIELD)
        with refusals():
            return None if connection is None else connection_digest(connection)

    def after(self) -> Cursor | None:
        """Return the cursor to go on from: the last event id, else `after`.

        One of no log, so that the client is reset, if that is no cursor.
        """
        given_back = self.last_event_id()
        if given_back is not None:
            return cursor_of_last_event_id(given_back)
        text = self.get_query_argument("after", None)
        return None if text is None else cursor_or_reset(text)

    def last(self) -> int:
        """Return how many of its newest events each channel begins with; raises `Refused` (400)."""
        text = self.get_query_argument("last", None)
        with refusals():
            return 0 if text is None else check_last(text, self.state.options.max_last)

    def last_event_id(self) -> str | None:
        """Return what a reconnecting EventSource gives back, if it does."""
        parameters = (
            (name, value)
            for name in self.request.query_arguments
            for value in self.get_query_arguments(name)
        )
        return last_event_id(self.request.headers.get("Last-Event-ID"), parameters)

    def tags(self) -> list[Ticket]:
        """Return what the tags of the page say (`Live.tag`); raises `Refused`."""
        return tags_of(self.get_query_arguments("tag"), self.state)

    def format_name(self, formats: Mapping[str, object]) -> str:
        """Return the name of the format that is asked for; raises `Refused` (400)."""
        with refusals():
            return check_format(self.get_query_argument("format", "json"), formats)

    def ticket(self) -> str | None:
        """Return the reconnect ticket, if one is there: apart, or behind a cursor."""
        behind = self.last_event_id() or self.get_query_argument("after", "")
        ticket = self.get_query_argument("ticket", None) or behind.partition(TICKET_MARK)[2]
        return ticket or None

    async def authorize(self, channels: Collection[str]) -> Access:
        """Return who asks, once it may read all these channels; raises `Refused`.

        To be acted on without awaiting anything else, see `Hub.admit`.
        """
        access = await authorize(self, self.state, channels, self.ticket(), self.tags())
        self._identity = access.identity
        return access

    def who_headers(self) -> dict[str, str]:
        """Return the header that says who asks, once that is known."""
        who = None if self._identity is None else self.state.page_key(self._identity.user)
        return {} if who is None else {WHO_FIELD: who}

    async def prepare(self) -> None:
        """Forget what a browser has added to the request of a page that may not act for its user.

        Else a page of any other site could read, and write, as who is logged in here.
        """
        origin = self.request.headers.get("Origin")
        if origin is None:
            return
        self.own_page = await self._is_own(origin)
        if not (self.own_page or self.origin_policy.allows_credentials(origin)):
            for name in self.ambient_fields:
                self.request.headers.pop(name, None)

    @property
    def origin_policy(self) -> OriginPolicy | FlaskCors:
        """The application's policy for pages of other origins: its own, else Flask-CORS's."""
        try:
            app = app_of(self)
        except ConfigurationError:
            return NO_OTHER_ORIGIN
        own = policy_in(app.extensions)
        if CORS_KEY in app.extensions:
            return own
        container = getattr(self.settings.get("http_server"), "container", None)
        mount = container.mount if container is not None else ""
        return flask_cors_of(app, self.request.path.removeprefix(mount)) or own

    async def _is_own(self, origin: str) -> bool:
        """Return whether an origin is this very site."""
        host = host_of(origin)
        headers = self.request.headers
        if host == headers.get("Host", "").lower():
            return True
        if not ("X-Forwarded-Host" in headers or "Forwarded" in headers):
            return False
        try:
            # Middleware of the application may know better than the server (`ProxyFix`).
            return host == (await in_flask(self, _own_host)).lower()
        except Refused:
            return False  # as the application will say again, when it is asked for a channel

    def cors_headers(self) -> dict[str, str]:
        """Return the headers that let a page of another origin read the answer."""
        origin = self.request.headers.get("Origin")
        headers = {"Vary": "Origin"}
        allowed = {} if origin is None else self.origin_policy.headers(origin)
        if allowed:
            # Without leave a page of another origin cannot see when to come back, nor the name.
            allowed["Access-Control-Expose-Headers"] = EXPOSED_HEADERS
        return headers | allowed

    def set_default_headers(self) -> None:
        self.set_header("Cache-Control", "no-store")
        for name, value in self.cors_headers().items():
            self.set_header(name, value)

    def options(self) -> None:
        """Answer a CORS preflight (Fetch standard, section 3.3.2)."""
        self.set_status(204)
        methods = ", ".join(methods_of(type(self)))
        self.set_header("Allow", methods)
        if "Access-Control-Allow-Origin" in self.cors_headers():
            self.set_header("Access-Control-Allow-Methods", methods)
            self.set_header("Access-Control-Allow-Headers", ALLOWED_HEADERS)
            self.set_header("Access-Control-Max-Age", str(PREFLIGHT_MAX_AGE_S))

    def on_connection_close(self) -> None:
        self.client_gone = True
        super().on_connection_close()

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        error = kwargs.get("exc_info", sys.exc_info())[1]
        message = error.message if isinstance(error, Refused) else None
        if message is None and isinstance(error, HTTPError):
            message = error.log_message
        if isinstance(error, Refused):
            for name, value in error.headers.items():
                self.set_header(name, value)
        self.finish(error_body(status_code, message))


@stream_request_body
class BodyHandler(LiveHandler):
    """Base of the handlers that take a body: `prepare()` comes before it, `post()` after it."""

    def initialize(self) -> None:
        self._body = bytearray()

    def data_received(self, chunk: bytes) -> None:
        self._body += chunk


def _own_host() -> str:
    """Return the host that the application takes itself to be; in a request context."""
    return flask.request.host


def error_body(status: int, message: str | None = None) -> dict[str, Any]:
    """Return the JSON shape of an error."""
    if message is None:
        message = http.HTTPStatus(status).phrase
    return {"message": message, "success": False, "code": status}
