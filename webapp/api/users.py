"""Accounts: making one, and what everybody may know of one."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, url_for
from werkzeug.exceptions import Conflict, NotFound

from webapp import accounts
from webapp.api import schemas
from webapp.api.spec import documented
from webapp.login_limits import guard_registration
from webapp.serializers import profile_json, user_json

blueprint = Blueprint("users", __name__, url_prefix="/users")


@blueprint.post("")
@guard_registration
@documented("Accounts", gives={201: schemas.User}, also=(409, 415, 503), anybody=True)
def create(json: schemas.NewAccount) -> tuple[dict[str, Any], int, dict[str, str]]:
    """Make an account."""
    try:
        user = accounts.register(json.username, json.password)
    except accounts.NameTakenError as error:
        raise Conflict(str(error)) from error
    return user_json(user), 201, {"Location": url_for("pages.profile", username=user.username)}


@blueprint.get("/<username>")
@documented("Accounts", gives={200: schemas.Profile}, also=(404,), anybody=True)
def read(username: str) -> dict[str, Any]:
    """Show what everybody may know of an account."""
    user = accounts.find_by_name(username)
    if user is None:
        raise NotFound(f"There is nobody with the name {username}.")
    return profile_json(user)
