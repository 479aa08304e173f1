"""The views for accounts."""

from __future__ import annotations

from flask import Blueprint, flash, g, redirect, render_template, request, url_for
from flask_limiter import RateLimitExceeded
from flask_wtf import FlaskForm
from werkzeug.wrappers import Response

from webapp import accounts, identity
from webapp.auth.forms import LoginForm, PasswordForm, RegisterForm
from webapp.auth.redirects import safe_path
from webapp.extensions import db
from webapp.forms import refuse
from webapp.login_limits import (
    guard_password,
    guard_registration,
    note_right_password,
    too_many,
    typed_account,
)

blueprint = Blueprint("auth", __name__)

_LIMITED: dict[str, tuple[type[FlaskForm], str, str]] = {
    "auth.register": (RegisterForm, "auth/register.html", "username"),
    "auth.login": (LoginForm, "auth/login.html", "password"),
    "auth.account": (PasswordForm, "auth/account.html", "current_password"),
}
"""The form, template and field that tell of a limit, by endpoint."""

Answer = str | Response | tuple[str, int]


@blueprint.route("/register", methods=["GET", "POST"])
@guard_registration
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
@guard_password(typed_account)
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
                note_right_password(user)
                db.session.commit()
                identity.log_in(user)
                return redirect(_next_path())
            # Which of the two is wrong is nobody's business.
            refuse(form.password, "There is no such username with this password.")
    return render_template("auth/login.html", form=form), _status(form)


@blueprint.errorhandler(RateLimitExceeded)
def limited(error: RateLimitExceeded) -> Response:
    """Show the form again, with how long to wait."""
    form_class, template, name = _LIMITED[str(request.endpoint)]
    refusal = too_many(error)
    form = form_class()
    refuse(form[name], str(refusal.description))
    response = refusal.get_response()
    response.data = render_template(template, form=form)
    return response


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
