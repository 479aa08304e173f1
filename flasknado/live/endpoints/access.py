"""Asking the application who a client is and what it may read, and how its refusals are said."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Collection, Iterator, Sequence

import flask
from tornado.web import RequestHandler
from werkzeug.exceptions import HTTPException

from flasknado.errors import ConfigurationError
from flasknado.live.errors import InvalidCursor, InvalidEvent, LiveError, TooManySubscribers
from flasknado.live.event import check_channel, is_pattern
from flasknado.live.hooks import Hooks
from flasknado.live.hub.grants import Grants
from flasknado.live.hub.hub import hub_of
from flasknado.live.options import LiveOptions
from flasknado.live.state import LiveState
from flasknado.live.tickets import Access, Identity, Ticket
from flasknado.native.in_flask import Caller, Refused, in_flask
from flasknado.native.lane import LaneSettings

RETRY_AFTER_S = 2
MAX_TAGS = 16
ASKED_AGAIN = 3
"""How often the application is asked when it revokes a user while it answers."""


async def authorize(
    source: RequestHandler | Caller,
    state: LiveState,
    channels: Collection[str],
    ticket: str | None = None,
    tags: Sequence[Ticket] = (),
) -> Access:
    """Return who asks, once it may read all these channels; raises `Refused`.

    The application is asked, unless a ticket of a minute ago says so. It is asked who asks only,
    not if that one may read it, about a channel that a tag of the same user names. On the loop's
    thread.
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
    by_tags = [
        (channel, tag.identity)
        for tag in tags
        for channel in tag.channels.intersection(channels)
        if hub.revocations.is_since(tag.identity, (channel,), tag.place)
    ]
    for _ in range(ASKED_AGAIN):
        asked_at = time.monotonic()
        denied, identity, address = await in_flask(
            source,
            examine,
            state.hooks,
            channels,
            by_tags,
            timeout_s=options.authorize_timeout_s,
            lane=lane,
        )
        if denied is not None:
            raise Refused(403, f"you may not read the channel {denied!r}")
        known = sys.intern(address) if address else None
        access = Access(identity, asked_at, frozenset(channels), known)
        if hub.revocations.upholds(access):
            return access
        # What the application said is of before it took that user's access away.
    raise Refused(503, "your access is changing: try again", {"Retry-After": "2"})


def tags_of(texts: Sequence[str], state: LiveState) -> list[Ticket]:
    """Return what the tags of a page say (`Live.tag`); raises `Refused` for one that is no good."""
    if len(texts) > MAX_TAGS:
        raise Refused(400, f"a connection may have at most {MAX_TAGS} tags, not {len(texts)}")
    now = time.time()
    tags: list[Ticket] = []
    for text in texts:
        tag = None
        if state.tickets is not None:
            tag = state.tickets.check_tag(text, now, state.options.tag_lifetime_s)
        if tag is None:
            raise Refused(403, "the tag is not valid, or has expired: reload the page")
        tags.append(tag)
    return tags


def examine(
    hooks: Hooks, channels: Collection[str], by_tags: Collection[tuple[str, Identity]] = ()
) -> tuple[str | None, Identity, str | None]:
    """Return the first channel that may not be read, if any, who asks, and from which address.

    In a request context. The channels of a pattern are asked for one by one, when they have an
    event (`grants`).
    """
    identity = hooks.who()
    # The tag of a page that nobody in particular has loaded is good for everybody.
    tagged = {c for c, user in by_tags if user.user is None or user.is_same_user(identity)}
    named = [c for c in channels if not is_pattern(c) and c not in tagged]
    denied = next((channel for channel in named if not hooks.may_read(channel)), None)
    return denied, identity, flask.request.remote_addr


def grants(caller: Caller, state: LiveState) -> Grants:
    """Return what decides for one client about the channels of its patterns."""

    async def ask(channels: Collection[str]) -> tuple[frozenset[str], Access]:
        options = state.options
        lane = LaneSettings("live-authorize", options.authorize_threads, options.authorize_queue)
        hub = hub_of(state, caller.settings.get("http_server"))
        for _ in range(ASKED_AGAIN):
            asked_at = time.monotonic()
            granted, identity = await in_flask(
                caller,
                _readable,
                state.hooks,
                channels,
                timeout_s=options.authorize_timeout_s,
                lane=lane,
            )
            access = Access(identity, asked_at, granted)
            if hub.revocations.upholds(access):
                return granted, access
        raise Refused(503, "your access is changing: try again", {"Retry-After": "2"})

    return Grants(ask, state.options.max_pattern_channels)


def _readable(hooks: Hooks, channels: Collection[str]) -> tuple[frozenset[str], Identity]:
    """Return those of some channels that may be read, and who asks; in a request context."""
    return frozenset(channel for channel in channels if _may_read(hooks, channel)), hooks.who()


def _may_read(hooks: Hooks, channel: str) -> bool:
    try:
        return hooks.may_read(channel)
    except HTTPException as error:
        # A refusal with a reason, which nobody has asked for here.
        if (error.code or 500) >= 500:
            raise
        return False


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


def check_channels(channels: Collection[str], options: LiveOptions) -> None:
    """Raise `InvalidEvent` if these are too many channels, or nobody may follow one of them."""
    max_channels = options.max_channels
    if len(channels) > max_channels:
        raise InvalidEvent(
            f"a connection may follow at most {max_channels} channels (LIVE_MAX_CHANNELS), "
            f"not {len(channels)}"
        )
    for channel in channels:
        if channel not in options.patterns:
            check_channel(channel)
