"""The soak of `tests/soak.py`, for a few seconds."""

from __future__ import annotations

import pytest

from tests.flasknado.site import site
from tests.soak import run


@pytest.mark.parametrize("layer", ["llhttp"], indirect=True)
def test_mixed_traffic_leaves_memory_and_open_files_where_they_were(layer: str) -> None:
    with site(layer) as running:
        grown_kb, files = run(running, 8.0)

    assert files <= 0
    assert grown_kb < 20_000
