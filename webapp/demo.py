"""Demonstration accounts, posts and comments, for a first look at the site."""

from __future__ import annotations

from sqlalchemy import select

from webapp import accounts, posts
from webapp.extensions import db
from webapp.models import Post, User

PASSWORD = "flasknado-demo"
NAMES = ("ada", "grace", "linus")

_POSTS = (
    (
        "ada",
        "Two halves, one process",
        "An ordinary page here is an ordinary **Flask** view on a thread.\n\n"
        "What stays open for hours is held by *Tornado* on the event loop. Both share one port,"
        " one session and one log-in.",
    ),
    (
        "grace",
        "Open this page twice",
        "1. Open the timeline in two windows.\n2. Log in and write something in one of them.\n"
        "3. Look at the other one.\n\nNo reload, and nothing is lost if you close the lid of"
        " your laptop in between: the browser asks for what it missed.",
    ),
    (
        "linus",
        "Where the events are kept",
        "An event is a row that commits together with the post it tells of:\n\n"
        '```python\nlive.publish("posts", "post.created", post_json(post))\n'
        "db.session.commit()\n```\n\nSo it exists if and only if the post does.",
    ),
)
_COMMENTS = (
    ("grace", 0, "And one log file."),
    ("ada", 1, "I did, and it came at once."),
    ("linus", 1, "Comments come by themselves too."),
    ("ada", 2, "And if the transaction is rolled back, nobody hears of it."),
)


def add() -> int:
    """Add what is missing of the demonstration, commit, and return how many posts that was."""
    people = {name: _account(name) for name in NAMES}
    added: dict[int, Post] = {}
    for number, (name, title, body) in enumerate(_POSTS):
        known = select(Post.id).where(Post.author_id == people[name].id, Post.title == title)
        if db.session.scalar(known) is None:
            added[number] = posts.create(people[name], title, body)
    for name, number, body in _COMMENTS:
        if number in added:
            posts.add_comment(added[number], people[name], body)
    db.session.commit()
    return len(added)


def _account(name: str) -> User:
    return accounts.find_by_name(name) or accounts.register(name, PASSWORD)
