"""The files of posts: uploaded by a form, shown or downloaded, deleted."""

from __future__ import annotations

from flask import Blueprint, redirect, request, send_file, url_for
from werkzeug.exceptions import Forbidden, NotFound
from werkzeug.wrappers import Response

from webapp import attachments
from webapp.body_limits import ANY_BYTES, max_body_bytes
from webapp.database import find
from webapp.extensions import db
from webapp.identity import current_user, login_required
from webapp.models import Attachment, Post

_CACHE_S = 3600
# A file is no page: whatever is in it, it runs and loads nothing.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; sandbox"

blueprint = Blueprint("attachments", __name__)


@blueprint.post("/attachments/<int:post_id>")
@max_body_bytes(ANY_BYTES)
@login_required
def upload(post_id: int) -> Response:
    """Take a file for a post."""
    _check_own(post_id)
    attachments.add(post_id, current_user(), request.files.get("file"))
    db.session.commit()
    return _back(post_id)


@blueprint.post("/attachments/<int:attachment_id>/delete")
@login_required
def delete(attachment_id: int) -> Response:
    """Delete a file."""
    attachment = find(Attachment, attachment_id)
    post_id = attachment.post_id
    _check_own(post_id)
    attachments.delete(attachment)
    db.session.commit()
    return _back(post_id)


@blueprint.get("/attachments/<int:attachment_id>/<name>")
def download(attachment_id: int, name: str) -> Response:
    """Give the bytes of a file: a picture to look at, anything else to keep."""
    attachment = find(Attachment, attachment_id)
    path = attachments.path_of(attachment)
    if name != attachment.name or not path.exists():
        raise NotFound(f"There is no file {name} here.")
    response = send_file(
        path,
        mimetype=attachment.media_type,
        as_attachment=not attachment.is_image,
        download_name=attachment.name,
        conditional=True,
        etag=attachment.stored_as,
        max_age=_CACHE_S,
    )
    response.headers["Content-Security-Policy"] = _POLICY
    return response


def _check_own(post_id: int) -> None:
    if not current_user().may_change(find(Post, post_id)):
        raise Forbidden("Only its author and administrators may change this post's files.")


def _back(post_id: int) -> Response:
    return redirect(url_for("pages.post", post_id=post_id, _anchor="attachments"))
