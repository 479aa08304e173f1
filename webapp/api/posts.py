"""Posts: listed by cursor, read, written, edited, deleted."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, request, url_for
from werkzeug.exceptions import Forbidden, NotFound

from webapp import posts, rules
from webapp.accounts import find_by_name
from webapp.api.parsing import texts
from webapp.body_limits import POST_BYTES, max_body_bytes
from webapp.database import find
from webapp.extensions import db
from webapp.identity import current_user, login_required
from webapp.models import Post
from webapp.paging import cursor_argument, limit_argument, page_of
from webapp.serializers import post_json

DEFAULT_LIMIT = 20
MAX_LIMIT = 100

blueprint = Blueprint("posts", __name__, url_prefix="/posts")


@blueprint.get("")
def index() -> dict[str, Any]:
    """List posts, newest first: `?cursor=`, `?limit=` (1 to 100), `?author=`."""
    author = None
    if "author" in request.args:
        author = find_by_name(request.args["author"])
        if author is None:
            raise NotFound(f"There is nobody with the name {request.args['author']}.")
    page = page_of(
        posts.all_posts(author),
        Post.id,
        limit=limit_argument(DEFAULT_LIMIT, MAX_LIMIT),
        cursor=cursor_argument(),
    )
    return {"posts": [post_json(post) for post in page.items], "next_cursor": page.next_cursor}


@blueprint.post("")
@max_body_bytes(POST_BYTES)
@login_required
def create() -> tuple[dict[str, Any], int, dict[str, str]]:
    """Write a post of `{"title", "body"}`."""
    fields = texts({"title": rules.title, "body": rules.post_body})
    post = posts.create(current_user(), fields["title"], fields["body"])
    answer = post_json(post)
    db.session.commit()
    return answer, 201, {"Location": url_for(".read", post_id=post.id)}


@blueprint.get("/<int:post_id>")
def read(post_id: int) -> dict[str, Any]:
    """Show a post."""
    return post_json(find(Post, post_id))


@blueprint.patch("/<int:post_id>")
@max_body_bytes(POST_BYTES)
@login_required
def edit(post_id: int) -> dict[str, Any]:
    """Change a post's `title`, `body` or both."""
    post = _own_post(post_id)
    posts.edit(post, **texts({"title": rules.title, "body": rules.post_body}, partial=True))
    answer = post_json(post)
    db.session.commit()
    return answer


@blueprint.delete("/<int:post_id>")
@login_required
def delete(post_id: int) -> tuple[str, int]:
    """Delete a post and its comments."""
    posts.delete(_own_post(post_id))
    db.session.commit()
    return "", 204


def _own_post(post_id: int) -> Post:
    post = find(Post, post_id)
    if not current_user().may_change(post):
        raise Forbidden("Only its author and administrators may change this post.")
    return post
