"""Comments on a post: listed by cursor, written, deleted."""

from __future__ import annotations

from typing import Any

from flask import Blueprint
from werkzeug.exceptions import Forbidden

from webapp import posts
from webapp.api import schemas
from webapp.api.spec import documented
from webapp.database import find
from webapp.extensions import db
from webapp.idempotency import idempotent
from webapp.identity import current_user, login_required
from webapp.models import Comment, Post
from webapp.paging import page_of
from webapp.serializers import comment_json

blueprint = Blueprint("comments", __name__, url_prefix="/posts/<int:post_id>/comments")


@blueprint.get("")
@documented("Comments", gives={200: schemas.Comments}, also=(404,), anybody=True)
def index(post_id: int, query: schemas.ListQuery) -> dict[str, Any]:
    """List a post's comments, oldest first."""
    page = page_of(
        posts.comments_of(find(Post, post_id)),
        Comment.id,
        limit=query.limit,
        cursor=query.cursor,
        ascending=True,
    )
    comments = [comment_json(comment) for comment in page.items]
    return {"comments": comments, "next_cursor": page.next_cursor}


@blueprint.post("")
@login_required
@idempotent
@documented(
    "Comments", gives={201: schemas.Comment}, also=(404, 415), headers=schemas.IdempotencyHeader
)
def create(post_id: int, json: schemas.NewComment) -> tuple[dict[str, Any], int]:
    """Write a comment."""
    comment = posts.add_comment(find(Post, post_id), current_user(), json.body)
    return comment_json(comment), 201


@blueprint.delete("/<int:comment_id>")
@login_required
@documented("Comments", gives={204: None}, also=(403, 404))
def delete(post_id: int, comment_id: int) -> tuple[str, int]:
    """Delete a comment: its author and administrators may."""
    comment = posts.find_comment(post_id, comment_id)
    if not current_user().may_change(comment):
        raise Forbidden("Only its author and administrators may delete this comment.")
    posts.delete_comment(find(Post, post_id), comment)
    db.session.commit()
    return "", 204
