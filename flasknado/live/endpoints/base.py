"""What the transports share: their query, authorisation, CORS and errors.

A refusal is JSON, `{"message", "success": false, "code"}`, and always comes before a
stream has begun.
"""

from __future__ import annotations

import http
import sys
from collections.abc import Collection
from typing import Any, ClassVar
from urllib.parse import urlsplit

from tornado.web import HTTPError, RequestHandler

from flasknado.errors import ConfigurationError
from flasknado.live.endpoints.access import authorize, check_channels, refusals
from flasknado.live.event import Cursor, parse_cursor
from flasknado.live.formats import TICKET_MARK, WHO_FIELD, cursor_of_last_event_id
from flasknado.live.hub.hub import Hub, hub_of
from flasknado.live.origins import NO_OTHER_ORIGIN, OriginPolicy, policy_in
from flasknado.live.state import LiveState, state_of
from flasknado.live.tickets import Access, Identity
from flasknado.native.in_flask import Refused, app_of

ALLOWED_METHODS = "GET, HEAD, OPTIONS"
ALLOWED_HEADERS = "Authorization, Cache-Control, Last-Event-ID"
EXPOSED_HEADERS = f"Retry-After, X-Request-ID, {WHO_FIELD}"
PREFLIGHT_MAX_AGE_S = 600


class LiveHandler(RequestHandler):
    """Base of the live handlers; one per request, on the loop's thread."""

    ambient_fields: ClassVar[tuple[str, ...]] = ("Cookie",)
    """What a browser adds to a request by itself, and a page cannot: who is logged in."""
    client_gone = False
    _identity: Identity | None = None

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
        """Return the client's address, as a trusted proxy says it."""
        address = self.request.remote_ip
        return sys.intern(address) if address else None

    def channels(self) -> list[str]:
        """Return the channels asked for, each once; raises `Refused` (400)."""
        channels = list(dict.fromkeys(self.get_query_arguments("channel", strip=False)))
        if not channels:
            raise Refused(400, "no channel is named: ask for ?channel=NAME, once for each")
        with refusals():
            check_channels(channels, self.state.options.max_channels)
        return channels

    def after(self) -> Cursor | None:
        """Return the cursor asked for by `after`; raises `Refused` (400)."""
        text = self.get_query_argument("after", None)
        if text is None:
            return None
        with refusals():
            return parse_cursor(text.partition(TICKET_MARK)[0])

    def last_event_id(self) -> Cursor | None:
        """Return the cursor that a reconnecting EventSource sends."""
        return cursor_of_last_event_id(self.request.headers.get("Last-Event-ID"))

    def ticket(self) -> str | None:
        """Return the reconnect ticket, if one is there: apart, or behind a cursor."""
        behind = self.request.headers.get("Last-Event-ID") or self.get_query_argument("after", "")
        ticket = self.get_query_argument("ticket", None) or behind.partition(TICKET_MARK)[2]
        return ticket or None

    async def authorize(self, channels: Collection[str]) -> Access:
        """Return who asks, once it may read all these channels; raises `Refused`.

        To be acted on without awaiting anything else, see `Hub.admit`.
        """
        access = await authorize(self, self.state, channels, self.ticket())
        self._identity = access.identity
        return access

    def who_headers(self) -> dict[str, str]:
        """Return the header that says who asks, once that is known."""
        who = None if self._identity is None else self.state.page_key(self._identity.user)
        return {} if who is None else {WHO_FIELD: who}

    def prepare(self) -> None:
        """Forget what a browser has added to the request of a page that may not act for its user.

        Else a page of any other site could read, and write, as who is logged in here.
        """
        origin = self.request.headers.get("Origin")
        if origin is None or self.same_origin(origin):
            return
        if not self.origin_policy.allows_credentials(origin):
            for name in self.ambient_fields:
                self.request.headers.pop(name, None)

    @property
    def origin_policy(self) -> OriginPolicy:
        """The application's policy for pages of other origins."""
        try:
            return policy_in(app_of(self).extensions)
        except ConfigurationError:
            return NO_OTHER_ORIGIN

    def same_origin(self, origin: str) -> bool:
        """Return whether an origin is this very site."""
        return urlsplit(origin).netloc.lower() == self.request.headers.get("Host", "").lower()

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
        self.set_header("Allow", ALLOWED_METHODS)
        if "Access-Control-Allow-Origin" in self.cors_headers():
            self.set_header("Access-Control-Allow-Methods", ALLOWED_METHODS)
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
        if status_code == 405:
            self.set_header("Allow", ALLOWED_METHODS)
        self.finish(error_body(status_code, message))


def error_body(status: int, message: str | None = None) -> dict[str, Any]:
    """Return the JSON shape of an error."""
    if message is None:
        message = http.HTTPStatus(status).phrase
    return {"message": message, "success": False, "code": status}
