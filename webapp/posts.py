"""Posts and comments: what changes them and tells their readers; the view commits.

post = posts.create(user, title, body)   # added, flushed, announced
db.session.commit()                      # now it exists, and so does the event
"""

from __future__ import annotations

from sqlalchemy import Select, select, update
from sqlalchemy.orm import defer
from sqlalchemy.orm.attributes import set_committed_value
from sqlalchemy.orm.exc import StaleDataError
from werkzeug.exceptions import Conflict, NotFound

from webapp import attachments, channels, markdown, notifications, search
from webapp.columns import utc_now
from webapp.database import find
from webapp.extensions import db
from webapp.models import EXCERPT_CHARACTERS, Comment, Post, User

AS_CARDS = defer(Post.body, raiseload=True)
"""The option of a query for posts in a list: their texts, 20 times as long, stay where they are."""


class EditedMeanwhileError(Conflict):
    """Somebody has changed the post since it was read (409)."""

    def __init__(self) -> None:
        super().__init__("Somebody has changed this post meanwhile: read it again first.")


def create(author: User, title: str, body: str) -> Post:
    """Add a post, with its event and notifications."""
    now = utc_now()
    post = Post(author=author, title=title, comment_count=0, created_at=now, updated_at=now)
    _set_body(post, body)
    db.session.add(post)
    db.session.flush()
    search.index(post)
    channels.post_created(post)
    notifications.of_post(post)
    return post


def edit(
    post: Post, title: str | None = None, body: str | None = None, *, version: int | None = None
) -> None:
    """Change what is given of a post, with its event.

    Args:
        version: the version that was read by whoever changes it.

    Raises:
        EditedMeanwhileError: the post has another version by now.
    """
    if version is not None and version != post.version:
        raise EditedMeanwhileError
    if title is not None:
        post.title = title
    if body is not None:
        _set_body(post, body)
    post.updated_at = utc_now()
    _flush_unless_stale()
    search.index(post)
    channels.post_updated(post)


def delete(post: Post) -> None:
    """Delete a post, its comments and attachments, with the event."""
    attachments.delete_files_of(post)
    db.session.delete(post)
    _flush_unless_stale()
    channels.post_deleted(post.id)


def add_comment(post: Post, author: User, body: str) -> Comment:
    """Add a comment to a post, with its event and notifications."""
    comment = Comment(post_id=post.id, author=author, body=body)
    db.session.add(comment)
    db.session.flush()
    channels.comment_created(comment, _count(post, 1))
    notifications.of_comment(post, comment)
    return comment


def delete_comment(post: Post, comment: Comment) -> None:
    """Delete a comment, with its event."""
    db.session.delete(comment)
    db.session.flush()
    channels.comment_deleted(comment, _count(post, -1))


def all_posts(author: User | None = None) -> Select[Post]:
    """Return the query for all posts, or for one author's."""
    statement = select(Post)
    return statement if author is None else statement.where(Post.author_id == author.id)


def find_comment(post_id: int, comment_id: int) -> Comment:
    """Return a comment of this post, or raise `NotFound` (404)."""
    comment = find(Comment, comment_id)
    if comment.post_id != post_id:
        raise NotFound(f"There is no comment {comment_id} on post {post_id}.")
    return comment


def comments_of(post: Post) -> Select[Comment]:
    """Return the query for a post's comments."""
    return select(Comment).where(Comment.post_id == post.id)


def _flush_unless_stale() -> None:
    """Write the change of a post, unless another one was committed since it was read."""
    try:
        db.session.flush()
    except StaleDataError:
        db.session.rollback()
        raise EditedMeanwhileError from None


def _count(post: Post, change: int) -> int:
    """Count a comment, and return how many there are now.

    In SQL, so that comments of the same moment all count; the row's lock puts them and their
    events in one order.
    """
    here = update(Post).where(Post.id == post.id)
    counted = here.values(comment_count=Post.comment_count + change).returning(Post.comment_count)
    count = db.session.scalar(counted, execution_options={"synchronize_session": False})
    set_committed_value(post, "comment_count", count)
    return int(count or 0)


def _set_body(post: Post, body: str) -> None:
    rendered = markdown.render(body)
    post.body, post.body_html = body, rendered.html
    post.excerpt = markdown.excerpt(rendered.words, EXCERPT_CHARACTERS)
