"""A person's notifications."""

from __future__ import annotations

from flask import redirect, render_template, url_for
from werkzeug.wrappers import Response

from webapp import notifications
from webapp.database import find_own
from webapp.extensions import db
from webapp.identity import current_user, login_required
from webapp.models import Notification
from webapp.pages.views import Answer, blueprint
from webapp.paging import cursor_argument, page_of

NOTIFICATIONS_ON_A_PAGE = 30


@blueprint.get("/notifications")
@login_required
def notification_list() -> Answer:
    """Show what happened, newest first."""
    page = page_of(
        notifications.of(current_user()),
        Notification.id,
        limit=NOTIFICATIONS_ON_A_PAGE,
        cursor=cursor_argument("before"),
    )
    return render_template("pages/notifications.html", page=page)


@blueprint.post("/notifications/read")
@login_required
def read_notifications() -> Response:
    """Note that all have been read."""
    notifications.read_all(current_user())
    db.session.commit()
    return redirect(url_for(".notification_list"))


@blueprint.post("/notifications/<int:notification_id>")
@login_required
def open_notification(notification_id: int) -> Response:
    """Note that one has been read, and go to what it tells of."""
    opened = find_own(Notification, notification_id, current_user().id)
    notifications.read(opened)
    db.session.commit()
    anchor = f"comment-{opened.comment_id}" if opened.comment_id else None
    return redirect(url_for(".post", post_id=opened.post_id, _anchor=anchor))
