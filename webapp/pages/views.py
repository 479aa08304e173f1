"""The views for reading and writing.

The pages that update themselves read the live cursor before their data, so that nothing which
is committed in between can be missed: at worst an event tells of a post that the page has.
"""

from __future__ import annotations

from flask import Blueprint, flash, g, redirect, render_template, request, url_for
from markupsafe import Markup
from sqlalchemy.orm import undefer
from werkzeug.exceptions import Forbidden, NotFound
from werkzeug.wrappers import Response

from webapp import posts
from webapp.accounts import find_by_name
from webapp.body_limits import POST_BYTES, max_body_bytes
from webapp.channels import TIMELINE, post_channel
from webapp.database import find
from webapp.extensions import db, live
from webapp.identity import current_user, login_required
from webapp.models import Comment, Post, User
from webapp.pages.forms import CommentForm, EmptyForm, PostForm
from webapp.paging import cursor_argument, page_of

POSTS_ON_A_PAGE = 20
COMMENTS_ON_A_PAGE = 100

blueprint = Blueprint("pages", __name__)

Answer = str | Response | tuple[str, int]


@blueprint.get("/")
def timeline() -> Answer:
    """Show everybody's posts, newest first; the first page updates itself."""
    cursor = cursor_argument("before")
    live_cursor = live.cursor() if cursor is None else None
    page = page_of(posts.all_posts(), Post.id, limit=POSTS_ON_A_PAGE, cursor=cursor)
    return render_template(
        "pages/timeline.html",
        page=page,
        live_cursor=live_cursor,
        live_channel=TIMELINE,
        live_key=live.page_key(),
    )


@blueprint.get("/<username>")
def profile(username: str) -> Answer:
    """Show one person's posts, newest first."""
    user = _user_or_404(username)
    if user.username != username:
        return redirect(url_for(".profile", username=user.username), 301)
    page = page_of(
        posts.all_posts(user), Post.id, limit=POSTS_ON_A_PAGE, cursor=cursor_argument("before")
    )
    return render_template("pages/profile.html", user=user, page=page)


@blueprint.get("/user/<name>")
def user(name: str) -> Answer:
    """Redirect to the person's page under its shorter address."""
    return redirect(url_for(".profile", username=_user_or_404(name).username), 301)


@blueprint.get("/post/<int:post_id>")
def post(post_id: int) -> Answer:
    """Show one post with its comments; the newest page of them updates itself."""
    return _post_page(post_id, CommentForm())


@blueprint.post("/post/<int:post_id>/comments")
@login_required
def comment(post_id: int) -> Answer:
    """Take a comment."""
    form = CommentForm()
    if not form.validate():
        return _post_page(post_id, form), 422
    added = posts.add_comment(find(Post, post_id), current_user(), form.body.data)
    db.session.commit()
    return redirect(url_for(".post", post_id=post_id, _anchor=f"comment-{added.id}"))


@blueprint.route("/write", methods=["GET", "POST"])
@max_body_bytes(POST_BYTES)
@login_required
def write() -> Answer:
    """Show and take the form for a new post."""
    form = PostForm()
    if form.validate_on_submit():
        written = posts.create(current_user(), form.title.data, form.body.data)
        db.session.commit()
        return redirect(url_for(".post", post_id=written.id))
    return render_template("pages/write.html", form=form, post=None), 422 if form.errors else 200


@blueprint.route("/post/<int:post_id>/edit", methods=["GET", "POST"])
@max_body_bytes(POST_BYTES)
@login_required
def edit(post_id: int) -> Answer:
    """Show and take the form for a post that is there already."""
    edited = _own_post(post_id)
    form = PostForm(obj=edited)
    if form.validate_on_submit():
        posts.edit(edited, form.title.data, form.body.data)
        db.session.commit()
        return redirect(url_for(".post", post_id=post_id))
    return render_template("pages/write.html", form=form, post=edited), 422 if form.errors else 200


@blueprint.route("/post/<int:post_id>/delete", methods=["GET", "POST"])
@login_required
def delete(post_id: int) -> Answer:
    """Ask once more, and delete."""
    doomed = _own_post(post_id)
    form = EmptyForm()
    if request.method == "POST":
        posts.delete(doomed)
        db.session.commit()
        flash(f"“{doomed.title}” is deleted.")
        return redirect(url_for(".timeline"))
    return render_template("pages/delete.html", form=form, post=doomed)


def _post_page(post_id: int, form: CommentForm) -> str:
    cursor = cursor_argument("before")
    live_cursor = live.cursor() if cursor is None else None
    shown = find(Post, post_id, undefer(Post.body_html))
    page = page_of(posts.comments_of(shown), Comment.id, limit=COMMENTS_ON_A_PAGE, cursor=cursor)
    return render_template(
        "pages/post.html",
        post=shown,
        # Made safe when it was written.
        body_html=Markup(shown.body_html),
        page=page,
        comments=page.items[::-1],
        form=form,
        may_change=g.user is not None and g.user.may_change(shown),
        live_cursor=live_cursor,
        live_channel=post_channel(post_id),
        live_key=live.page_key(),
    )


def _user_or_404(name: str) -> User:
    found = find_by_name(name)
    if found is None:
        raise NotFound(f"There is nobody with the name {name}.")
    return found


def _own_post(post_id: int) -> Post:
    found = find(Post, post_id)
    if not current_user().may_change(found):
        raise Forbidden("Only its author and administrators may change this post.")
    return found
