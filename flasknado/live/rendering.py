"""Rendering a template once for all subscribers, so without the user who publishes."""

from __future__ import annotations

import contextvars
from collections.abc import Mapping
from typing import Any

from flask import Flask, has_request_context, render_template, request


def render_for_all(
    app: Flask, template: str, context: Mapping[str, Any] | None, values: Mapping[str, Any]
) -> str:
    """Return a template rendered in a request context without a client.

    It is pushed in an empty `contextvars.Context`, with an application context of its own: what
    the present request is keeps out of it, and functions that the application runs at the end of
    a request do not meet the present one's session of the database.
    """
    mount = request.script_root if has_request_context() else None
    return contextvars.Context().run(_render, app, template, mount, {**(context or {}), **values})


def _render(app: Flask, template: str, mount: str | None, values: dict[str, Any]) -> str:
    overrides = {} if mount is None else {"SCRIPT_NAME": mount}
    with app.test_request_context("/", environ_overrides=overrides):
        return render_template(template, **values)
