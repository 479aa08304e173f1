"""What the native handlers ask the application for: they may not import this package.

Each hook is in `app.extensions`, and is called in a Flask request context, on a thread, with the
identity of the request there. What it returns is plain data.
"""

from __future__ import annotations

import time
from typing import Any

from flask import Flask, current_app, g, url_for
from itsdangerous import BadSignature, URLSafeTimedSerializer
from werkzeug.exceptions import BadRequest, Forbidden

from webapp import markdown, rules, search
from webapp.channels import CHAT, PULSE
from webapp.columns import utc_now
from webapp.database import end_transaction, find
from webapp.extensions import db, live
from webapp.identity import current_user
from webapp.models import ADMIN, Post
from webapp.posts import AS_CARDS
from webapp.serializers import post_card_json, profile_json, timestamp
from webapp.write_limits import count_said

POSTS_FOUND, PEOPLE_FOUND = 10, 5
SUMMARY_CHARACTERS = 1_200
CHAT_CHARACTERS = 500
BUSY_S = 3.0
_TICKET_S = 30


def register(app: Flask) -> None:
    """Set the hooks, and the view that the pulse keeps threads busy with."""
    app.extensions["webapp.search"] = found
    app.extensions["webapp.chat"] = say
    app.extensions["webapp.summary"] = summary
    app.extensions["webapp.pulse"] = PulseHooks()
    app.add_url_rule("/busy/<ticket>", "busy", busy)


def found(query: str) -> dict[str, Any]:
    """Return the newest posts and the people that a query finds."""
    posts, people = [], []
    if (statement := search.posts_with(query)) is not None:
        newest = statement.options(AS_CARDS).order_by(Post.id.desc()).limit(POSTS_FOUND)
        posts = [post_card_json(post) for post in db.session.scalars(newest)]
    if (named := search.people_named(query)) is not None:
        people = [profile_json(user) for user in db.session.scalars(named.limit(PEOPLE_FOUND))]
    return {"posts": posts, "people": people}


def say(text: str) -> None:
    """Say something in the chat.

    Raises `Unauthorized`, `ValueError` for a bad text, and `TooManyRequests`.
    """
    user = current_user()
    said = rules.chat_line(text, CHAT_CHARACTERS)
    count_said()
    line = {"author": user.username, "text": said, "created_at": timestamp(utc_now())}
    live.publish(CHAT, "chat.said", line, buffered=True)


def summary(post: str) -> str:
    """Return the beginning of a post as plain text; raises `NotFound`, `BadRequest`."""
    if not post.isascii() or not post.isdigit() or len(post) > 9:
        raise BadRequest("post must be the number of a post.")
    words = markdown.render_any_words(find(Post, int(post)).body)
    return markdown.excerpt(words, SUMMARY_CHARACTERS)


class PulseHooks:
    """What the pulse asks: who may look, and what its buttons need."""

    def access(self) -> dict[str, Any]:
        """Return what who asks may do: everything in development, else administrators only."""
        trusted = current_app.config["APP_ENV"] == "development" or ADMIN in g.roles
        return {"see": trusted, "act": trusted, "user": g.user.username if g.user else None}

    def publish(self, count: int) -> None:
        """Publish events that are kept for minutes only, so that they displace no others."""
        for number in range(1, count + 1):
            live.publish(PULSE, "pulse.tick", {"number": number}, buffered=True)

    def busy(self) -> dict[str, Any]:
        """Return how many threads there are, and the path of a view that keeps one busy."""
        path = url_for("busy", ticket=_signer().dumps("busy"))
        return {"threads": current_app.config["THREADS"], "path": path, "seconds": BUSY_S}


def busy(ticket: str) -> str:
    """Keep a thread busy for `BUSY_S`; only for whom the pulse has given a ticket."""
    try:
        _signer().loads(ticket, max_age=_TICKET_S)
    except BadSignature:
        raise Forbidden("This is for the buttons of the page /pulse.") from None
    end_transaction()
    time.sleep(BUSY_S)
    return "done\n"


def _signer() -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(current_app.config["SECRET_KEY"], salt="webapp.pulse")
