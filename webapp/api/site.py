"""What every other site may show of this one, whatever the policy for the rest of the API."""

from __future__ import annotations

from typing import Any

from flask import Blueprint
from flask_cors import cross_origin
from sqlalchemy import func, select

from webapp.api import schemas
from webapp.api.spec import documented
from webapp.extensions import db
from webapp.models import Post, User

blueprint = Blueprint("site", __name__)


@blueprint.get("/site")
@cross_origin(origins="*", methods=["GET"], send_wildcard=True)
@documented("Site", gives={200: schemas.Summary}, anybody=True)
def summary() -> dict[str, Any]:
    """Show how much there is; readable from every origin, by a decorator on this one route."""
    return {
        "name": "Flasknado",
        "users": db.session.scalar(select(func.count(User.id))),
        "posts": db.session.scalar(select(func.count(Post.id))),
    }
