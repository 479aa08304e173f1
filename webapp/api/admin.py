"""What only administrators may do: see every account, disable and enable them."""

from __future__ import annotations

from typing import Any

from flask import Blueprint
from sqlalchemy import select
from werkzeug.exceptions import Conflict, UnprocessableEntity

from webapp import accounts
from webapp.api.parsing import json_object
from webapp.database import find
from webapp.extensions import db
from webapp.identity import admin_only, current_user
from webapp.models import User
from webapp.paging import cursor_argument, limit_argument, page_of
from webapp.serializers import user_json

DEFAULT_LIMIT = 50
MAX_LIMIT = 100

blueprint = Blueprint("admin", __name__, url_prefix="/admin")


@blueprint.get("/users")
@admin_only
def users() -> dict[str, Any]:
    """List the accounts, oldest first: `?cursor=`, `?limit=` (1 to 100)."""
    page = page_of(
        select(User),
        User.id,
        limit=limit_argument(DEFAULT_LIMIT, MAX_LIMIT),
        cursor=cursor_argument(),
        ascending=True,
    )
    return {"users": [user_json(user) for user in page.items], "next_cursor": page.next_cursor}


@blueprint.patch("/users/<int:user_id>")
@admin_only
def change(user_id: int) -> dict[str, Any]:
    """Disable or enable an account: `{"disabled": true}`. Its sessions and tokens stop at once."""
    user = find(User, user_id)
    disabled = json_object().get("disabled")
    if not isinstance(disabled, bool):
        raise UnprocessableEntity("disabled must be true or false.")
    if disabled and user.id == current_user().id:
        raise Conflict("You cannot disable the account that you are using.")
    accounts.set_disabled(user, disabled)
    answer = user_json(user)
    db.session.commit()
    return answer
