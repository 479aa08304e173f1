"""Commands: `flask --app webapp users ...`, `posts ...`, `attachments ...` and `demo`."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import click
from flask import Flask, current_app
from flask.cli import AppGroup, with_appcontext
from sqlalchemy import select

from webapp import accounts, attachments, credentials, demo, search
from webapp.database import DatabaseError, migrate_if_needed
from webapp.extensions import db
from webapp.models import ADMIN, USER, User
from webapp.rerender import rerender

P = ParamSpec("P")
R = TypeVar("R")

users = AppGroup("users", help="Manage the accounts.")
posts = AppGroup("posts", help="Manage the posts.")
files = AppGroup("attachments", help="Manage the files of posts.")


def register(app: Flask) -> None:
    """Add the commands to `flask --app webapp`."""
    app.cli.add_command(users)
    app.cli.add_command(posts)
    app.cli.add_command(files)
    app.cli.add_command(demo_command)


def on_database(command: Callable[P, R]) -> Callable[P, R]:
    """Migrate the database first if it needs it, and tell what is wrong with it in a sentence."""

    @wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        app = current_app._get_current_object()  # type: ignore[attr-defined]
        try:
            migrate_if_needed(app)
        except DatabaseError as error:
            raise click.ClickException(str(error)) from error
        return command(*args, **kwargs)

    return wrapped


@users.command("list")
@on_database
def list_users() -> None:
    """List every account."""
    for user in db.session.scalars(select(User).order_by(User.username_key)):
        state = " disabled" if user.disabled else ""
        click.echo(f"{user.username:<30} {user.role:<5} {user.created_at:%Y-%m-%d}{state}")


@users.command("create")
@click.argument("username")
@click.option("--admin", is_flag=True, help="Make it an administrator.")
@click.password_option(help="Asked for if it is not given.")
@on_database
def create_user(username: str, admin: bool, password: str) -> None:
    """Make an account."""
    try:
        user = accounts.register(username, password, ADMIN if admin else USER)
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{user.username} has an account now ({user.role}).")


@users.command("password")
@click.argument("username")
@click.password_option(help="Asked for if it is not given.")
@on_database
def change_password(username: str, password: str) -> None:
    """Give an account another password; its sessions and tokens stop at once."""
    user = _user(username)
    try:
        accounts.set_password(user, password)
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{username} has another password now.")


@users.command("logout")
@click.argument("username")
@on_database
def log_out(username: str) -> None:
    """Log an account out everywhere: its sessions and tokens stop at once."""
    credentials.revoke_all(_user(username))
    db.session.commit()
    click.echo(f"{username} is logged out everywhere now.")


@users.command("promote")
@click.argument("username")
@on_database
def promote(username: str) -> None:
    """Make an account an administrator."""
    _user(username).role = ADMIN
    db.session.commit()
    click.echo(f"{username} is an administrator now.")


@users.command("demote")
@click.argument("username")
@on_database
def demote(username: str) -> None:
    """Make an administrator an ordinary account."""
    _user(username).role = USER
    db.session.commit()
    click.echo(f"{username} is an ordinary account now.")


@users.command("disable")
@click.argument("username")
@on_database
def disable(username: str) -> None:
    """Disable an account: its sessions and tokens stop at once."""
    accounts.set_disabled(_user(username), True)
    db.session.commit()
    click.echo(f"{username} is disabled now.")


@users.command("enable")
@click.argument("username")
@on_database
def enable(username: str) -> None:
    """Enable a disabled account."""
    accounts.set_disabled(_user(username), False)
    db.session.commit()
    click.echo(f"{username} is enabled now.")


@posts.command("render")
@on_database
def render_posts() -> None:
    """Make every post's HTML again, after the rules for it have changed."""
    rendered = 0
    with db.engine.connect() as connection:
        for batch in rerender(connection):
            connection.commit()
            rendered += batch
    click.echo(f"{rendered} posts rendered.")


@posts.command("index")
@on_database
def index_posts() -> None:
    """Index every post for the search again."""
    indexed = 0
    with db.engine.connect() as connection:
        for batch in search.index_all(connection):
            connection.commit()
            indexed += batch
    click.echo(f"{indexed} posts indexed.")


@files.command("sweep")
@click.option("--delete", is_flag=True, help="Delete them; else they are only counted.")
@click.option(
    "--hours",
    type=click.FloatRange(min=1),
    default=24,
    show_default=True,
    help="How old a file must be.",
)
@on_database
def sweep_attachments(delete: bool, hours: float) -> None:
    """Find the files that no attachment has, which a crash leaves behind."""
    count = size_bytes = 0
    for path in attachments.left_behind(hours * 3600):
        try:
            size_bytes += path.stat().st_size
            if delete:
                path.unlink()
        except FileNotFoundError:
            continue  # somebody else sweeps, too
        count += 1
    megabytes = f"{size_bytes / 1000**2:.1f} MB"
    if delete:
        click.echo(f"{count} files of no attachment are deleted ({megabytes}).")
    else:
        click.echo(f"{count} files belong to no attachment ({megabytes}); --delete deletes them.")


@click.command("demo")
@with_appcontext
@on_database
def demo_command() -> None:
    """Add demonstration accounts, posts and comments; again and again adds nothing."""
    if current_app.config["APP_ENV"] == "production":
        raise click.ClickException(
            "APP_ENV=production is refused here, because everybody knows the password of the"
            " demonstration accounts: use a development database."
        )
    added = demo.add()
    click.echo(
        f"{added} posts added. Log in as {', '.join(demo.NAMES)} with the password {demo.PASSWORD}."
    )


def _user(username: str) -> User:
    user = accounts.find_by_name(username)
    if user is None:
        raise click.ClickException(f"There is nobody with the name {username}.")
    return user
