"""What a log of live events can do, wherever it is kept.

`flasknado.live.log.database` keeps it in a database, `flasknado.live.log.memory` in the process.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager

from flasknado.live.errors import LiveError
from flasknado.live.event import Cursor, Event
from flasknado.live.log.channel_retention import Swept
from flasknado.live.log.presence import Change, Key, Presence, Seen, Strays
from flasknado.live.log.tables import Batch, Draft
from flasknado.live.log.wakeup import Wakeup
from flasknado.live.options import LiveOptions

OnCommit = Callable[[Sequence[Event]], None]
"""Called with events that have just been committed, on the thread that committed them; with
none when events that other threads committed can be read now."""


class Follower(ABC):
    """One thread's way into a log; blocking, and used on that thread only.

    What it raises while the log cannot be read ends it: another is opened.
    """

    @abstractmethod
    def wait(self) -> None:
        """Return when the log may have changed, the wakeup rings, or it is time to look."""

    @abstractmethod
    def changed(self) -> bool:
        """Return whether the log may have changed since this was asked last."""

    @abstractmethod
    def bounds(self) -> Batch:
        """Return the bounds of the log, complete up to its head and without events."""

    @abstractmethod
    def read(
        self,
        after: int,
        channels: Collection[str] | None,
        *,
        limit_events: int,
        limit_bytes: int,
    ) -> Batch:
        """Return the events after an offset; see `flasknado.live.log.tables.read`."""

    @abstractmethod
    def newest(self, channel: str, limit_events: int) -> list[Event]:
        """Return the newest events of a channel, at most so many, oldest first."""

    def history(self, newest: Mapping[str, int], head: int) -> list[Event]:
        """Return the newest events of channels up to an offset, oldest first: see `history_of`."""
        return history_of(self.newest, newest, head)

    @abstractmethod
    def append(self, drafts: Sequence[Draft]) -> None:
        """Append events in a transaction of their own; raises `Busy` if it has to wait."""

    @abstractmethod
    def see(self, worker: str, changes: Mapping[Key, int]) -> Seen:
        """Write a worker's part in presence; see `flasknado.live.log.presence.see`."""

    @abstractmethod
    def forget(self, worker: str) -> set[str]:
        """Take a worker out of presence; return the channels that it had somebody on."""

    @abstractmethod
    def announce(
        self, changes: Mapping[Key, str | None], gone: Collection[Key]
    ) -> Sequence[Change]:
        """Bring the roster up to date; see `flasknado.live.log.presence.announce`."""

    @abstractmethod
    def strays(self, worker: str, limit: int) -> Strays:
        """Return some of what the roster has wrong, as after a crash."""

    @abstractmethod
    def presence(self, channel: str) -> Presence:
        """Return who is on a channel."""

    @abstractmethod
    def prune(self, batch_events: int, *, everything: bool = False) -> int:
        """Let some events beyond the retention go, return how many; raises `Busy`.

        Less than `batch_events` if there are no more at present. What is too old goes at a
        bounded rate, or with `everything` at once.
        """

    @abstractmethod
    def sweep(self, batch_events: int) -> Swept:
        """Let some events go that are beyond their own channel's retention; raises `Busy`."""

    @abstractmethod
    def gone_back(self, followed: Cursor) -> None:
        """The log ends before an offset that it once had."""


HISTORY_BYTES = 512 * 1024
"""How much of the newest events of its channels a client gets when it subscribes, about."""


def history_of(
    read_newest: Callable[[str, int], list[Event]], newest: Mapping[str, int], head: int
) -> list[Event]:
    """Return the newest events of each channel, as many as it says, up to the offset `head`.

    Of each channel at least the last event, and no more than its part of `HISTORY_BYTES`.
    """
    events: list[Event] = []
    for channel, count in newest.items():
        left_bytes = HISTORY_BYTES // len(newest)
        for event in reversed(read_newest(channel, count)):
            if event.offset > head:
                continue
            events.append(event)
            left_bytes -= len(event.data)
            if left_bytes <= 0:
                break
    return sorted(events)


READER_BUSY_TIMEOUT_S = 0.1
"""Short: every subscriber waits with the reader, and what could not be done can be tried again."""


class Busy(LiveError):
    """The log cannot be written at this moment: try again in the next turn."""


class Log(ABC):
    """Where events are kept. May be used on any thread."""

    one_process = False
    """Whether other processes cannot see it."""
    schema: str | None = None
    """The schema of its tables, where they are not found by their names alone."""

    @abstractmethod
    def publish(self, draft: Draft, session: object = None) -> None:
        """Append an event, in the session's transaction where there is one."""

    @abstractmethod
    def publish_now(self, draft: Draft) -> None:
        """Append an event in a transaction of its own, whatever becomes of a session's.

        Raises `TransactionEnded` where a session's transaction keeps every other from writing.
        """

    @abstractmethod
    def publish_buffered(self, draft: Draft) -> None:
        """Have an event appended soon, together with others."""

    @abstractmethod
    def cursor(self) -> Cursor:
        """Return the log's present end."""

    @abstractmethod
    def read(self, after: int, channels: Collection[str], limit_events: int) -> Batch:
        """Return events after an offset; see `flasknado.live.log.tables.read`."""

    @abstractmethod
    def presence(self, channel: str) -> Presence:
        """Return who is on a channel."""

    @abstractmethod
    def newest(self, channel: str, limit_events: int) -> list[Event]:
        """Return the newest events of a channel, at most so many, oldest first."""

    def history(self, newest: Mapping[str, int], head: int) -> list[Event]:
        """Return the newest events of channels up to an offset, oldest first: see `history_of`."""
        return history_of(self.newest, newest, head)

    @abstractmethod
    def ping(self) -> None:
        """Return if the log's place answers whoever uses it as views do; raises if not."""

    @abstractmethod
    def append(self, drafts: Sequence[Draft]) -> Cursor | None:
        """Append events at once, in a transaction of their own; return the cursor of the last.

        `None` if they had to join a transaction that is not committed yet.
        """

    @abstractmethod
    def following(
        self,
        wakeup: Wakeup,
        options: LiveOptions,
        *,
        busy_timeout_s: float = READER_BUSY_TIMEOUT_S,
        listening: bool = True,
    ) -> AbstractContextManager[Follower]:
        """Open a follower for the calling thread; its `wait()` is ended by the wakeup.

        `busy_timeout_s`: how long it waits for what another has locked. `listening`: whether
        its `wait()` ends at the commits of other processes.
        """

    def check(self) -> None:  # noqa: B027 (most take what they get)
        """Raise `ConfigurationError` if it cannot be kept where it is to be; asks no database."""

    def settle(self) -> None:  # noqa: B027 (most have nothing to do)
        """Give its offset to everything that has been committed, as a server does by itself."""

    def flush(self) -> None:  # noqa: B027 (most have nothing to do)
        """Append what is buffered, now."""

    def close(self) -> None:  # noqa: B027 (most have nothing to do)
        """Let go what publishing keeps open; the next use opens it again."""
