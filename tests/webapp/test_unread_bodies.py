"""The bundled application takes small forms only: the large ones are refused unread."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import server
from config import Settings
from tests.flasknado.wsgi.wire import Wire
from tests.support.serving import Serving, serving

KIB = 1024


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    folder: Path = tmp_path_factory.mktemp("site")
    settings = Settings(
        _env_file=None,  # type: ignore[call-arg]
        database_url=f"sqlite:///{folder / 'site.db'}",
        secret_key="x" * 20 + "0123456789abcdef",
        threads=2,
    )
    with serving(lambda: server.build(settings)) as running:
        yield running


@pytest.mark.parametrize(
    ("path", "limit_bytes"),
    [
        ("/login", 64 * KIB),
        ("/register", 64 * KIB),
        ("/api/v1/tokens", 64 * KIB),
        ("/write", 512 * KIB),
        ("/post/1/comments", 512 * KIB),
        ("/api/v1/posts", 512 * KIB),
        ("/elsewhere", 16 * KIB * KIB),
    ],
)
def test_form_above_the_limit_of_its_route_is_refused_unread(
    served: Serving, path: str, limit_bytes: int
) -> None:
    for size_bytes, refused in ((limit_bytes + 1, True), (10, False)):
        with Wire(served.address) as wire:
            wire.send(
                f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {size_bytes}\r\n\r\n".encode()
            )
            if not refused:
                wire.send(b"x" * size_bytes)
            status = wire.answer().status

        assert (status == 413) is refused
