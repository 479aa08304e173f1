from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from flask import Blueprint, flash, g, redirect, render_template, request, session, url_for
from werkzeug.security import check_password_hash, generate_password_hash

from .db import get_db

bp = Blueprint("auth", __name__, url_prefix="/auth")


@bp.before_app_request
def load_logged_in_user() -> None:
    user_id = session.get("user_id")
    find = "SELECT * FROM user WHERE id = ?"
    g.user = None if user_id is None else get_db().execute(find, (user_id,)).fetchone()


def login_required(view: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(view)
    def wrapped_view(**kwargs: Any) -> Any:
        if g.user is None:
            return redirect(url_for("auth.login"))
        return view(**kwargs)

    return wrapped_view


@bp.route("/register", methods=("GET", "POST"))
def register() -> Any:
    if request.method == "POST":
        db = get_db()
        password = generate_password_hash(request.form["password"], "pbkdf2:sha256:1000")
        try:
            db.execute(
                "INSERT INTO user (username, password) VALUES (?, ?)",
                (request.form["username"], password),
            )
            db.commit()
        except db.IntegrityError:
            flash(f"User {request.form['username']} is already registered.")
        else:
            return redirect(url_for("auth.login"))
    return render_template("auth/form.html", title="Register")


@bp.route("/login", methods=("GET", "POST"))
def login() -> Any:
    if request.method == "POST":
        find = "SELECT * FROM user WHERE username = ?"
        user = get_db().execute(find, (request.form["username"],)).fetchone()
        if user is None or not check_password_hash(user["password"], request.form["password"]):
            flash("Incorrect username or password.")
        else:
            session.clear()
            session["user_id"] = user["id"]
            return redirect(url_for("index"))
    return render_template("auth/form.html", title="Log In")


@bp.route("/logout")
def logout() -> Any:
    session.clear()
    return redirect(url_for("index"))
