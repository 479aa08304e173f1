"""The hooks that an application registers: who may read what, who asks, and what messages mean.

What a hook returns is checked here. It runs on a thread, in a Flask request context.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable
from typing import Any, TypeVar, overload

from flask import current_app
from werkzeug.exceptions import InternalServerError, NotFound, abort
from werkzeug.wrappers import Response

from flasknado.live.log.run_table import Run
from flasknado.live.tickets import NOBODY, Identity

MayRead = Callable[[str], Any]
MayStop = Callable[[Run], Any]
WhoAsks = Callable[[], Any]
OnMessage = Callable[[str, Any], Any]
OnPresence = Callable[[str, str, Any], Any]
WhoAsksT = TypeVar("WhoAsksT", bound=WhoAsks)
OnMessageT = TypeVar("OnMessageT", bound=OnMessage)
OnPresenceT = TypeVar("OnPresenceT", bound=OnPresence)
MayReadT = TypeVar("MayReadT", bound=MayRead)
MayStopT = TypeVar("MayStopT", bound=MayStop)


class Hooks:
    """The functions of one `Live`, and what they answer.

    They are registered before the server starts; what asks them may be called on any thread.
    """

    def __init__(self) -> None:
        self._may_read: MayRead | None = None
        self._who: WhoAsks | None = None
        self._may_stop: MayStop | None = None
        self._on_message: list[tuple[str, OnMessage]] = []
        self._on_presence: dict[str, list[tuple[str, OnPresence]]] = {"join": [], "leave": []}
        self._complained: set[str] = set()

    def authorize(self, function: MayReadT) -> MayReadT:
        """Register `function(channel) -> bool`, which decides who may read what; a decorator.

        It runs in a Flask request context made from the live request, after the
        application's `before_request` functions, on a thread. Without such a function nobody
        may read anything. It may `abort(401)` or `abort(404)` to give a reason.

        Only `True` grants access. `False` and `None` refuse with 403, a response (as from
        Flask-Login's `login_required`) or a tuple such as `("no", 401)` with its status, and
        anything else with 403 and a line in the log.
        """
        self._may_read = function
        return function

    def may_read(self, channel: str) -> bool:
        """Ask the registered function about one channel, in a request context.

        Raises what it raises, and `werkzeug.exceptions.HTTPException` for a response.
        """
        if self._may_read is None:
            current_app.logger.error(
                "access to channel %r was refused: register a function with @live.authorize",
                channel,
            )
            return False
        return self._granted("authorize", current_app.ensure_sync(self._may_read)(channel))

    def authorize_stop(self, function: MayStopT) -> MayStopT:
        """Register `function(run) -> bool`, which decides who may stop a run; a decorator.

        It is asked for `POST stop`, as `authorize`'s function is for channels, and its answer
        counts in the same way. Without such a function only the user who started a run may stop
        it.
        """
        self._may_stop = function
        return function

    def may_stop(self, run: Run) -> bool:
        """Ask the registered function about a run, in a request context; raises as `may_read`."""
        if self._may_stop is None:
            return run.user is not None and run.user == self.who().user
        return self._granted("authorize_stop", current_app.ensure_sync(self._may_stop)(run))

    def _granted(self, hook: str, said: object) -> bool:
        if said is True:
            return True
        if said is not False and said is not None:
            if isinstance(said, (Response, tuple)):
                _refuse_with(said)
            self._complain(
                hook, said, "return True to allow access; return False or abort() to refuse it"
            )
        return False

    def identity(self, function: WhoAsksT) -> WhoAsksT:
        """Register `function() -> Identity | None`, which identifies the user; a decorator.

        It runs where `authorize`'s function runs. The user counts for `revoke()`,
        LIVE_MAX_PER_USER and presence; at `expires_at` (of the session or token) the connection
        ends. Without such a function every client is anonymous.

        `None` means anonymous. A response or a tuple refuses with its status, and anything else
        with 500 and a line in the log.
        """
        self._who = function
        return function

    def who(self) -> Identity:
        """Ask the registered function who asks, in a request context.

        Raises what it raises, and `werkzeug.exceptions.HTTPException` for a wrong answer.
        """
        if self._who is None:
            return NOBODY
        said = current_app.ensure_sync(self._who)()
        if said is None:
            return NOBODY
        if isinstance(said, Identity):
            return said
        if isinstance(said, (Response, tuple)):
            _refuse_with(said)
        self._complain("identity", said, "return Identity(user), or None for anonymous users")
        raise InternalServerError("the application could not identify the user; see its log")

    @overload
    def on_message(self, pattern: OnMessageT) -> OnMessageT: ...

    @overload
    def on_message(self, pattern: str) -> Callable[[OnMessageT], OnMessageT]: ...

    def on_message(self, pattern: Any) -> Any:
        """Register `function(channel, data)` for messages of WebSocket clients; a decorator.

        With `@live.on_message` it gets the messages to all channels, with
        `@live.on_message("chat:*")` those to matching channels; the first match counts.
        It runs in a Flask request context of the client's handshake, in order for each
        client, only for channels that the client follows and while the user is the one who
        subscribed. Its return value is the client's reply; it may `abort(403)`, and a response
        refuses with its status.
        """
        if callable(pattern):
            return self.on_message("*")(pattern)

        def register(function: OnMessageT) -> OnMessageT:
            self._on_message.append((pattern, function))
            return function

        return register

    @overload
    def on_join(self, pattern: OnPresenceT) -> OnPresenceT: ...

    @overload
    def on_join(self, pattern: str) -> Callable[[OnPresenceT], OnPresenceT]: ...

    def on_join(self, pattern: Any) -> Any:
        """Register `function(channel, user, info)` for users who join a channel; a decorator.

        With `@live.on_join` it is called for every channel of LIVE_PRESENCE (and
        LIVE_PRESENCE_USERS), with `@live.on_join("room:*")` for matching ones; the first match
        counts. It is called once for each change, over all workers and machines: in the worker
        that noticed first, on a thread of its own, in an application context without a request.
        `info` is that of `Identity`. Users only: anonymous clients are counted, not told.

        Up to 10,000 changes wait for slow functions; more are dropped, and logged. A change
        whose worker is killed meanwhile is not handled.
        """
        return self._register_presence("join", pattern)

    @overload
    def on_leave(self, pattern: OnPresenceT) -> OnPresenceT: ...

    @overload
    def on_leave(self, pattern: str) -> Callable[[OnPresenceT], OnPresenceT]: ...

    def on_leave(self, pattern: Any) -> Any:
        """Register `function(channel, user, info)` for users whose last connection has left.

        Called as that of `on_join`, LIVE_PRESENCE_GRACE_S after the connection ended.
        """
        return self._register_presence("leave", pattern)

    def _register_presence(self, kind: str, pattern: Any) -> Any:
        if callable(pattern):
            return self._register_presence(kind, "*")(pattern)

        def register(function: OnPresenceT) -> OnPresenceT:
            self._on_presence[kind].append((pattern, function))
            return function

        return register

    def hears_of(self, channel: str, kind: str) -> bool:
        """Return whether a function is registered for such changes on a channel."""
        registered = self._on_presence.get(kind, ())
        return any(fnmatch.fnmatchcase(channel, pattern) for pattern, _ in registered)

    def presence_changed(self, channel: str, kind: str, user: str, info: Any) -> None:
        """Give a change of presence to its function, in an application context."""
        for pattern, function in self._on_presence.get(kind, ()):
            if fnmatch.fnmatchcase(channel, pattern):
                current_app.ensure_sync(function)(channel, user, info)
                return

    def answer(self, channel: str, data: Any) -> Any:
        """Give a message to its function, in a request context; return its answer.

        Raises `NotFound` (404) if no function takes messages to the channel.
        """
        for pattern, function in self._on_message:
            if fnmatch.fnmatchcase(channel, pattern):
                answer = current_app.ensure_sync(function)(channel, data)
                if isinstance(answer, Response):
                    abort(answer)
                return answer
        raise NotFound(f"nothing takes messages to the channel {channel!r}")

    def _complain(self, hook: str, said: object, rule: str) -> None:
        """Log, once for each hook, that its function returned what means nothing."""
        if hook not in self._complained:
            self._complained.add(hook)
            current_app.logger.error(
                "the function registered with @live.%s returned %.80r, of the type %s, which "
                "refuses: %s",
                hook,
                said,
                type(said).__name__,
                rule,
            )


def identify(hooks: Hooks) -> bool:
    """Return whether hooks have a function that says who asks."""
    return hooks._who is not None


def _refuse_with(said: Response | tuple[Any, ...]) -> None:
    """Raise an HTTP exception for a response, in any form that Flask takes from a view.

    Returns for a tuple that is none, and for a status that says that all is well.
    """
    try:
        response = current_app.make_response(said)
    except TypeError:
        return
    if response.status_code >= 300:
        abort(response)
