"""How many wrong passwords may be tried, and how many accounts made (Flask-Limiter).

Wrong passwords are counted by address, by account from one address, and by account from
anywhere; right ones never. The last keeps an attacker with many addresses slow. It does not
hold for an address from which the account's own person logged in within the last weeks, so
that strangers elsewhere cannot lock anybody out.

A guess is counted when it is answered, so those of the same moment may exceed a limit by one
for each view thread. Counting them first would cost each request of a flood a write.

Behind a proxy the address is the proxy's, unless the proxy is trusted (TRUSTED_PROXIES).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar, cast

from flask import Flask, Response, current_app, g, request
from flask_limiter import RateLimitExceeded
from werkzeug.exceptions import TooManyRequests

from webapp import rules
from webapp.addresses import address
from webapp.errors import answer
from webapp.extensions import limiter
from webapp.identity import current_user
from webapp.limit_storage import DatabaseStorage
from webapp.models import User

_LIMITED = "passes_the_limiter"
KNOWN_ADDRESS_S = 30 * 24 * 3600

P = ParamSpec("P")
R = TypeVar("R")


def register(app: Flask) -> None:
    """Bind the limiter to `app`, and answer 429 in the application's words."""
    limiter.init_app(cast(Flask, _HooksOfLimitedViews(app)))
    app.register_error_handler(RateLimitExceeded, lambda error: answer(too_many(error)))


def guard_password(account: Callable[[], str]) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Limit the wrong passwords that may be sent to a view; a decorator.

    Args:
        account: whose passwords they are, in a request: `typed_account` or `own_account`.
    """

    def pair() -> str:
        return f"{account()} {address()}"

    def nobodys() -> bool:
        return not account()

    def nobodys_or_known() -> bool:
        return nobodys() or _storage().get(_known(account())) > 0

    def guard(view: Callable[P, R]) -> Callable[P, R]:
        for name, key, exempt, whose in (
            ("LOGIN_LIMIT_PER_ADDRESS", address, None, "from your address"),
            ("LOGIN_LIMIT_PER_ACCOUNT_AND_ADDRESS", pair, nobodys, "for this account"),
            ("LOGIN_LIMIT_PER_ACCOUNT", account, nobodys_or_known, "for this account"),
        ):
            view = limiter.shared_limit(
                configured(name),
                scope=name.lower(),
                key_func=key,
                methods=["POST", "PUT"],
                exempt_when=exempt,
                deduct_when=_was_wrong,
                error_message=f"Too many wrong passwords {whose}",
            )(view)
        return limited(view)

    return guard


def guard_registration(view: Callable[P, R]) -> Callable[P, R]:
    """Limit the accounts that may be made from one address; a decorator."""
    guarded = limiter.shared_limit(
        configured("REGISTER_LIMIT_PER_ADDRESS"),
        scope="register",
        key_func=address,
        methods=["POST"],
        deduct_when=lambda response: response.status_code in (201, 302),
        error_message="Too many accounts were made from your address",
    )(view)
    return limited(guarded)


def note_wrong_password() -> None:
    """Count this request as a wrong guess, once it has been answered."""
    g.password_was_wrong = True


def note_right_password(user: User) -> None:
    """Let strangers' guesses not lock this address out of the account; the caller commits."""
    _storage().note(_known(user.username_key), KNOWN_ADDRESS_S)


def too_many(error: RateLimitExceeded) -> TooManyRequests:
    """Return a 429 (RFC 6585, section 4) that says when to try again."""
    limit = limiter.current_limit
    wait_s = max(1, math.ceil(limit.window.reset_time - time.time())) if limit else 1
    return TooManyRequests(f"{error.description}: try again {_in(wait_s)}.", retry_after=wait_s)


def typed_account() -> str:
    """Return the name in the form or JSON, in lower case; nothing if no account could have it."""
    fields: object = request.form
    if request.is_json:
        try:
            fields = request.get_json(silent=True)
        except RecursionError:
            return ""  # the view says what is wrong with it
    name = fields.get("username") if isinstance(fields, dict) else None
    if not isinstance(name, str) or not rules.is_username(name.strip()):
        return ""
    return name.strip().lower()


def own_account() -> str:
    """Return the name of who is logged in, in lower case."""
    return current_user().username_key


class _HooksOfLimitedViews:
    """The application as Flask-Limiter sees it: its hooks run for the views that it limits.

    For all others they would cost a third of what a small view costs. A limited view checks
    its limits itself, so that there is nothing to do before a request.
    """

    def __init__(self, app: Flask) -> None:
        self.config, self.extensions = app.config, app.extensions
        self._app = app

    def before_request(self, _check: Callable[[], None]) -> None:
        """Register nothing."""

    def after_request(self, count: Callable[[Response], Response]) -> None:
        """Register what counts the wrong passwords, and what adds the headers."""

        def count_limited(response: Response) -> Response:
            if not g.get(_LIMITED):
                return response
            # When to try again is said by whoever refuses, and by nobody else.
            retry_after = response.headers.get("Retry-After")
            response = count(response)
            response.headers.pop("Retry-After", None)
            if retry_after is not None:
                response.headers["Retry-After"] = retry_after
            return response

        self._app.after_request(count_limited)

    def teardown_request(self, forget: Callable[[BaseException | None], None]) -> None:
        """Register what forgets the request."""
        self._app.teardown_request(lambda error: forget(error) if g.get(_LIMITED) else None)


def limited(view: Callable[P, R]) -> Callable[P, R]:
    @wraps(view)
    def marked(*args: P.args, **kwargs: P.kwargs) -> R:
        setattr(g, _LIMITED, True)
        return view(*args, **kwargs)

    return marked


def configured(name: str) -> Callable[[], str]:
    """Return a function that returns a limit of the configuration."""
    return lambda: current_app.config[name]


def _was_wrong(response: Response) -> bool:  # noqa: ARG001
    return bool(g.get("password_was_wrong"))


def _known(name: str) -> str:
    return f"known/{name} {address()}"


def _storage() -> DatabaseStorage:
    storage = limiter.storage
    assert isinstance(storage, DatabaseStorage)
    return storage


def _in(wait_s: int) -> str:
    if wait_s < 100:
        return f"in {wait_s} seconds"
    return f"in {math.ceil(wait_s / 60)} minutes"
