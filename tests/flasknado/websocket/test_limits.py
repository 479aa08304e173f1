"""Frames that cost more than they bring: how many a client may send, and what it is told."""

from __future__ import annotations

import itertools

import pytest

from flasknado.websocket import codec
from flasknado.websocket.codec import (
    BYTES_PER_FRAME,
    CONTROL_FRAMES_BURST,
    FREE_FRAMES,
    FrameLimiter,
    Message,
    Receiver,
    WebSocketError,
)
from flasknado.websocket.watch import FrameWatch
from tests.flasknado.websocket.frames import client_frame

EMPTY = client_frame(codec.CONTINUATION, final=False)
FULL = client_frame(codec.CONTINUATION, b"a" * BYTES_PER_FRAME, final=False)
BEGIN = client_frame(codec.TEXT, final=False)
END = client_frame(codec.CONTINUATION)
BURST = int(CONTROL_FRAMES_BURST)


class Frames:
    """Bytes given to our receiver and to the watch over Tornado's."""

    def __init__(self) -> None:
        self.receiver = Receiver(1 << 24)
        self.watch = FrameWatch()
        self.messages: list[Message] = []

    def give(self, data: bytes) -> None:
        errors = []
        for take in (self._receive, self.watch.received):
            try:
                take(data)
                errors.append("")
            except WebSocketError as error:
                errors.append(f"{error.code} {error}")
        assert errors[0] == errors[1]
        if errors[0]:
            raise WebSocketError(int(errors[0][:4]), errors[0][5:])

    def _receive(self, data: bytes) -> None:
        self.messages.extend(self.receiver.receive(data))


@pytest.fixture
def frames() -> Frames:
    return Frames()


def assert_policy(frames: Frames, data: bytes, text: str) -> None:
    with pytest.raises(WebSocketError, match=text) as caught:
        frames.give(data)
    assert caught.value.code == codec.CLOSE_POLICY


def test_empty_fragments_up_to_the_limit_are_a_message(frames: Frames) -> None:
    frames.give(BEGIN + EMPTY * (FREE_FRAMES - 1) + END)
    assert frames.messages == [Message(codec.TEXT, b"")]


def test_one_empty_fragment_too_many_is_1008(frames: Frames) -> None:
    frames.give(BEGIN + EMPTY * (FREE_FRAMES - 1))
    assert_policy(frames, EMPTY, "too many frames for a message of 0 bytes")


def test_fragments_that_bring_their_bytes_have_no_limit_of_their_own(frames: Frames) -> None:
    frames.give(BEGIN + FULL * (3 * FREE_FRAMES) + END)
    assert len(frames.messages[0].payload) == 3 * FREE_FRAMES * BYTES_PER_FRAME


def test_pings_within_a_message_count_as_its_frames(frames: Frames) -> None:
    ping = client_frame(codec.PING)
    frames.give(BEGIN + ping * 100 + EMPTY * (FREE_FRAMES - 101))
    assert_policy(frames, EMPTY, "too many frames")


def test_frames_of_whole_messages_have_no_limit_here(frames: Frames) -> None:
    frames.give(client_frame(codec.BINARY) * (3 * FREE_FRAMES))
    assert len(frames.messages) == 3 * FREE_FRAMES


def test_pings_over_the_rate_are_1008(frames: Frames) -> None:
    frames.give(client_frame(codec.PING) * BURST)
    assert_policy(frames, client_frame(codec.PING) * BURST, "too many control frames")


def test_pongs_that_nobody_asked_for_are_1008(frames: Frames) -> None:
    """Some clients send one every half a minute to stay alive (section 5.5.3)."""
    frames.give(client_frame(codec.PONG) * (BURST // 10))
    assert_policy(frames, client_frame(codec.PONG) * BURST, "pongs that nobody asked for")


def test_pongs_that_were_asked_for_are_not_counted() -> None:
    limiter = FrameLimiter()
    for _ in range(5 * BURST):
        limiter.pinged()
        limiter.take(True, codec.PONG, 0)
    watch = FrameWatch()
    for _ in range(5 * BURST):
        watch.sent(codec.frame(codec.PING))
        watch.received(client_frame(codec.PONG))


def test_frame_is_found_in_pieces_of_any_size(frames: Frames) -> None:
    wire = BEGIN + FULL * 5 + client_frame(codec.CONTINUATION, b"a" * 70_000, final=False) + END
    for data in (wire[at : at + 1] for at in range(len(wire))):
        frames.give(data)
    frames.give(BEGIN + EMPTY * (FREE_FRAMES - 1))
    assert_policy(frames, EMPTY, "too many frames")


@pytest.mark.parametrize(
    "violation",
    [
        b"\xc1\x83\0\0\0\0abc",
        client_frame(codec.TEXT, b"\xff"),
        client_frame(codec.CLOSE, b"\x03"),
        codec.frame(codec.TEXT, b"not masked" * 20),
        b"\x82\xff" + (1 << 40).to_bytes(8, "big") + b"\0\0\0\0",
    ],
    ids=["reserved bit", "not utf-8", "closing frame", "not masked", "too big"],
)
def test_close_of_a_client_that_broke_the_protocol_is_still_seen(violation: bytes) -> None:
    receiver = Receiver(1000)
    with pytest.raises(WebSocketError):
        list(receiver.receive(violation))
    assert receiver.waiting
    heard = list(receiver.receive())
    skipped = client_frame(codec.TEXT, b"late" * 100) + codec.frame(codec.PING)
    if (1 << 40).to_bytes(8, "big") in violation:
        heard += receiver.receive(skipped + client_frame(codec.CLOSE, b"\x03\xe8"))
        assert heard == []  # it is within what was announced
        return
    for data in (skipped[at : at + 1] for at in range(len(skipped))):
        heard += receiver.receive(data)
    heard += receiver.receive(client_frame(codec.CLOSE, b"\x03\xe8"))
    assert heard == [Message(codec.CLOSE, b"")]
    assert list(receiver.receive(client_frame(codec.TEXT, b"later"))) == []
    assert not receiver.waiting


def test_turns_take_as_many_frames_as_they_may_and_lose_none() -> None:
    receiver = Receiver(1000)
    wire = b"".join(client_frame(codec.BINARY, b"%d" % n) for n in range(10))
    turns = [[message.payload for message in receiver.receive(wire, 4)]]
    while receiver.waiting:
        turns.append([message.payload for message in receiver.receive(b"", 4)])
    assert [len(turn) for turn in turns] == [4, 4, 2]
    assert [*itertools.chain(*turns)] == [b"%d" % n for n in range(10)]


def test_turn_that_is_left_early_goes_on_behind_what_was_taken() -> None:
    receiver = Receiver(1000)
    for message in receiver.receive(client_frame(codec.BINARY, b"1") * 3):
        assert message.payload == b"1"
        break
    assert receiver.waiting
    assert len(list(receiver.receive())) == 2
    assert not receiver.waiting
