"""What only administrators may do: see every account, disable, promote and log out accounts."""

from __future__ import annotations

from typing import Any

from flask import Blueprint
from sqlalchemy import select
from werkzeug.exceptions import Conflict

from webapp import accounts, credentials
from webapp.api import schemas
from webapp.api.spec import documented
from webapp.database import find
from webapp.extensions import db
from webapp.identity import admin_only, current_user
from webapp.models import User
from webapp.paging import page_of
from webapp.search import people_named
from webapp.serializers import user_json

blueprint = Blueprint("admin", __name__, url_prefix="/admin")


@blueprint.get("/users")
@admin_only
@documented("Administration", gives={200: schemas.Accounts}, also=(403,))
def users(query: schemas.AccountsQuery) -> dict[str, Any]:
    """List the accounts, oldest first."""
    statement = select(User) if query.q is None else people_named(query.q)
    if statement is None:
        return {"users": [], "next_cursor": None}
    page = page_of(statement, User.id, limit=query.limit, cursor=query.cursor, ascending=True)
    return {"users": [user_json(user) for user in page.items], "next_cursor": page.next_cursor}


@blueprint.patch("/users/<int:user_id>")
@admin_only
@documented("Administration", gives={200: schemas.User}, also=(403, 404, 409))
def change(user_id: int, json: schemas.AccountChange) -> dict[str, Any]:
    """Disable or enable an account, or change its role. A disabled account's sessions stop."""
    user = find(User, user_id)
    if user.id == current_user().id:
        raise Conflict("You cannot change the account that you are using.")
    accounts.change(user, disabled=json.disabled, role=json.role)
    answer = user_json(user)
    db.session.commit()
    return answer


@blueprint.delete("/users/<int:user_id>/sessions")
@admin_only
@documented("Administration", gives={204: None}, also=(403, 404))
def log_out(user_id: int) -> tuple[str, int]:
    """End every session and token of an account."""
    credentials.revoke_all(find(User, user_id))
    db.session.commit()
    return "", 204
