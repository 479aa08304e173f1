"""`flask live ...`: publish, follow, prune and look at the log from the command line."""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Callable, Iterator
from typing import Any, ParamSpec, TypeVar

import click
import sqlalchemy as sa
from flask.cli import AppGroup

from flasknado.errors import FlasknadoError
from flasknado.live.event import Cursor, check_channel, parse_cursor
from flasknado.live.formats import json_control, json_event
from flasknado.live.log.base import Follower
from flasknado.live.log.sql_publish import publish_function
from flasknado.live.log.wakeup import Wakeup
from flasknado.live.state import LiveState, current_state, draft_of

BATCH_EVENTS = 500
BATCH_BYTES = 1024 * 1024
BUSY_TIMEOUT_S = 10.0
"""How long a command waits for whoever has locked SQLite: nobody waits for it meanwhile."""

P = ParamSpec("P")
R = TypeVar("R")

group = AppGroup("live", help="Publish, follow, prune and look at the log of live events.")


def in_one_sentence(command: Callable[P, R]) -> Callable[P, R]:
    """Let a command say what is wrong instead of showing a traceback."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except FlasknadoError as error:
            raise click.ClickException(str(error)) from error
        except sa.exc.SQLAlchemyError as error:
            reason = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
            raise click.ClickException(
                f"the log of live events cannot be used: {reason}"
            ) from error

    return run


def _state() -> LiveState:
    state = current_state()
    if state.log.one_process:
        raise click.ClickException(
            "this application keeps its live events in the memory of its server, where no "
            "other program sees them: give Live a database"
        )
    return state


@group.command("publish")
@click.argument("channel")
@click.argument("name")
@click.argument("data", default="null")
@click.option("--signal", is_flag=True, help="Tell who is there now, and keep nothing.")
@in_one_sentence
def publish(channel: str, name: str, data: str, signal: bool) -> None:
    """Publish an event NAME on CHANNEL, with DATA as JSON; prints its cursor."""
    try:
        value = json.loads(data)
    except ValueError as error:
        raise click.ClickException(f"DATA is not JSON ({error}): quote it for the shell") from error
    state = _state()
    click.echo(str(state.log.append([draft_of(state, channel, name, value, kept=not signal)])))


@group.command("tail")
@click.argument("channels", nargs=-1)
@click.option("--after", help="Begin after this cursor instead of now.")
@click.option("--count", type=click.IntRange(1), help="End after so many events.")
@in_one_sentence
def tail(channels: tuple[str, ...], after: str | None, count: int | None) -> None:
    """Print the events of CHANNELS, or of all, as they come: one JSON object a line."""
    wanted = {check_channel(channel) for channel in channels}
    state = _state()
    left = count
    with _following(state) as follower:
        place = parse_cursor(after) if after else _end_of(follower)
        while True:
            batch = follower.read(
                place.offset, None, limit_events=BATCH_EVENTS, limit_bytes=BATCH_BYTES
            )
            if not batch.resumable(place):
                place = Cursor(batch.epoch, batch.head)
                click.echo(json_control("reset", place))
                continue
            for event in batch.events:
                shown = event.channel in wanted if wanted else event.channel[0] != "!"
                if shown:
                    click.echo(json_event(batch.epoch, event))
                    left = left - 1 if left is not None else None
                    if left == 0:
                        return
            place = Cursor(batch.epoch, batch.complete_to)
            if batch.complete_to == batch.head:
                follower.wait()


@group.command("prune")
@in_one_sentence
def prune() -> None:
    """Delete what is older or more than LIVE_RETENTION_S, LIVE_CHANNEL_RETENTION_S etc. allow."""
    state = _state()
    deleted = 0
    with _following(state) as follower:
        while batch := follower.prune(BATCH_EVENTS, everything=True):
            deleted += batch
        swept = follower.sweep(BATCH_EVENTS)
        while swept.more:
            deleted += swept.events
            swept = follower.sweep(BATCH_EVENTS)
        deleted += swept.events
    click.echo(f"{deleted} events deleted.")


@group.command("cursor")
@in_one_sentence
def cursor() -> None:
    """Print the cursor of the last event: who begins after it gets what comes from now on."""
    with _following(_state()) as follower:
        click.echo(str(_end_of(follower)))


@group.command("stats")
@in_one_sentence
def stats() -> None:
    """Print what the log holds, as JSON."""
    state = _state()
    with _following(state) as follower:
        bounds = follower.bounds()
    said: dict[str, Any] = {
        "cursor": f"{bounds.epoch}:{bounds.head}",
        "oldest": bounds.oldest,
        "events": bounds.head - bounds.oldest + 1,
        "retention_events": state.options.retention_events,
        "retention_s": state.options.retention_s,
    }
    click.echo(json.dumps(said, indent=2))


@group.command("sql")
@in_one_sentence
def sql() -> None:
    """Print the statement that creates PostgreSQL's function live_publish, for psql."""
    state = _state()
    statement = publish_function(
        schema=state.log.schema, max_data_bytes=state.options.max_data_bytes
    )
    click.echo(f"{statement.rstrip()};")


@group.command("renew")
@in_one_sentence
def renew() -> None:
    """Name the log anew: to be run after a backup was restored, before the server starts.

    Clients then reload what they show, instead of going on from events that are no more.
    """
    state = _state()
    with _following(state) as follower:
        end = _end_of(follower)
        follower.gone_back(end._replace(offset=end.offset + 1))
        click.echo(f"{end} is {_end_of(follower)} now.")


@contextlib.contextmanager
def _following(state: LiveState) -> Iterator[Follower]:
    state.log.settle()
    wakeup = Wakeup()
    try:
        with state.log.following(wakeup, state.options, busy_timeout_s=BUSY_TIMEOUT_S) as follower:
            yield follower
    finally:
        wakeup.close()


def _end_of(follower: Follower) -> Cursor:
    bounds = follower.bounds()
    return Cursor(bounds.epoch, bounds.head)
