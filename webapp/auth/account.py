"""The settings of one's own account: profile, password, sessions, API tokens."""

from __future__ import annotations

from flask import flash, g, redirect, render_template, url_for
from werkzeug.wrappers import Response

from webapp import accounts, api_tokens, channels, credentials, identity, sessions
from webapp.auth.forms import PasswordForm, ProfileForm, TokenForm
from webapp.auth.views import Answer, blueprint
from webapp.database import find_own
from webapp.extensions import db
from webapp.forms import refuse
from webapp.identity import current_user, login_required
from webapp.login_limits import guard_password, own_account
from webapp.records import ApiToken, LoginSession


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


@blueprint.route("/account/profile", methods=["GET", "POST"])
@login_required
def profile() -> Answer:
    """Show and take the form for what one says of oneself."""
    user = current_user()
    form = ProfileForm(obj=user)
    if form.validate_on_submit():
        user.about = form.about.data
        channels.profile_changed(user)
        db.session.commit()
        flash("Your profile is saved.")
        return redirect(url_for(".profile"))
    return render_template("auth/profile.html", form=form), 422 if form.errors else 200


@blueprint.get("/account/sessions")
@login_required
def session_list() -> Answer:
    """Show where one is logged in."""
    listed = db.session.scalars(sessions.sessions_of(current_user()))
    return render_template("auth/sessions.html", sessions=list(listed), current=g.login_session)


@blueprint.post("/account/sessions/<int:session_id>/end")
@login_required
def end_session(session_id: int) -> Response:
    """Log out in one browser."""
    sessions.end(find_own(LoginSession, session_id, current_user().id))
    db.session.commit()
    flash("That browser is logged out.")
    return redirect(url_for(".session_list"))


@blueprint.route("/account/tokens", methods=["GET", "POST"])
@login_required
def token_list() -> Answer:
    """Show one's API tokens, and make one; it is shown this once."""
    user, form, made = current_user(), TokenForm(), None
    if form.validate_on_submit():
        try:
            _record, made = api_tokens.create(user, form.name.data)
        except api_tokens.TooManyTokensError as error:
            refuse(form.name, str(error))
        else:
            db.session.commit()
            form.name.data = ""
    listed = list(db.session.scalars(api_tokens.tokens_of(user)))
    page = render_template("auth/tokens.html", tokens=listed, form=form, made=made)
    return page, 422 if form.errors else 200


@blueprint.post("/account/tokens/<int:token_id>/delete")
@login_required
def delete_token(token_id: int) -> Response:
    """Delete an API token."""
    api_tokens.end(find_own(ApiToken, token_id, current_user().id))
    db.session.commit()
    flash("The token is deleted.")
    return redirect(url_for(".token_list"))
