"""What Flask tutorials teach, in one file on this server; `docs/tour.md` walks through it.

flasknado examples.tour:app --handlers examples.tour:routes --trusted-fields proto,for
"""

import asyncio
import functools
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import click
import tornado.web
from flask import (
    Flask,
    Response,
    abort,
    current_app,
    g,
    has_request_context,
    jsonify,
    make_response,
    redirect,
    request,
    session,
    url_for,
)
from flask_bcrypt import Bcrypt
from flask_cors import CORS, cross_origin
from flask_jwt_extended import (
    JWTManager,
    create_access_token,
    get_jwt,
    get_jwt_identity,
    jwt_required,
)
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from werkzeug.exceptions import HTTPException

from flasknado import in_flask
from flasknado.live import Live
from flasknado.live import routes as live_routes


class Base(DeclarativeBase):
    pass


db = SQLAlchemy(model_class=Base)
live = Live()
bcrypt = Bcrypt()
jwt = JWTManager()


class User(db.Model):
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    password_hash: Mapped[str]
    role: Mapped[str] = mapped_column(default="user")


app = Flask(__name__)
app.secret_key = "change me, and keep it out of the repository"
app.config["SQLALCHEMY_DATABASE_URI"] = f"sqlite:///{Path('tour.db').absolute()}"
app.config["SQLALCHEMY_ENGINE_OPTIONS"] = {"pool_size": 16}  # one connection for each thread
app.config["JWT_ACCESS_TOKEN_EXPIRES"] = timedelta(minutes=15)
for extension in (db, bcrypt, jwt):
    extension.init_app(app)
live.init_app(app, db)
# For all: pages of this origin may read what is below /api/, on both halves.
CORS(app, resources={r"/(api|live)/*": {"origins": ["https://app.example.org"]}})


# --- Hooks, and g ---------------------------------------------------------------------------


@app.before_request
def note_the_visitor() -> None:
    """Run before each view; a return value would be the answer instead of the view's."""
    g.user = session.get("user")
    g.said = ["before_request"]


@app.after_request
def add_a_header(response: Response) -> Response:
    """Run with each response, an error's, too."""
    response.headers["X-Tour"] = ", ".join([*g.get("said", []), "after_request"])
    return response


@app.teardown_request
def tidy_up(error: BaseException | None) -> None:
    """Run when the request is over, whatever happened; what it returns is ignored."""
    if error is not None:
        current_app.logger.info("ended by %r", error)


@app.context_processor
def for_templates() -> dict[str, Any]:
    """Give each template these names."""
    return {"user": g.get("user")}


# `before_first_request` was removed in Flask 2.3. What ran there runs when the module is imported,
# in every worker process, or in a command if it is to run once.
with app.app_context():
    db.create_all()


# --- Routes and converters ------------------------------------------------------------------


@app.get("/")
def index() -> str:
    return "a tour\n"


@app.route("/methods", methods=["GET", "POST"])
def methods() -> str:
    return f"{request.method}\n"


@app.put("/things/<int:number>")
@app.delete("/things/<int:number>")
def thing(number: int) -> str:
    return f"{request.method} thing {number}\n"


@app.get("/text/<name>")
def text(name: str) -> str:
    return f"text {name}\n"


@app.get("/int/<int(min=1, max=99):number>")
def integer(number: int) -> str:
    return f"int {number + 1}\n"


@app.get("/float/<float(signed=True):number>")
def real(number: float) -> str:
    return f"float {number * 2}\n"


@app.get("/path/<path:rest>")
def path(rest: str) -> str:
    return f"path {rest}\n"


@app.get("/uuid/<uuid:key>")
def uuid(key: Any) -> str:
    return f"uuid {key.hex}\n"


@app.get("/any/<any(tea, coffee):drink>")
def any_of(drink: str) -> str:
    return f"any {drink}\n"


# --- What a request has ---------------------------------------------------------------------


@app.post("/form")
def form() -> dict[str, Any]:
    return {"one": request.form.get("tag"), "all": request.form.getlist("tag")}


@app.post("/json")
def json_body() -> dict[str, Any]:
    return {"sum": sum(request.get_json()["numbers"])}  # 400 or 415 if it is not JSON


@app.post("/json/silent")
def json_or_none() -> dict[str, Any]:
    return {"body": request.get_json(silent=True)}


@app.get("/args")
def args() -> dict[str, Any]:
    page = request.args.get("page", default=1, type=int)
    return {"page": page, "tags": request.args.getlist("tag")}


@app.get("/headers")
def headers() -> dict[str, Any]:
    return {"colour": request.headers.get("X-Colour"), "token": request.headers.get("x-token")}


@app.post("/values")
def values() -> dict[str, Any]:
    return {"both": request.values.getlist("a")}  # the query first, then the form


@app.post("/data")
def data() -> str:
    return f"{len(request.get_data())} bytes\n"


@app.post("/files")
def files() -> dict[str, Any]:
    file = request.files["file"]
    return {"name": file.filename, "bytes": len(file.read()), "note": request.form["note"]}


@app.get("/cookies")
def cookies() -> dict[str, Any]:
    return dict(request.cookies)


@app.route("/request", methods=["GET", "POST"])
def every_attribute() -> dict[str, Any]:
    names = (
        "method scheme host host_url url base_url root_url url_root path full_path root_path "
        "script_root query_string remote_addr remote_user is_secure access_route content_length "
        "content_type mimetype mimetype_params endpoint blueprint blueprints url_rule view_args "
        "accept_mimetypes accept_languages accept_encodings accept_charsets user_agent referrer "
        "origin range if_match if_none_match if_modified_since if_unmodified_since cache_control "
        "pragma date authorization is_json is_multiprocess is_multithread is_run_once "
        "max_content_length max_form_memory_size max_form_parts want_form_data_parsed "
        "access_control_request_headers access_control_request_method content_encoding content_md5 "
        "max_forwards if_range server trusted_hosts"
    )
    return {name: str(getattr(request, name)) for name in names.split()}


@app.get("/address")
def address() -> str:
    return f"{request.remote_addr} by {request.scheme}\n"


# --- What a view may return -----------------------------------------------------------------


@app.get("/status/<int:code>")
def status(code: int) -> tuple[str, int]:
    return f"{code}\n", code


@app.get("/tuple")
def status_and_headers() -> tuple[dict[str, Any], int, dict[str, str]]:
    return {"made": True}, 201, {"Location": url_for("thing", number=7)}


@app.get("/response")
def response() -> Response:
    made = make_response("teapot\n", 418)
    made.headers["X-Colour"] = "blue"
    return made


@app.get("/jsonify")
def jsonified() -> Response:
    return jsonify(name="Ann", tags=["a", "b"])


@app.get("/cookies/set")
def set_cookie() -> Response:
    made = make_response("set\n")
    made.set_cookie("colour", "blue", max_age=3600, httponly=True, samesite="Lax")
    return made


@app.get("/cookies/delete")
def delete_cookie() -> Response:
    made = make_response("deleted\n")
    made.delete_cookie("colour")
    return made


@app.get("/old")
def moved() -> Any:
    return redirect(url_for("index"), 301)


@app.get("/secret")
def secret() -> str:
    abort(403, "not for you")


@app.get("/boom")
def boom() -> str:
    raise ZeroDivisionError("the view's own mistake")


# --- Contexts -------------------------------------------------------------------------------


@app.get("/contexts")
def contexts() -> dict[str, Any]:
    return {"app": current_app.name, "in a request": has_request_context()}


@app.cli.command("outside")
def outside() -> None:
    """Show what a view's names are outside a request: a clear error."""
    try:
        print(request.path)  # noqa: T201 (a command)
    except RuntimeError as error:
        print(str(error).splitlines()[0])  # noqa: T201
    with app.test_request_context("/args?page=3"):
        print(request.args["page"])  # noqa: T201


@app.get("/url_map")
def url_map() -> dict[str, Any]:
    rules = [rule for rule in app.url_map.iter_rules() if rule.endpoint == "methods"]
    return {rule.rule: sorted(rule.methods or ()) for rule in rules}


# --- Errors in one shape --------------------------------------------------------------------


@app.errorhandler(HTTPException)
def in_one_shape(error: HTTPException) -> Any:
    """Turn every error into JSON; an exception of a view comes as a 500 and is logged."""
    if isinstance(error.code, int) and error.code < 400:
        return error  # a redirect
    body = {"success": False, "code": error.code, "message": error.description}
    made = jsonify(body)
    made.status_code = error.code or 500
    for name, value in error.get_headers():
        if name not in ("Content-Type", "Content-Length"):
            made.headers[name] = value  # such as the Allow of a 405
    return made


# --- Decorators, bcrypt, sessions and JWT ---------------------------------------------------


def logged_in(view: Callable[..., Any]) -> Callable[..., Any]:
    """Let in who has logged in. Without `wraps` each view would be the endpoint `wrapper`."""

    @functools.wraps(view)
    def wrapper(*given: Any, **named: Any) -> Any:
        if g.user is None:
            abort(401, "log in first")
        return view(*given, **named)

    return wrapper


def admin_only(view: Callable[..., Any]) -> Callable[..., Any]:
    """Let in whose token has the role."""

    @functools.wraps(view)
    @jwt_required()
    def wrapper(*given: Any, **named: Any) -> Any:
        if "admin" not in get_jwt()["roles"]:
            abort(403, "for administrators only")
        return view(*given, **named)

    return wrapper


@app.post("/register")
def register() -> tuple[str, int]:
    # The hash is computed before the transaction begins: it takes a quarter of a second.
    password_hash = bcrypt.generate_password_hash(request.form["password"]).decode()
    name = request.form["name"]
    db.session.add(User(name=name, password_hash=password_hash))
    live.publish("users", "user.registered", {"name": name})
    db.session.commit()
    return f"welcome, {name}\n", 201


@app.cli.command("promote")
@click.argument("name")
def promote(name: str) -> None:
    """Make a user an administrator."""
    user = db.session.scalar(db.select(User).filter_by(name=name))
    if user is None:
        raise click.ClickException(f"there is no user {name!r}")
    user.role = "admin"
    db.session.commit()


def _checked() -> User:
    user = db.session.scalar(db.select(User).filter_by(name=request.form["name"]))
    if user is None or not bcrypt.check_password_hash(user.password_hash, request.form["password"]):
        abort(401, "wrong name or password")
    return user


@app.post("/login")
def login() -> str:
    session["user"] = _checked().name
    return "logged in\n"


@app.get("/me")
@logged_in
def me() -> dict[str, Any]:
    return {"user": g.user, "endpoint": request.endpoint}


@app.post("/api/token")
def token() -> dict[str, str]:
    user = _checked()
    return {"token": create_access_token(str(user.id), additional_claims={"roles": [user.role]})}


@app.get("/api/me")
@jwt_required()
def api_me() -> dict[str, Any]:
    user = db.session.get(User, int(get_jwt_identity()))
    return {"name": user.name if user else None, "roles": get_jwt()["roles"]}


@app.get("/api/users")
@admin_only
def api_users() -> dict[str, Any]:
    return {"users": list(db.session.scalars(db.select(User.name).order_by(User.id)))}


@app.get("/fonts")
@cross_origin(origins="*")
def fonts() -> str:
    """By decorator: pages of every origin may read this one."""
    return "a font\n"


# --- What Flask-SocketIO is used for --------------------------------------------------------


@live.authorize
def may_read(channel: str) -> bool:
    """Stand in for `join_room`."""
    return channel in ("users", "room:1")


@app.post("/rooms/<int:number>")
def say(number: int) -> str:
    """Stand in for `emit(name, data, to=room)`."""
    live.publish(f"room:{number}", "said", request.form["text"])
    db.session.commit()
    return "said\n"


@live.on_message("room:*")
def on_message(channel: str, data: object) -> object:
    """Stand in for `@socketio.on("message")`; the value is the acknowledgement."""
    live.signal(channel, "typing", data)
    return "seen"


class CountdownHandler(tornado.web.RequestHandler):
    """Long work that only waits: on the loop, without a thread."""

    async def get(self) -> None:
        name = await in_flask(self, lambda: session.get("user", "stranger"))
        for number in (3, 2, 1):
            self.write(f"{number}, {name}\n")
            await self.flush()
            await asyncio.sleep(0.05)


routes = [(r"/countdown", CountdownHandler), *live_routes("/live")]
