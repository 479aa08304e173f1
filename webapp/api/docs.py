"""The API's description: `/api/openapi.json` for programs, `/api/docs` for people.

The page is written on the server, from the same description, and loads nothing from elsewhere.
"""

from __future__ import annotations

from typing import Any

from flask import Blueprint, render_template
from markupsafe import Markup

from webapp import markdown
from webapp.api.spec import description

blueprint = Blueprint("api_docs", __name__, url_prefix="/api")


@blueprint.get("/openapi.json")
def openapi() -> dict[str, Any]:
    """Give the description, OpenAPI 3.1."""
    return description()


@blueprint.get("/docs")
def page() -> str:
    """Show the description."""
    whole = description()
    operations: dict[str, list[dict[str, Any]]] = {tag["name"]: [] for tag in whole["tags"]}
    for path, methods in sorted(whole["paths"].items()):
        for method, operation in methods.items():
            shown = operation | {"path": path, "method": method.upper()}
            operations[operation["tags"][0]].append(shown)
    return render_template(
        "api/docs.html",
        info=whole["info"],
        introduction=Markup(markdown.render(whole["info"]["description"]).html),
        operations=operations,
        schemas=whole["components"]["schemas"],
    )
