"""What holds for every test."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import settings

# Properties are judged by their answers, not by the time that a busy machine takes for them; and a
# run of CI tries the same examples each time, so that only a change of the code can fail it.
settings.register_profile("flasknado", derandomize=os.environ.get("CI") == "true", deadline=None)
settings.load_profile("flasknado")


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name bytes by their argument: masked frames differ in each process that collects them."""
    return argname if isinstance(val, bytes) else None


@pytest.fixture(scope="session", autouse=True)
def quick_drain() -> Iterator[None]:
    """Look often whether a server that drains is idle: hundreds of them end during the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("flasknado.server.DRAIN_POLL_S", 0.005)
        yield
