"""Posts: listed by cursor, read, written, edited, deleted."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, url_for
from werkzeug.exceptions import Forbidden, NotFound

from webapp import markdown, posts
from webapp.accounts import find_by_name
from webapp.api import schemas
from webapp.api.conditions import check_unchanged
from webapp.api.spec import documented
from webapp.body_limits import POST_BYTES, max_body_bytes
from webapp.database import find
from webapp.extensions import db
from webapp.idempotency import idempotent
from webapp.identity import current_user, login_required
from webapp.models import Post
from webapp.paging import page_of
from webapp.serializers import post_json

blueprint = Blueprint("posts", __name__)


@blueprint.get("/posts")
@documented("Posts", gives={200: schemas.Posts}, also=(404,), anybody=True)
def index(query: schemas.PostsQuery) -> dict[str, Any]:
    """List posts, newest first."""
    author = None
    if query.author is not None:
        author = find_by_name(query.author)
        if author is None:
            raise NotFound(f"There is nobody with the name {query.author}.")
    page = page_of(posts.all_posts(author), Post.id, limit=query.limit, cursor=query.cursor)
    return {"posts": [post_json(post) for post in page.items], "next_cursor": page.next_cursor}


@blueprint.post("/posts")
@max_body_bytes(POST_BYTES)
@login_required
@idempotent
@documented("Posts", gives={201: schemas.Post}, also=(413, 415), headers=schemas.IdempotencyHeader)
def create(json: schemas.NewPost) -> tuple[dict[str, Any], int, dict[str, str]]:
    """Write a post."""
    post = posts.create(current_user(), json.title, json.body)
    return post_json(post), 201, {"Location": url_for(".read", post_id=post.id)}


@blueprint.get("/posts/<int:post_id>")
@documented(
    "Posts",
    gives={200: schemas.Post, 304: None},
    also=(404,),
    anybody=True,
    headers=schemas.IfNoneMatchHeader,
)
def read(post_id: int) -> dict[str, Any]:
    """Show a post."""
    return post_json(find(Post, post_id))


@blueprint.patch("/posts/<int:post_id>")
@max_body_bytes(POST_BYTES)
@login_required
@documented(
    "Posts",
    gives={200: schemas.Post},
    also=(403, 404, 409, 412, 413, 415),
    headers=schemas.IfMatchHeader,
)
def edit(post_id: int, json: schemas.PostChange) -> dict[str, Any]:
    """Change a post's title, text or both."""
    post = _own_post(post_id)
    posts.edit(post, json.title, json.body, version=json.version)
    answer = post_json(post)
    db.session.commit()
    return answer


@blueprint.delete("/posts/<int:post_id>")
@login_required
@documented("Posts", gives={204: None}, also=(403, 404, 409, 412), headers=schemas.IfMatchHeader)
def delete(post_id: int) -> tuple[str, int]:
    """Delete a post, its comments and attachments."""
    posts.delete(_own_post(post_id))
    db.session.commit()
    return "", 204


@blueprint.post("/markdown")
@max_body_bytes(POST_BYTES)
@login_required
@documented("Posts", gives={200: schemas.Html}, also=(413, 415))
def preview(json: schemas.Markdown) -> dict[str, Any]:
    """Show a text as it would be in a post."""
    return {"html": markdown.render(json.body).html}


def _own_post(post_id: int) -> Post:
    post = find(Post, post_id)
    if not current_user().may_change(post):
        raise Forbidden("Only its author and administrators may change this post.")
    check_unchanged(post_json(post))
    return post
