"""The application's live channels: who may read them, and what is told on them.

`posts` is the timeline, `post:<id>` is one post and its comments. Both are as public as the
pages. An event joins the view's transaction: it exists if and only if the view commits.
"""

from __future__ import annotations

import re

from webapp.extensions import db, live
from webapp.models import Comment, Post
from webapp.serializers import comment_json, post_json

TIMELINE = "posts"
_POST_CHANNEL = re.compile(r"post:([1-9][0-9]{0,8})")


def post_channel(post_id: int) -> str:
    """Return the channel of one post."""
    return f"post:{post_id}"


def may_read(channel: str) -> bool:
    """Whether the person of this request may read `channel`; needs a request context."""
    if channel == TIMELINE:
        return True
    named = _POST_CHANNEL.fullmatch(channel)
    return named is not None and db.session.get(Post, int(named[1])) is not None


def post_created(post: Post) -> None:
    """Tell the timeline of a new post; call it after the flush and before the commit."""
    live.publish(TIMELINE, "post.created", post_json(post))


def post_updated(post: Post) -> None:
    """Tell the timeline and the post's readers of its new text."""
    data = post_json(post)
    live.publish(TIMELINE, "post.updated", data)
    live.publish(post_channel(post.id), "post.updated", data)


def post_deleted(post_id: int) -> None:
    """Tell the timeline and the post's readers that it is gone."""
    live.publish(TIMELINE, "post.deleted", {"id": post_id})
    live.publish(post_channel(post_id), "post.deleted", {"id": post_id})


def comment_created(comment: Comment) -> None:
    """Tell the post's readers of a new comment."""
    live.publish(post_channel(comment.post_id), "comment.created", comment_json(comment))


def register() -> None:
    """Make `may_read` the rule for live requests."""
    live.authorize(may_read)
