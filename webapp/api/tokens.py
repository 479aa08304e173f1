"""Tokens: obtained with a password, renewed with a refresh token, revoked with themselves."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, current_app
from flask_jwt_extended import get_current_user
from werkzeug.exceptions import Forbidden

from webapp import accounts, tokens
from webapp.api import schemas
from webapp.api.spec import documented
from webapp.extensions import db
from webapp.login_limits import guard_password, note_right_password, typed_account

blueprint = Blueprint("tokens", __name__, url_prefix="/tokens")


@blueprint.post("")
@guard_password(typed_account)
@documented("Tokens", gives={200: schemas.Tokens}, also=(401, 403, 415, 503), anybody=True)
def obtain(json: schemas.Credentials) -> dict[str, Any]:
    """Give an access and a refresh token for a name and its password."""
    try:
        user = accounts.authenticate(json.username, json.password)
    except accounts.AccountDisabledError as error:
        raise Forbidden(str(error)) from error
    if user is None:
        raise tokens.unauthorized("There is no such username with this password.")
    note_right_password(user)
    db.session.commit()
    return _access_token(user) | {"refresh_token": tokens.new_refresh_token(user)}


@blueprint.post("/refresh")
@documented("Tokens", gives={200: schemas.AccessToken})
def refresh() -> dict[str, Any]:
    """Give a new access token, with the roles of now, for a refresh token."""
    if tokens.verified_claims(refresh=True) is None:
        raise tokens.unauthorized()
    return _access_token(get_current_user())


@blueprint.delete("")
@documented("Tokens", gives={204: None})
def revoke() -> tuple[str, int]:
    """Revoke the token that is sent, an access or a refresh token."""
    claims = tokens.verified_claims(any_kind=True)
    if claims is None:
        raise tokens.unauthorized()
    tokens.revoke(claims)
    return "", 204


def _access_token(user: Any) -> dict[str, Any]:
    """Return the answer of RFC 6749, section 5.1; `expires_in` is seconds."""
    lifetime = current_app.config["JWT_ACCESS_TOKEN_EXPIRES"]
    return {
        "access_token": tokens.new_access_token(user),
        "token_type": "Bearer",
        "expires_in": int(getattr(lifetime, "total_seconds", lambda: lifetime)()),
    }
