"""A blog in the shape of Flask's tutorial: a factory, blueprints, an instance folder, SQLite."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flask import Flask


def create_app(test_config: dict[str, Any] | None = None) -> Flask:
    app = Flask(__name__, instance_relative_config=True)
    instance = Path(app.instance_path)
    instance.mkdir(exist_ok=True)
    app.config.from_mapping(SECRET_KEY="dev", DATABASE=instance / "flaskr.sqlite")
    if test_config is not None:
        app.config.from_mapping(test_config)

    from . import auth, blog, db

    db.init_app(app)
    app.register_blueprint(auth.bp)
    app.register_blueprint(blog.bp)
    app.add_url_rule("/", endpoint="index")
    return app
