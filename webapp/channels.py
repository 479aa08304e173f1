"""The application's live channels: who may read them, and what is told on them.

`posts` is the timeline, `post:<id>` is one post and its comments, `chat` is everybody's chat,
`pulse` what the buttons of /pulse publish: they are as public as the pages. `user:<id>` is one
person's notifications, for that person only.
An event joins the view's transaction: it exists if and only if the view commits.
"""

from __future__ import annotations

import re

from flask import g

from webapp.extensions import db, live
from webapp.models import Comment, Notification, Post, User
from webapp.serializers import comment_json, notification_json, post_json

TIMELINE = "posts"
CHAT = "chat"
PULSE = "pulse"
_POST_CHANNEL = re.compile(r"post:([1-9][0-9]{0,8})")


def post_channel(post_id: int) -> str:
    """Return the channel of one post."""
    return f"post:{post_id}"


def user_channel(user_id: int) -> str:
    """Return the channel of one person's notifications."""
    return f"user:{user_id}"


def profile_channel(username: str) -> str:
    """Return the channel of what a person's page says of that person, for kept pages only."""
    return f"profile:{username.lower()}"


def may_read(channel: str) -> bool:
    """Whether the person of this request may read `channel`; needs a request context."""
    if channel in (TIMELINE, CHAT, PULSE):
        return True
    if channel.startswith("user:"):
        person = g.get("user")
        return person is not None and channel == user_channel(person.id)
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


def comment_created(comment: Comment, count: int) -> None:
    """Tell the post's readers of a new comment, and everybody how many there are now."""
    live.publish(post_channel(comment.post_id), "comment.created", comment_json(comment))
    _counted(comment.post_id, count)


def comment_deleted(comment: Comment, count: int) -> None:
    """Tell the post's readers that a comment is gone, and everybody how many there are now."""
    live.publish(post_channel(comment.post_id), "comment.deleted", {"id": comment.id})
    _counted(comment.post_id, count)


def attachments_changed(post_id: int) -> None:
    """Tell the post's readers that it has other attachments now."""
    live.publish(post_channel(post_id), "post.attachments", {"id": post_id})


def profile_changed(user: User) -> None:
    """Tell the kept pages of a person that they are no longer so."""
    live.publish(profile_channel(user.username), "profile.changed")


def notified(notification: Notification, unread: int) -> None:
    """Tell a person of a notification, and how many are unread now."""
    data = notification_json(notification) | {"unread": unread}
    live.publish(user_channel(notification.user_id), "notification.created", data)


def _counted(post_id: int, count: int) -> None:
    for channel in (TIMELINE, post_channel(post_id)):
        live.publish(channel, "post.commented", {"id": post_id, "comment_count": count})


def register() -> None:
    """Make `may_read` the rule for live requests."""
    live.authorize(may_read)
