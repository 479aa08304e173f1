"""The page of one's own account: another password, and logging out everywhere."""

from __future__ import annotations

from flask import flash, redirect, render_template, url_for
from werkzeug.wrappers import Response

from webapp import accounts, credentials, identity
from webapp.auth.forms import PasswordForm
from webapp.auth.views import Answer, blueprint
from webapp.extensions import db
from webapp.forms import refuse
from webapp.identity import current_user, login_required
from webapp.login_limits import guard_password, own_account


@blueprint.route("/account", methods=["GET", "POST"])
@login_required
@guard_password(own_account)
def account() -> Answer:
    """Show and take the form for another password; every other session and token ends."""
    form = PasswordForm()
    if form.validate_on_submit():
        user = current_user()
        if accounts.change_password(user, form.current_password.data, form.password.data):
            identity.log_in(user)
            flash("Your password is changed. Everywhere else you are logged out.")
            return redirect(url_for(".account"))
        refuse(form.current_password, "This is not your password.")
    return render_template("auth/account.html", form=form), 422 if form.errors else 200


@blueprint.post("/account/logout")
@login_required
def logout_everywhere() -> Response:
    """End every session and token of the account, this one too."""
    credentials.revoke_all(current_user())
    db.session.commit()
    identity.forget()
    flash("You are logged out everywhere.")
    return redirect(url_for("pages.timeline"))
