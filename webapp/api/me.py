"""The account that asks: its profile, password, sessions, API tokens and notifications."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, g
from werkzeug.exceptions import Conflict, Forbidden

from webapp import accounts, api_tokens, channels, credentials, notifications, sessions
from webapp.api import schemas
from webapp.api.spec import documented
from webapp.database import find_own
from webapp.extensions import db
from webapp.identity import current_user, login_required
from webapp.login_limits import guard_password, own_account
from webapp.models import Notification
from webapp.paging import page_of
from webapp.records import ApiToken, LoginSession
from webapp.serializers import api_token_json, notification_json, session_json, user_json

blueprint = Blueprint("me", __name__, url_prefix="/me")


@blueprint.get("")
@login_required
@documented("Account", gives={200: schemas.User})
def read() -> dict[str, Any]:
    """Show the account that asks."""
    return user_json(current_user())


@blueprint.patch("")
@login_required
@documented("Account", gives={200: schemas.User}, also=(415,))
def change(json: schemas.ProfileChange) -> dict[str, Any]:
    """Change what a person says of themselves."""
    user = current_user()
    user.about = json.about
    channels.profile_changed(user)
    answer = user_json(user)
    db.session.commit()
    return answer


@blueprint.put("/password")
@login_required
@guard_password(own_account)
@documented("Account", gives={204: None}, also=(403, 415, 503))
def change_password(json: schemas.NewPassword) -> tuple[str, int]:
    """Change the password. Every session and token ends."""
    if not accounts.change_password(current_user(), json.current_password, json.password):
        raise Forbidden("current_password: this is not the account's password.")
    return "", 204


@blueprint.get("/sessions")
@login_required
@documented("Account", gives={200: schemas.Sessions})
def list_sessions() -> dict[str, Any]:
    """List the browsers in which the account is logged in."""
    current_id = g.login_session.id if g.login_session else None
    listed = db.session.scalars(sessions.sessions_of(current_user()))
    return {"sessions": [session_json(each, each.id == current_id) for each in listed]}


@blueprint.delete("/sessions")
@login_required
@documented("Account", gives={204: None})
def log_out_everywhere() -> tuple[str, int]:
    """End every session and token of the account, the one that asks too."""
    credentials.revoke_all(current_user())
    db.session.commit()
    return "", 204


@blueprint.delete("/sessions/<int:session_id>")
@login_required
@documented("Account", gives={204: None}, also=(404,))
def end_session(session_id: int) -> tuple[str, int]:
    """Log the account out in one browser."""
    sessions.end(find_own(LoginSession, session_id, current_user().id))
    db.session.commit()
    return "", 204


@blueprint.get("/tokens")
@login_required
@documented("Account", gives={200: schemas.ApiTokens})
def list_tokens() -> dict[str, Any]:
    """List the account's API tokens."""
    listed = db.session.scalars(api_tokens.tokens_of(current_user()))
    return {"tokens": [api_token_json(token) for token in listed]}


@blueprint.post("/tokens")
@login_required
@documented("Account", gives={201: schemas.MadeApiToken}, also=(403, 409, 415))
def create_token(json: schemas.NewApiToken) -> tuple[dict[str, Any], int]:
    """Make an API token; an API token cannot make others."""
    if g.by_api_token:
        raise Forbidden("An API token cannot make others: log in to make one.")
    try:
        record, token = api_tokens.create(current_user(), json.name)
    except api_tokens.TooManyTokensError as error:
        raise Conflict(str(error)) from error
    answer = api_token_json(record) | {"token": token}
    db.session.commit()
    return answer, 201


@blueprint.delete("/tokens/<int:token_id>")
@login_required
@documented("Account", gives={204: None}, also=(404,))
def end_token(token_id: int) -> tuple[str, int]:
    """Delete an API token: it is refused from then on."""
    api_tokens.end(find_own(ApiToken, token_id, current_user().id))
    db.session.commit()
    return "", 204


@blueprint.get("/notifications")
@login_required
@documented("Notifications", gives={200: schemas.Notifications})
def list_notifications(query: schemas.ListQuery) -> dict[str, Any]:
    """List the account's notifications, newest first."""
    user = current_user()
    page = page_of(notifications.of(user), Notification.id, limit=query.limit, cursor=query.cursor)
    return {
        "notifications": [notification_json(each) for each in page.items],
        "unread": notifications.unread_count(user),
        "next_cursor": page.next_cursor,
    }


@blueprint.post("/notifications/read")
@login_required
@documented("Notifications", gives={204: None})
def read_notifications() -> tuple[str, int]:
    """Note that all notifications have been read."""
    notifications.read_all(current_user())
    db.session.commit()
    return "", 204


@blueprint.post("/notifications/<int:notification_id>/read")
@login_required
@documented("Notifications", gives={204: None}, also=(404,))
def read_notification(notification_id: int) -> tuple[str, int]:
    """Note that one notification has been read."""
    notifications.read(find_own(Notification, notification_id, current_user().id))
    db.session.commit()
    return "", 204
