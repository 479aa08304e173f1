"""Comments on a post: listed by cursor, written."""

from __future__ import annotations

from typing import Any

from flask import Blueprint

from webapp import posts, rules
from webapp.api.parsing import texts
from webapp.database import find
from webapp.extensions import db
from webapp.identity import current_user, login_required
from webapp.models import Comment, Post
from webapp.paging import cursor_argument, limit_argument, page_of
from webapp.serializers import comment_json

DEFAULT_LIMIT = 50
MAX_LIMIT = 100

blueprint = Blueprint("comments", __name__, url_prefix="/posts/<int:post_id>/comments")


@blueprint.get("")
def index(post_id: int) -> dict[str, Any]:
    """List a post's comments, oldest first: `?cursor=`, `?limit=` (1 to 100)."""
    page = page_of(
        posts.comments_of(find(Post, post_id)),
        Comment.id,
        limit=limit_argument(DEFAULT_LIMIT, MAX_LIMIT),
        cursor=cursor_argument(),
        ascending=True,
    )
    comments = [comment_json(comment) for comment in page.items]
    return {"comments": comments, "next_cursor": page.next_cursor}


@blueprint.post("")
@login_required
def create(post_id: int) -> tuple[dict[str, Any], int]:
    """Write a comment of `{"body"}`."""
    post = find(Post, post_id)
    fields = texts({"body": rules.comment_body})
    comment = posts.add_comment(post, current_user(), fields["body"])
    answer = comment_json(comment)
    db.session.commit()
    return answer, 201
