"""A site with Flask-Login, as its documentation shows it."""

from __future__ import annotations

from typing import Any

import flask
import flask_login

app = flask.Flask(__name__)
app.secret_key = "only for the test of this application"
login_manager = flask_login.LoginManager(app)
login_manager.login_view = "login"
USERS = {"ann": "secret"}


class User(flask_login.UserMixin):  # type: ignore[misc]
    def __init__(self, name: str) -> None:
        self.id = name


@login_manager.user_loader  # type: ignore[untyped-decorator]
def load_user(name: str) -> User | None:
    return User(name) if name in USERS else None


@app.route("/login", methods=["GET", "POST"])
def login() -> Any:
    name = flask.request.values.get("name", "")
    if flask.request.method == "POST" and USERS.get(name) == flask.request.form["password"]:
        flask_login.login_user(User(name), remember="remember" in flask.request.form)
        return flask.redirect(flask.request.args.get("next", "/protected"))
    return "log in, please"


@app.get("/protected")
@flask_login.login_required  # type: ignore[untyped-decorator]
def protected() -> str:
    return f"logged in as {flask_login.current_user.id}"


@app.get("/logout")
def logout() -> str:
    flask_login.logout_user()
    return "logged out"
