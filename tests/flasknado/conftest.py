"""Servers for the tests of connections, on every layer."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from tests.flasknado.site import LOOPS, Site, site

MakeSite = Callable[..., Site]


@sa.event.listens_for(sa.Pool, "connect")
def close_with_the_pool(driver: Any, record: Any) -> None:
    """Close connections whose engine a test drops: Python 3.13 warns of those of SQLite, too."""
    record.info["closing"] = closing = weakref.finalize(record, driver.close)
    closing.atexit = False


@sa.event.listens_for(sa.Pool, "detach")
def leave_open(_driver: Any, record: Any) -> None:
    """What has been taken out of its pool is closed by who has it."""
    record.info["closing"].detach()


@pytest.fixture(params=LOOPS, scope="module")
def layer(request: pytest.FixtureRequest) -> str:
    """A connection layer, and the kind of loop that it runs on."""
    return str(request.param)


@pytest.fixture(params=[name for name in LOOPS if name.startswith("llhttp")], scope="module")
def llhttp(request: pytest.FixtureRequest) -> str:
    """The llhttp layer, for what only it does, on each kind of loop."""
    return str(request.param)


@pytest.fixture(scope="module")
def shared_site(layer: str) -> Iterator[Site]:
    """One server for all tests of a module."""
    with site(layer) as running:
        yield running


@pytest.fixture
def make_site() -> Iterator[MakeSite]:
    """`make_site(layer, **options)` runs a server until the test ends."""
    with contextlib.ExitStack() as sites:

        def make(layer: str, **options: Any) -> Site:
            return sites.enter_context(site(layer, **options))

        yield make
