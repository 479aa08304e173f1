"""Administration: accounts with their roles, and the newest posts and comments."""

from __future__ import annotations

from flask import Blueprint, flash, redirect, render_template, request, url_for
from sqlalchemy import select
from sqlalchemy.orm import joinedload
from werkzeug.exceptions import BadRequest, Conflict
from werkzeug.wrappers import Response

from webapp import accounts, credentials, posts, search
from webapp.database import find
from webapp.extensions import db
from webapp.identity import admin_only, current_user
from webapp.models import ROLES, Comment, Post, User
from webapp.paging import cursor_argument, page_of

ACCOUNTS_ON_A_PAGE = 50
CONTENT_ON_A_PAGE = 30

blueprint = Blueprint("admin_pages", __name__, url_prefix="/admin")


@blueprint.get("")
@admin_only
def accounts_page() -> str:
    """List the accounts, newest first, or those whose name begins with `q`."""
    query = request.args.get("q", "").strip()
    statement = search.people_named(query) if query else select(User)
    page = None
    if statement is not None:
        cursor = cursor_argument("before")
        page = page_of(statement, User.id, limit=ACCOUNTS_ON_A_PAGE, cursor=cursor)
    return render_template("admin/accounts.html", page=page, query=query, roles=ROLES)


@blueprint.post("/<int:user_id>")
@admin_only
def change(user_id: int) -> Response:
    """Change an account's role, disable or enable it, or log it out everywhere."""
    user = find(User, user_id)
    if user.id == current_user().id:
        raise Conflict("You cannot change the account that you are using.")
    action = request.form.get("action", "")
    if action == "logout":
        credentials.revoke_all(user)
    elif action in ("disable", "enable"):
        accounts.change(user, disabled=action == "disable")
    elif action in ROLES:
        accounts.change(user, role=action)
    else:
        raise BadRequest(f"action={action[:20]} is nothing that can be done to an account.")
    db.session.commit()
    flash(f"{user.username} is changed.")
    return redirect(url_for(".accounts_page", q=request.args.get("q")))


@blueprint.get("/content")
@admin_only
def content_page() -> str:
    """List the newest posts and comments, to delete what does not belong here."""
    newest = select(Comment).options(joinedload(Comment.author)).order_by(Comment.id.desc())
    comments = list(db.session.scalars(newest.limit(CONTENT_ON_A_PAGE)))
    latest = select(Post).options(posts.AS_CARDS).order_by(Post.id.desc())
    written = list(db.session.scalars(latest.limit(CONTENT_ON_A_PAGE)))
    return render_template("admin/content.html", comments=comments, posts=written)
