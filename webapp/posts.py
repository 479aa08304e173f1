"""Posts and comments: what changes them and tells their readers; the view commits.

post = posts.create(user, title, body)   # added, flushed, announced
db.session.commit()                      # now it exists, and so does the event
"""

from __future__ import annotations

from sqlalchemy import Select, select

from webapp import channels, markdown
from webapp.extensions import db
from webapp.models import EXCERPT_CHARACTERS, Comment, Post, User, utc_now


def create(author: User, title: str, body: str) -> Post:
    """Add a post, with its event."""
    now = utc_now()
    post = Post(author=author, title=title, created_at=now, updated_at=now)
    _set_body(post, body)
    db.session.add(post)
    db.session.flush()
    channels.post_created(post)
    return post


def edit(post: Post, title: str | None = None, body: str | None = None) -> None:
    """Change what is given of a post, with its event."""
    if title is not None:
        post.title = title
    if body is not None:
        _set_body(post, body)
    post.updated_at = utc_now()
    db.session.flush()
    channels.post_updated(post)


def delete(post: Post) -> None:
    """Delete a post and its comments, with the event."""
    db.session.delete(post)
    channels.post_deleted(post.id)


def add_comment(post: Post, author: User, body: str) -> Comment:
    """Add a comment to a post, with its event."""
    comment = Comment(post_id=post.id, author=author, body=body)
    db.session.add(comment)
    db.session.flush()
    channels.comment_created(comment)
    return comment


def all_posts(author: User | None = None) -> Select[Post]:
    """Return the query for all posts, or for one author's."""
    statement = select(Post)
    return statement if author is None else statement.where(Post.author_id == author.id)


def comments_of(post: Post) -> Select[Comment]:
    """Return the query for a post's comments."""
    return select(Comment).where(Comment.post_id == post.id)


def _set_body(post: Post, body: str) -> None:
    rendered = markdown.render(body)
    post.body, post.body_html = body, rendered.html
    post.excerpt = markdown.excerpt(rendered.words, EXCERPT_CHARACTERS)
