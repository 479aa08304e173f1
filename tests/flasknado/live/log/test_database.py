"""A log in a database of its own."""

from __future__ import annotations

import gc
import sqlite3
from pathlib import Path

import pytest

from flasknado.live.log.database import DatabaseLog


def test_log_that_is_dropped_closes_its_connections(tmp_path: Path) -> None:
    log = DatabaseLog(f"sqlite:///{tmp_path}/log.db", lambda _events: None)
    assert log.cursor().offset == 0
    with log.engine().connect() as connection:
        driver = connection.connection.dbapi_connection
    assert isinstance(driver, sqlite3.Connection)
    driver.execute("SELECT 1")
    del log, connection
    gc.collect()
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        driver.execute("SELECT 1")
