"""The views for accounts."""

from __future__ import annotations

from flask import Blueprint, flash, g, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from webapp import accounts, identity
from webapp.auth.forms import LoginForm, RegisterForm
from webapp.auth.redirects import safe_path
from webapp.extensions import db
from webapp.forms import refuse

blueprint = Blueprint("auth", __name__)

Answer = str | Response | tuple[str, int]


@blueprint.route("/register", methods=["GET", "POST"])
def register() -> Answer:
    """Show and take the form for a new account; the person is logged in after it."""
    form = RegisterForm()
    if form.validate_on_submit():
        try:
            user = accounts.register(form.username.data, form.password.data)
        except accounts.NameTakenError as error:
            refuse(form.username, str(error))
        else:
            identity.log_in(user)
            flash(f"Welcome, {user.username}.")
            return redirect(_next_path())
    return render_template("auth/register.html", form=form), _status(form)


@blueprint.route("/login", methods=["GET", "POST"])
def login() -> Answer:
    """Show and take the form of an account that is there already."""
    if request.method == "GET" and g.user is not None:
        return redirect(_next_path())
    form = LoginForm()
    if form.validate_on_submit():
        try:
            user = accounts.authenticate(form.username.data, form.password.data)
        except accounts.AccountDisabledError as error:
            refuse(form.username, str(error))
        else:
            if user is not None:
                identity.log_in(user)
                return redirect(_next_path())
            # Which of the two is wrong is nobody's business.
            refuse(form.password, "There is no such username with this password.")
    return render_template("auth/login.html", form=form), _status(form)


@blueprint.post("/logout")
def logout() -> Response:
    """End the session, and the live connections of whose it was."""
    identity.log_out()
    db.session.commit()
    flash("You are logged out.")
    return redirect(url_for("pages.timeline"))


def _next_path() -> str:
    return safe_path(request.args.get("next"), url_for("pages.timeline"))


def _status(form: LoginForm | RegisterForm) -> int:
    return 422 if form.errors else 200
