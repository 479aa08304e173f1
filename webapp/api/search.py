"""Searching posts and people."""

from __future__ import annotations

from typing import Any

from flask import Blueprint
from sqlalchemy import select

from webapp import search
from webapp.api import schemas
from webapp.api.spec import documented
from webapp.extensions import db
from webapp.models import Post, User
from webapp.paging import page_of
from webapp.serializers import post_json, profile_json

MOST_PEOPLE = 10

blueprint = Blueprint("search", __name__)


@blueprint.get("/search")
@documented("Search", gives={200: schemas.Found}, anybody=True)
def find(query: schemas.SearchQuery) -> dict[str, Any]:
    """Find posts with all of some words, the last one as a beginning, and people by name."""
    found: list[User] = []
    if (people := search.people_named(query.q)) is not None:
        found = list(db.session.scalars(people.limit(MOST_PEOPLE)))
    statement = search.posts_with(query.q)
    if statement is None:
        statement = select(Post).where(Post.id < 0)
    page = page_of(statement, Post.id, limit=query.limit, cursor=query.cursor)
    return {
        "posts": [post_json(post) for post in page.items],
        "people": [profile_json(user) for user in found],
        "next_cursor": page.next_cursor,
    }
