"""PostgreSQL that falls silent: every wait of the log's own connections has an end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest
import sqlalchemy as sa

from flasknado.live.log import postgres as limits
from flasknado.live.log.followers import PostgresFollower
from flasknado.live.log.wakeup import Wakeup
from flasknado.live.options import LiveOptions
from flasknado.live.state import state_of
from tests.flasknado.live.helpers import LiveApp
from tests.support.silent_proxy import SilentProxy

Proxied = tuple[SilentProxy, str]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give up after a second of silence."""
    monkeypatch.setattr(limits, "ANSWER_MARGIN_S", -9)


@pytest.fixture
def engine(proxied: Proxied) -> Iterator[sa.Engine]:
    engine = sa.create_engine(proxied[1])
    limits.limit_waits(engine, idle_in_transaction_timeout_s=5)
    yield engine
    engine.dispose()


def setting(connection: sa.Connection, name: str) -> str:
    return str(connection.exec_driver_sql(f"SHOW {name}").scalar_one())


def test_statement_on_a_silent_server_ends_and_the_connection_is_given_up(
    proxied: Proxied, engine: sa.Engine
) -> None:
    with engine.connect() as connection:
        connection.exec_driver_sql("SELECT 1")
        proxied[0].silence()
        with pytest.raises(sa.exc.OperationalError, match="has not answered for 1 s") as raised:
            connection.exec_driver_sql("SELECT 1")
        assert raised.value.connection_invalidated
    proxied[0].resume()
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT 1").scalar_one() == 1


@pytest.mark.parametrize("silent", ["commit", "rollback"])
def test_end_of_a_transaction_on_a_silent_server_ends_too(
    proxied: Proxied, engine: sa.Engine, silent: str
) -> None:
    with engine.connect() as connection:
        connection.exec_driver_sql("SELECT 1")
        proxied[0].silence()
        began_at = time.monotonic()
        with pytest.raises(sa.exc.OperationalError):
            getattr(connection, silent)()
        assert time.monotonic() - began_at < 15


def test_connecting_to_a_silent_server_ends(proxied: Proxied) -> None:
    engine = sa.create_engine(proxied[1] + "?connect_timeout=2")
    limits.limit_waits(engine, idle_in_transaction_timeout_s=5)
    proxied[0].silence()
    with pytest.raises(sa.exc.OperationalError, match="timeout"):
        engine.connect()


def test_deadlines_of_the_url_hold(proxied: Proxied) -> None:
    engine = sa.create_engine(
        proxied[1] + "?connect_timeout=3&tcp_user_timeout=4000&options=-c%20statement_timeout%3D7s"
    )
    limits.limit_waits(engine, idle_in_transaction_timeout_s=5)
    with engine.connect() as connection:
        driver = connection.connection.dbapi_connection
        assert driver is not None
        parameters = driver.info.get_parameters()
        assert parameters["connect_timeout"] == "3"
        assert parameters["tcp_user_timeout"] == "4000"
        assert parameters["keepalives_count"] == "3"
        assert setting(connection, "statement_timeout") == "7s"
        assert setting(connection, "idle_in_transaction_session_timeout") == "5s"
        assert driver.answer_timeout_s == 7 + limits.ANSWER_MARGIN_S
    engine.dispose()


def test_deadlines_outlive_a_rollback(engine: sa.Engine) -> None:
    with engine.connect() as connection:
        connection.rollback()
        assert setting(connection, "statement_timeout") == "10s"


def test_reader_has_deadlines_and_the_other_connections_of_the_application_have_not(
    proxied: Proxied, make_live_app: Callable[..., LiveApp]
) -> None:
    live_app = make_live_app(url=proxied[1])
    wakeup = Wakeup()
    with state_of(live_app.app).log.following(wakeup, LiveOptions()) as follower:
        assert isinstance(follower, PostgresFollower)
        assert setting(follower._connection, "statement_timeout") == "10s"
        assert setting(follower._connection, "lock_timeout") == "100ms"
        with live_app.engine().connect() as connection:
            assert setting(connection, "statement_timeout") == "0"
            assert setting(connection, "lock_timeout") == "0"
    wakeup.close()


def test_reader_gets_a_connection_while_views_hold_all_of_the_pool(
    proxied: Proxied, make_live_app: Callable[..., LiveApp]
) -> None:
    pool = {"pool_size": 1, "max_overflow": 0, "pool_timeout": 30}
    live_app = make_live_app(url=proxied[1], SQLALCHEMY_ENGINE_OPTIONS=pool)
    with live_app.engine().connect():
        wakeup = Wakeup()
        opened = threading.Event()

        def follow() -> None:
            with state_of(live_app.app).log.following(wakeup, LiveOptions()):
                opened.set()

        thread = threading.Thread(target=follow)
        thread.start()
        assert opened.wait(20)
        thread.join()
        wakeup.close()


def test_publishing_to_a_log_of_its_own_that_is_silent_ends(
    proxied: Proxied, make_live_app: Callable[..., LiveApp]
) -> None:
    live_app = make_live_app(log_url=proxied[1])
    live_app.publish("a")
    proxied[0].silence()
    with pytest.raises(sa.exc.OperationalError):
        live_app.publish("a")
