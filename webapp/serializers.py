"""The API's JSON of the models; live events carry the same objects."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from webapp.models import Comment, Post, User


def post_json(post: Post) -> dict[str, Any]:
    """Return a post; `body` is Markdown, `excerpt` its beginning as plain text."""
    return {
        "id": post.id,
        "title": post.title,
        "body": post.body,
        "excerpt": post.excerpt,
        "author": post.author.username,
        "comment_count": post.comment_count,
        "created_at": timestamp(post.created_at),
        "updated_at": timestamp(post.updated_at),
    }


def comment_json(comment: Comment) -> dict[str, Any]:
    """Return a comment; `body` is plain text."""
    return {
        "id": comment.id,
        "post_id": comment.post_id,
        "body": comment.body,
        "author": comment.author.username,
        "created_at": timestamp(comment.created_at),
    }


def user_json(user: User) -> dict[str, Any]:
    """Return an account, without its secret."""
    return {
        "id": user.id,
        "username": user.username,
        "role": user.role,
        "disabled": user.disabled,
        "created_at": timestamp(user.created_at),
    }


def timestamp(moment: datetime) -> str:
    """Return RFC 3339 text in UTC, with milliseconds."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
