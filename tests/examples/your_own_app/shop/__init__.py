"""A small application with what most have: a factory, a session and a database."""

from __future__ import annotations

import os
from typing import Any

from flask import Flask, request, session
from werkzeug.middleware.proxy_fix import ProxyFix

from shop import answers
from shop.models import Order, db, live, migrate


def create_app(title: str = "Shop") -> Flask:
    app = Flask(__name__)
    app.secret_key = "a key for the tests of the documentation"
    app.config["SQLALCHEMY_DATABASE_URI"] = os.environ.get("DATABASE_URL", "sqlite://")
    app.wsgi_app = ProxyFix(app.wsgi_app)
    db.init_app(app)
    migrate.init_app(app, db)
    live.init_app(app, db)
    app.register_blueprint(answers.bp)

    @app.get("/")
    def index() -> str:
        return f"{title}, at {request.script_root}/ for {session.get('name', 'nobody')}\n"

    @app.post("/login")
    def login() -> str:
        session["name"] = request.form["name"]
        return "welcome\n"

    @app.post("/orders")
    def order() -> dict[str, Any]:
        order = Order(item=request.form["item"])
        db.session.add(order)
        db.session.flush()
        live.publish("orders", "order.placed", {"id": order.id, "item": order.item})
        if order.item == "nothing":
            db.session.rollback()
            return {"placed": False}
        db.session.commit()
        return {"placed": True}

    return app


app = create_app()
