"""Reading the JSON of a request: 415 and 400 for what is not JSON, 422 for what is no object."""

from __future__ import annotations

from typing import Any

from flask import request
from werkzeug.exceptions import BadRequest, UnprocessableEntity


def json_object() -> dict[str, Any]:
    """Return the request's JSON object.

    Raises:
        UnsupportedMediaType: the body is not declared as JSON (415).
        BadRequest: the body is not JSON (400).
        UnprocessableEntity: it is JSON, and not an object (422).
    """
    try:
        payload = request.get_json()
    except RecursionError:
        raise BadRequest("The JSON is nested too deeply.") from None
    except BadRequest as error:
        if error.code != BadRequest.code:
            raise
        raise BadRequest("The body is not valid JSON.") from error
    if not isinstance(payload, dict):
        raise UnprocessableEntity("Send a JSON object, such as {}.")
    return payload
