"""The transports are tested on every connection layer."""

from __future__ import annotations

import pytest

from flasknado.server import LAYERS


@pytest.fixture(params=LAYERS, autouse=True)
def layer(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Serve on this connection layer."""
    name: str = request.param
    monkeypatch.setattr("flasknado.server.default_layer", lambda: name)
    return name
