"""Attachments of a post: listed, uploaded, deleted. Their bytes are at their `url`."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, request
from werkzeug.exceptions import Forbidden

from webapp import attachments
from webapp.api import schemas
from webapp.api.spec import documented
from webapp.body_limits import ANY_BYTES, max_body_bytes
from webapp.database import find
from webapp.extensions import db
from webapp.identity import current_user, login_required
from webapp.models import Attachment, Post
from webapp.serializers import attachment_json

blueprint = Blueprint("attachments", __name__)


@blueprint.get("/posts/<int:post_id>/attachments")
@documented("Attachments", gives={200: schemas.Attachments}, also=(404,), anybody=True)
def index(post_id: int) -> dict[str, Any]:
    """List a post's attachments."""
    return {"attachments": [attachment_json(each) for each in find(Post, post_id).attachments]}


@blueprint.post("/attachments/<int:post_id>")
@max_body_bytes(ANY_BYTES)
@login_required
@documented("Attachments", gives={201: schemas.Attachment}, also=(403, 404, 409, 413))
def upload(post_id: int) -> tuple[dict[str, Any], int]:
    """Attach a file to one's post: `multipart/form-data` with the field `file`."""
    if not current_user().may_change(find(Post, post_id)):
        raise Forbidden("Only its author and administrators may attach files to this post.")
    attachment = attachments.add(post_id, current_user(), request.files.get("file"))
    answer = attachment_json(attachment)
    db.session.commit()
    return answer, 201


@blueprint.delete("/attachments/<int:attachment_id>")
@login_required
@documented("Attachments", gives={204: None}, also=(403, 404))
def delete(attachment_id: int) -> tuple[str, int]:
    """Delete an attachment."""
    attachment = find(Attachment, attachment_id)
    if not current_user().may_change(find(Post, attachment.post_id)):
        raise Forbidden("Only the post's author and administrators may delete this attachment.")
    attachments.delete(attachment)
    db.session.commit()
    return "", 204
