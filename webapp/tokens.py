"""The API's JSON Web Tokens: made, verified, revoked (flask-jwt-extended).

The subject is the account's id as a string (RFC 7519, 4.1.2; PyJWT refuses a number), and the
roles are a claim of their own.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from flask_jwt_extended import (
    JWTManager,
    create_access_token,
    create_refresh_token,
    verify_jwt_in_request,
)
from flask_jwt_extended.exceptions import (
    JWTExtendedException,
    NoAuthorizationError,
    RevokedTokenError,
    UserLookupError,
)
from jwt import ExpiredSignatureError, PyJWTError
from sqlalchemy import select
from werkzeug.datastructures import WWWAuthenticate
from werkzeug.exceptions import Unauthorized
from werkzeug.wrappers import Response

from webapp import credentials
from webapp.errors import answer
from webapp.extensions import db
from webapp.models import User

_GENERATION = "generation"
_SUBJECT = re.compile(r"[1-9][0-9]{0,8}")
_INVALID = "The token is not one of this site's for this use: get one from /api/v1/tokens."
_MISSING = "Send a bearer token in the Authorization header to do this."
_EXPIRED = "The token has expired: get another one from /api/v1/tokens/refresh."
_REVOKED = "The token has been revoked: get another one from /api/v1/tokens."
_NOBODY = "The token's account is gone or disabled."


def new_access_token(user: User) -> str:
    """Return a token that speaks for `user` with the roles it has now."""
    claims = {"roles": sorted(user.roles), _GENERATION: user.credential_generation}
    return str(create_access_token(str(user.id), additional_claims=claims))


def new_refresh_token(user: User) -> str:
    """Return a token that is good for getting access tokens, and nothing else."""
    claims = {_GENERATION: user.credential_generation}
    return str(create_refresh_token(str(user.id), additional_claims=claims))


def verified_claims(
    locations: Sequence[str] = ("headers",), *, refresh: bool = False, any_kind: bool = False
) -> dict[str, Any] | None:
    """Return the claims of the token that the request presents, or `None` without a token.

    Needs a request context. An access token is expected, or a refresh token, or either.

    Raises:
        Unauthorized: the token is expired, revoked, of the wrong kind, or not ours.
    """
    try:
        verified = verify_jwt_in_request(
            optional=True, locations=list(locations), refresh=refresh, verify_type=not any_kind
        )
    except (JWTExtendedException, PyJWTError, ValueError, LookupError) as error:
        raise _refusal(error) from error
    return None if verified is None else verified[1]


def revoke(claims: dict[str, Any]) -> None:
    """Refuse this token from now on, end its account's live connections, and commit."""
    credentials.revoke(claims["jti"], claims["sub"], claims["exp"])
    db.session.commit()


def unauthorized(message: str = _MISSING, error: str | None = None) -> Unauthorized:
    """Return a 401 with the challenge of RFC 6750, section 3."""
    values: dict[str, str | None] = {"realm": "api"}
    if error:
        values["error"] = error
    return Unauthorized(message, www_authenticate=WWWAuthenticate("bearer", values))


def register(jwt: JWTManager) -> None:
    """Tell flask-jwt-extended who a token speaks for, and give its errors our shape."""

    @jwt.user_lookup_loader
    def user_of(header: dict[str, Any], claims: dict[str, Any]) -> User | None:
        if not _SUBJECT.fullmatch(claims["sub"]):
            return None
        user = db.session.get(User, int(claims["sub"]))
        if user is None or user.disabled:
            return None
        if claims.get(_GENERATION) != user.credential_generation:
            raise RevokedTokenError(header, claims)
        return user

    @jwt.token_in_blocklist_loader
    def is_revoked(_header: dict[str, Any], claims: dict[str, Any]) -> bool:
        # A token that cannot be revoked is none of ours.
        name = claims.get("jti")
        return not name or bool(db.session.scalar(select(credentials.is_revoked(name))))

    for loader, message in (
        (jwt.unauthorized_loader, _MISSING),
        (jwt.invalid_token_loader, _INVALID),
        (jwt.token_verification_failed_loader, _INVALID),
        (jwt.needs_fresh_token_loader, _INVALID),
        (jwt.expired_token_loader, _EXPIRED),
        (jwt.revoked_token_loader, _REVOKED),
        (jwt.user_lookup_error_loader, _NOBODY),
    ):
        loader(_answer_of(message))


def _answer_of(message: str) -> Any:
    error = None if message is _MISSING else "invalid_token"

    def respond(*_details: object) -> Response:
        return answer(unauthorized(message, error))

    return respond


def _refusal(error: Exception) -> Unauthorized:
    if isinstance(error, NoAuthorizationError):
        return unauthorized()
    message = _INVALID
    if isinstance(error, ExpiredSignatureError):
        message = _EXPIRED
    elif isinstance(error, RevokedTokenError):
        message = _REVOKED
    elif isinstance(error, UserLookupError):
        message = _NOBODY
    return unauthorized(message, "invalid_token")
