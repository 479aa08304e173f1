"""The API's JSON of the models; live events carry the same objects."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from flask import url_for

from webapp.models import Attachment, Comment, Notification, Post, User
from webapp.records import ApiToken, LoginSession


def post_json(post: Post) -> dict[str, Any]:
    """Return a post; `body` is Markdown, `excerpt` its beginning as plain text."""
    return post_card_json(post) | {"body": post.body}


def post_card_json(post: Post) -> dict[str, Any]:
    """Return what a list shows of a post."""
    return {
        "id": post.id,
        "title": post.title,
        "excerpt": post.excerpt,
        "author": post.author.username,
        "comment_count": post.comment_count,
        "version": post.version,
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
        "about": user.about,
        "role": user.role,
        "disabled": user.disabled,
        "created_at": timestamp(user.created_at),
    }


def profile_json(user: User) -> dict[str, Any]:
    """Return what everybody may know of an account."""
    return {
        "username": user.username,
        "about": user.about,
        "created_at": timestamp(user.created_at),
    }


def attachment_json(attachment: Attachment) -> dict[str, Any]:
    """Return an attachment; `url` is where its bytes are."""
    return {
        "id": attachment.id,
        "post_id": attachment.post_id,
        "name": attachment.name,
        "media_type": attachment.media_type,
        "size_bytes": attachment.size_bytes,
        "url": url_for("attachments.download", attachment_id=attachment.id, name=attachment.name),
        "created_at": timestamp(attachment.created_at),
    }


def notification_json(notification: Notification) -> dict[str, Any]:
    """Return a notification; `kind` is `comment` or `mention`."""
    return {
        "id": notification.id,
        "kind": notification.kind,
        "actor": notification.actor.username,
        "post_id": notification.post_id,
        "post_title": notification.post.title,
        "comment_id": notification.comment_id,
        "created_at": timestamp(notification.created_at),
        "read_at": timestamp(notification.read_at) if notification.read_at else None,
    }


def session_json(session: LoginSession, current: bool) -> dict[str, Any]:
    """Return a browser that is logged in, and whether it is the one that asks."""
    return {
        "id": session.id,
        "browser": session.browser,
        "address": session.address,
        "created_at": timestamp(session.created_at),
        "seen_at": timestamp(session.seen_at),
        "current": current,
    }


def api_token_json(token: ApiToken) -> dict[str, Any]:
    """Return an API token's record, without the token."""
    return {
        "id": token.id,
        "name": token.name,
        "created_at": timestamp(token.created_at),
        "expires_at": timestamp(token.expires_at),
    }


def timestamp(moment: datetime) -> str:
    """Return RFC 3339 text in UTC, with milliseconds."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
