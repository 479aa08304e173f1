"""A session by itself: turns of the loop."""

from __future__ import annotations

import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from flasknado.socketio.engineio.session import BYTES_PER_TURN, PACKETS_PER_TURN, Session


class _Answered:
    """A POST, and what it was answered."""

    said: str | None = None

    def answer(self, payload: str) -> None:
        self.said = payload

    refuse = answer


def test_payload_gives_others_their_turn_after_some_packets_and_some_bytes() -> None:
    later: list[Callable[[], None]] = []
    taken: list[Any] = []
    loop = SimpleNamespace(time=lambda: 0.0, call_soon=later.append)
    upper = SimpleNamespace(received=lambda _, data: taken.append(data))
    options = SimpleNamespace(ping_interval_s=1.0)
    keeper: Any = SimpleNamespace(loop=loop, upper=upper, options=options)
    session = Session(keeper, "sid", SimpleNamespace(), None)  # type: ignore[arg-type]
    sent = [json.dumps(["e", "x" * 4000])] * 100 + ["small"] * 1000
    post = _Answered()
    session.post(post, "\x1e".join("4" + each for each in sent))
    turns = [len(taken)]
    while later:
        assert post.said is None
        later.pop()()
        turns.append(len(taken) - sum(turns))
    assert taken == sent
    assert post.said == "ok"
    assert turns[0] == BYTES_PER_TURN // 4000 + 1
    assert max(turns) == PACKETS_PER_TURN
