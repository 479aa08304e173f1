"""Accounts: making one, and the one that asks."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, url_for
from werkzeug.exceptions import Conflict, Forbidden

from webapp import accounts, credentials, rules
from webapp.api.parsing import texts
from webapp.extensions import db
from webapp.identity import current_user, login_required
from webapp.login_limits import guard_password, guard_registration, own_account
from webapp.serializers import user_json

blueprint = Blueprint("users", __name__)


@blueprint.post("/users")
@guard_registration
def create() -> tuple[dict[str, Any], int, dict[str, str]]:
    """Make an account of `{"username", "password"}`."""
    fields = texts({"username": accounts.available_username, "password": rules.password})
    try:
        user = accounts.register(fields["username"], fields["password"])
    except accounts.NameTakenError as error:
        raise Conflict(str(error)) from error
    return user_json(user), 201, {"Location": url_for("pages.profile", username=user.username)}


@blueprint.get("/me")
@login_required
def me() -> dict[str, Any]:
    """Show the account that asks."""
    return user_json(current_user())


@blueprint.put("/me/password")
@login_required
@guard_password(own_account)
def change_password() -> tuple[str, int]:
    """Change the password: `{"current_password", "password"}`. Every session and token ends."""
    fields = texts({"current_password": str, "password": rules.password})
    if not accounts.change_password(current_user(), fields["current_password"], fields["password"]):
        raise Forbidden("current_password: this is not the account's password.")
    return "", 204


@blueprint.delete("/me/sessions")
@login_required
def log_out_everywhere() -> tuple[str, int]:
    """End every session and token of the account, the one that asks too."""
    credentials.revoke_all(current_user())
    db.session.commit()
    return "", 204
