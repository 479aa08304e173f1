"""Live connections end with the session, token or account behind them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import pytest
import sqlalchemy as sa
from flask import Flask

from flasknado.live import Identity
from flasknado.live.event import REVOCATIONS
from flasknado.live.log import tables
from tests.webapp.people import ApiClient, Browser
from webapp.extensions import db, live
from webapp.models import ADMIN

LogIn = Callable[..., Browser]
Obtain = Callable[..., ApiClient]


def revoked(app: Flask) -> list[str]:
    """Return whose live connections were ended, oldest first.

    On PostgreSQL the events of an application that nothing serves stay in the outbox.
    """
    with app.app_context():
        ended = []
        for table, order in (
            (tables.live_event, tables.live_event.c.offset),
            (tables.live_outbox, tables.live_outbox.c.id),
        ):
            wanted = sa.select(table.c.data).where(table.c.channel == REVOCATIONS).order_by(order)
            ended += [json.loads(data)["user"] for data in db.session.scalars(wanted)]
        return ended


def identity_of(app: Flask, headers: dict[str, str]) -> Identity:
    with app.test_request_context("/live/events", headers=headers):
        assert app.preprocess_request() is None
        return live.who()


def test_log_out_revokes_the_persons_live_connections(app: Flask, browser: LogIn) -> None:
    ada = browser("ada")
    assert revoked(app) == []
    ada.submit("/logout", form_on="/")
    assert revoked(app) == ["1"]
    # Nobody is logged in any more, so there is nobody to revoke.
    ada.submit("/logout", form_on="/login")
    assert revoked(app) == ["1"]


def test_disabled_account_is_revoked_by_the_api_and_on_the_command_line(
    app: Flask, api: Obtain
) -> None:
    admin = api("root_admin", ADMIN)
    ada = api("ada")
    path = f"/admin/users/{ada.user_id}"
    assert admin.request("PATCH", path, json={"disabled": True}).status_code == 200
    assert revoked(app) == [str(ada.user_id)]
    assert admin.request("PATCH", path, json={"disabled": False}).status_code == 200
    assert revoked(app) == [str(ada.user_id)]
    result = app.test_cli_runner().invoke(args=["users", "disable", "ada"])
    assert result.exit_code == 0, result.output
    assert revoked(app) == [str(ada.user_id)] * 2


def test_revoked_token_ends_its_live_connections(app: Flask, api: Obtain) -> None:
    ada = api("ada")
    assert ada.request("DELETE", "/tokens").status_code == 204
    assert revoked(app) == [str(ada.user_id)]


def test_access_by_token_ends_with_the_token(app: Flask, api: Obtain) -> None:
    ada = api("ada")
    identity = identity_of(app, {"Authorization": f"Bearer {ada.access_token}"})
    assert identity.user == str(ada.user_id)
    assert identity.expires_at == pytest.approx(time.time() + 3600, abs=60)


def test_access_by_session_ends_with_the_cookie(app: Flask, browser: LogIn) -> None:
    ada = browser("ada")
    cookie = ada.client.get_cookie("session")
    assert cookie is not None
    identity = identity_of(app, {"Cookie": f"session={cookie.value}"})
    assert identity.user == "1"
    assert identity.expires_at == pytest.approx(time.time() + 14 * 24 * 3600, abs=60)


def test_access_of_nobody_has_no_end(app: Flask) -> None:
    assert identity_of(app, {}) == Identity()
