"""Errors: one JSON shape for the API, pages for people, and never a traceback.

{"message": "...", "success": false, "code": 404, "request_id": "..."}
"""

from __future__ import annotations

import logging
from http import HTTPStatus
from urllib.parse import urlsplit

from flask import Flask, current_app, flash, g, json, redirect, render_template, request, url_for
from flask.globals import request_ctx
from flask_wtf.csrf import CSRFError
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from werkzeug.exceptions import HTTPException, ServiceUnavailable
from werkzeug.exceptions import default_exceptions as werkzeug_exceptions
from werkzeug.wrappers import Response

from webapp.extensions import db
from webapp.passwords import PoolFullError
from webapp.request_id import request_id

API_PREFIX = "/api/"
NEEDS_ACCOUNT = "needs_account"
"""The attribute of a view that is for people with an account."""
_RETRY_AFTER_S = 5


def register(app: Flask) -> None:
    """Answer every error of `app`."""
    app.register_error_handler(HTTPException, answer)
    app.register_error_handler(CSRFError, _form_is_out_of_date)
    app.register_error_handler(OperationalError, _database_is_away)
    app.register_error_handler(PoolTimeoutError, _database_is_away)


def answer(error: HTTPException) -> Response:
    """Return the answer for `error`, in the form that the asker understands."""
    if error.code is None or error.code < HTTPStatus.BAD_REQUEST:
        return error.get_response()
    if error.code >= HTTPStatus.INTERNAL_SERVER_ERROR:
        # The page that tells of the error must not trip over what is left of the transaction.
        db.session.rollback()
        # Who sends many log-ins does not fill the log with it; the access log has them.
        level = logging.DEBUG if isinstance(error, PoolFullError) else logging.ERROR
        current_app.logger.log(
            level,
            "request %s: %s %s answered %d",
            request_id(),
            request.method,
            request.path,
            error.code,
        )
    if request.path.startswith(API_PREFIX):
        return _json(error)
    if error.code == HTTPStatus.UNAUTHORIZED and request.endpoint is not None:
        came_from = request.full_path.rstrip("?") if request.method in ("GET", "HEAD") else None
        return redirect(url_for("auth.login", next=came_from))
    return _page(error)


def _form_is_out_of_date(error: CSRFError) -> Response:
    """Send whoever is logged out to the log-in, and from there back to the form's page.

    What was typed is not lost: the page has kept it (`drafts.js`).
    """
    view = current_app.view_functions.get(request.endpoint or "")
    if g.user is not None or not getattr(view, NEEDS_ACCOUNT, False):
        return answer(error)
    page = urlsplit(request.referrer or "").path
    flash("You were logged out. Log in to send what you typed.")
    return redirect(url_for("auth.login", next=page or None))


def _database_is_away(error: Exception) -> Response:
    current_app.logger.error("request %s: the database failed", request_id(), exc_info=error)
    return answer(
        ServiceUnavailable(
            "The database does not answer at the moment: try again.", retry_after=_RETRY_AFTER_S
        )
    )


def _json(error: HTTPException) -> Response:
    body = {
        "message": _message(error),
        "success": False,
        "code": error.code,
        "request_id": request_id(),
    }
    response = error.get_response()
    response.data = json.dumps(body)
    response.content_type = "application/json"
    return response


def _page(error: HTTPException) -> Response:
    response = error.get_response()
    # Without an adapter (the Host header was refused) no link can be made.
    template = "errors/page.html" if request_ctx.url_adapter else "errors/bare.html"
    response.data = render_template(
        template,
        code=error.code,
        name=error.name,
        message=_message(error),
        request_id=request_id(),
        # A failed database cannot say who is signed in.
        know_user=error.code is not None and error.code < HTTPStatus.INTERNAL_SERVER_ERROR,
    )
    return response


def _message(error: HTTPException) -> str:
    assert error.code is not None
    default = werkzeug_exceptions.get(error.code)
    if error.description and (default is None or error.description != default.description):
        return error.description
    return _ours(error)


def _ours(error: HTTPException) -> str:
    """Return our words where the framework raised the error without any of its own."""
    match error.code:
        case HTTPStatus.NOT_FOUND:
            return f"There is nothing at {request.path}."
        case HTTPStatus.METHOD_NOT_ALLOWED:
            allowed = ", ".join(sorted(getattr(error, "valid_methods", None) or ()))
            return f"{request.method} is not possible at {request.path}; use {allowed}."
        case HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            limit = request.max_content_length or 0
            return f"The body is too large: at most {limit} bytes are taken."
        case HTTPStatus.UNSUPPORTED_MEDIA_TYPE:
            return "Send JSON with the header Content-Type: application/json."
        case HTTPStatus.INTERNAL_SERVER_ERROR:
            return "Something went wrong here; it has been logged under the request id."
        case _:
            return error.description or error.name
