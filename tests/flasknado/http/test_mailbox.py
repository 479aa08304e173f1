"""The mailbox: everything posted is run, in order, and a failure is logged by the call's name."""

from __future__ import annotations

import asyncio

import pytest

from flasknado.http.mailbox import Mailbox


def fail(body: bytes) -> None:
    raise RuntimeError("as planned")


def test_call_that_fails_is_logged_without_its_arguments_and_the_rest_runs(
    caplog: pytest.LogCaptureFixture,
) -> None:
    seen: list[str] = []

    async def main() -> None:
        mailbox = Mailbox(asyncio.get_running_loop())
        mailbox.post(fail, b"secret of a response")
        mailbox.post(seen.append, "delivered")
        done = asyncio.Event()
        mailbox.post(done.set)
        await asyncio.wait_for(done.wait(), 20)

    asyncio.run(main())

    assert seen == ["delivered"]
    assert "fail" in caplog.text
    assert "secret of a response" not in caplog.messages[0]
