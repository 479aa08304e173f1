"""The views for writing: posts and comments, made, changed and deleted.

Each form is done once however often it is sent, and two edits of one post meet on a page that
shows both.
"""

from __future__ import annotations

from flask import flash, redirect, render_template, request, url_for
from markupsafe import Markup
from werkzeug.exceptions import Forbidden

from webapp import markdown, posts
from webapp.body_limits import POST_BYTES, max_body_bytes
from webapp.database import find
from webapp.extensions import db
from webapp.idempotency import sent_once
from webapp.identity import current_user, login_required
from webapp.models import Post
from webapp.pages.forms import CommentForm, EmptyForm, PostForm
from webapp.pages.views import Answer, blueprint, post_page


@blueprint.post("/post/<int:post_id>/comments")
@login_required
def comment(post_id: int) -> Answer:
    """Take a comment."""
    form = CommentForm()
    if not form.validate():
        return post_page(post_id, form), 422
    with sent_once(form, form.body.data) as once:
        if once.location is None:
            added = posts.add_comment(find(Post, post_id), current_user(), form.body.data)
            once.location = url_for(".post", post_id=post_id, _anchor=f"comment-{added.id}")
    return redirect(once.location)


@blueprint.post("/post/<int:post_id>/comments/<int:comment_id>/delete")
@login_required
def delete_comment(post_id: int, comment_id: int) -> Answer:
    """Delete a comment."""
    doomed = posts.find_comment(post_id, comment_id)
    if not current_user().may_change(doomed):
        raise Forbidden("Only its author and administrators may delete this comment.")
    posts.delete_comment(find(Post, post_id), doomed)
    db.session.commit()
    flash("The comment is deleted.")
    return redirect(url_for(".post", post_id=post_id, _anchor="comments-heading"))


@blueprint.route("/write", methods=["GET", "POST"])
@max_body_bytes(POST_BYTES)
@login_required
def write() -> Answer:
    """Show and take the form for a new post."""
    form = PostForm()
    if form.validate_on_submit() and not _wants_preview():
        with sent_once(form, form.title.data, form.body.data) as once:
            if once.location is None:
                written = posts.create(current_user(), form.title.data, form.body.data)
                once.location = url_for(".post", post_id=written.id)
        return redirect(once.location)
    return _form_page(form, None), 422 if form.errors else 200


@blueprint.route("/post/<int:post_id>/edit", methods=["GET", "POST"])
@max_body_bytes(POST_BYTES)
@login_required
def edit(post_id: int) -> Answer:
    """Show and take the form for a post that is there already."""
    edited = _own_post(post_id)
    form = PostForm(obj=edited)
    if form.validate_on_submit() and not _wants_preview():
        try:
            with sent_once(form, form.title.data, form.body.data, str(form.version.data)) as once:
                if once.location is None:
                    version = _version(form)
                    posts.edit(edited, form.title.data, form.body.data, version=version)
                    once.location = url_for(".post", post_id=post_id)
        except posts.EditedMeanwhileError:
            db.session.rollback()
            return _conflict_page(form, post_id), 409
        return redirect(once.location)
    return _form_page(form, edited), 422 if form.errors else 200


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


def _form_page(form: PostForm, post: Post | None) -> str:
    preview = None
    if _wants_preview() and not form.errors:
        preview = Markup(markdown.render(form.body.data).html)
    return render_template("pages/write.html", form=form, post=post, preview=preview)


def _conflict_page(form: PostForm, post_id: int) -> str:
    """Show what somebody else has saved meanwhile, and what was typed here; saving it wins."""
    theirs = find(Post, post_id)
    form.version.data = form.version.raw_data = str(theirs.version)
    return render_template("pages/conflict.html", form=form, post=theirs)


def _wants_preview() -> bool:
    return "preview" in request.form


def _version(form: PostForm) -> int | None:
    """Return the version that was read; a form from before there were versions has none."""
    sent = str(form.version.data or "")
    return int(sent) if sent.isascii() and sent.isdigit() and len(sent) < 10 else None


def _own_post(post_id: int) -> Post:
    found = find(Post, post_id)
    if not current_user().may_change(found):
        raise Forbidden("Only its author and administrators may change this post.")
    return found
