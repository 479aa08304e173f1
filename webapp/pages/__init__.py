"""The server-rendered pages: what people read and write."""

from __future__ import annotations

from flask import Flask, g

from webapp import notifications
from webapp.channels import user_channel
from webapp.extensions import live
from webapp.idempotency import SENT
from webapp.pages import admin, attachments, notified, views, writing  # noqa: F401  their views
from webapp.pages.views import blueprint
from webapp.serializers import timestamp
from webapp.sessions import browser_name
from webapp.write_limits import count_form

for _blueprint in (blueprint, attachments.blueprint):
    _blueprint.before_request(count_form)


def register(app: Flask) -> None:
    """Mount the blueprints and give the templates their filters."""
    app.register_blueprint(blueprint)
    app.register_blueprint(attachments.blueprint)
    app.register_blueprint(admin.blueprint)
    app.add_template_filter(timestamp, "timestamp")
    app.add_template_filter(size, "size")
    app.add_template_filter(browser_name, "browser_name")
    app.add_template_global(own_news, "own_news")
    app.jinja_env.globals["SENT"] = SENT
    app.add_template_global(live.page_key, "live_page_key")


def own_news(cursor: str | None) -> dict[str, object]:
    """Return what a page carries to follow its person's notifications.

    Args:
        cursor: the live cursor that the view has read, if it has.
    """
    if not cursor:
        cursor = live.cursor()
    return {
        "channel": user_channel(g.user.id),
        "cursor": cursor,
        "unread": notifications.unread_count(g.user),
    }


def size(size_bytes: int) -> str:
    """Return a number of bytes for people."""
    if size_bytes < 1000:
        return f"{size_bytes} bytes"
    if size_bytes < 1000**2:
        return f"{size_bytes / 1000:.0f} kB"
    return f"{size_bytes / 1000**2:.1f} MB"
