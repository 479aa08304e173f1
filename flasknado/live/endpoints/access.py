"""Asking the application who a client is and what it may read, and how its refusals are said."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Collection, Iterator

import flask
from tornado.web import RequestHandler

from flasknado.errors import ConfigurationError
from flasknado.live.errors import InvalidCursor, InvalidEvent, LiveError, TooManySubscribers
from flasknado.live.event import check_channel
from flasknado.live.hooks import Hooks
from flasknado.live.hub.hub import hub_of
from flasknado.live.state import LiveState
from flasknado.live.tickets import Access, Identity
from flasknado.native.in_flask import Caller, Refused, in_flask
from flasknado.native.lane import LaneSettings

RETRY_AFTER_S = 2
ASKED_AGAIN = 3
"""How often the application is asked when it revokes a user while it answers."""


async def authorize(
    source: RequestHandler | Caller,
    state: LiveState,
    channels: Collection[str],
    ticket: str | None = None,
) -> Access:
    """Return who asks, once it may read all these channels; raises `Refused`.

    The application is asked, unless a ticket of a minute ago says so. On the loop's thread.
    """
    try:
        hub = hub_of(state, source.settings.get("http_server"))
    except ConfigurationError as error:
        raise Refused(500, str(error)) from None
    with refusals():
        await hub.ready()  # else it does not know who was revoked
    if ticket is not None:
        admitted = hub.revocations.admits_by(ticket, channels)
        if admitted is not None:
            return admitted
    options = state.options
    lane = LaneSettings("live-authorize", options.authorize_threads, options.authorize_queue)
    for _ in range(ASKED_AGAIN):
        asked_at = time.monotonic()
        denied, identity, address = await in_flask(
            source,
            examine,
            state.hooks,
            channels,
            timeout_s=options.authorize_timeout_s,
            lane=lane,
        )
        if denied is not None:
            raise Refused(403, f"you may not read the channel {denied!r}")
        access = Access(identity, asked_at, sys.intern(address) if address else None)
        if hub.revocations.upholds(access):
            return access
        # What the application said is of before it took that user's access away.
    raise Refused(503, "your access is changing: try again", {"Retry-After": "2"})


def examine(hooks: Hooks, channels: Collection[str]) -> tuple[str | None, Identity, str | None]:
    """Return the first channel that may not be read, if any, who asks, and from which address.

    In a request context.
    """
    denied = next((channel for channel in channels if not hooks.may_read(channel)), None)
    return denied, hooks.who(), flask.request.remote_addr


@contextlib.contextmanager
def refusals() -> Iterator[None]:
    """Turn the errors of the live part into refusals: 400 for what is malformed, else 503."""
    try:
        yield
    except (InvalidEvent, InvalidCursor) as error:
        raise Refused(400, str(error)) from None
    except TooManySubscribers as error:
        raise Refused(error.status, str(error), {"Retry-After": str(RETRY_AFTER_S)}) from None
    except LiveError as error:
        raise Refused(503, str(error), {"Retry-After": str(RETRY_AFTER_S)}) from None


def check_last(last: object, max_last: int) -> int:
    """Return how many of a channel's newest events are asked for; raises `InvalidEvent`."""
    if isinstance(last, str) and last.isascii() and last.isdecimal():
        last = int(last[:10])
    if not isinstance(last, int) or isinstance(last, bool) or not 0 <= last <= max_last:
        raise InvalidEvent(
            f"last must be a whole number from 0 to {max_last} (LIVE_MAX_LAST), "
            f"not {str(last)[:80]!a}"
        )
    return last


def check_channels(channels: Collection[str], max_channels: int) -> None:
    """Raise `InvalidEvent` if these are too many channels, or one is none."""
    if len(channels) > max_channels:
        raise InvalidEvent(
            f"a connection may follow at most {max_channels} channels (LIVE_MAX_CHANNELS), "
            f"not {len(channels)}"
        )
    for channel in channels:
        check_channel(channel)
