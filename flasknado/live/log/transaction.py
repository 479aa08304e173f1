"""Joining events to a SQLAlchemy session's transaction: they exist if and only if it commits.

What is published waits in the session, one list for the transaction and one for each
savepoint. A savepoint that is released hands its list to what encloses it; one that is
rolled back loses it. In the outermost `before_commit`, after the flush, the events are
written in that same transaction; after the commit whoever waits for them is woken.

Nothing is written before that moment, so publishing takes no lock early, and it may be
done anywhere: in a view, and in a mapper's event while the session flushes too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from sqlalchemy import event as sa_event
from sqlalchemy.orm import Session, SessionTransaction

from flasknado.live.event import Event
from flasknado.live.log import outbox, tables
from flasknado.live.log.tables import Draft

_KEY = "flasknado.live"

OnCommit = Callable[[Sequence[Event]], None]


class Buffer(Protocol):
    """What the thread has published before and not appended yet, which goes along."""

    def take_own(self) -> list[Draft]: ...

    def put_back(self, drafts: Sequence[Draft]) -> None: ...


class _Waiting:
    """What one session has published and not committed. Belongs to the session's thread."""

    __slots__ = ("appended", "appending", "buffer", "drafts", "on_commit", "taken")

    def __init__(self, on_commit: OnCommit, buffer: Buffer) -> None:
        self.on_commit = on_commit
        self.buffer = buffer
        self.taken: list[Draft] = []
        """What was buffered, until it is committed."""
        self.drafts: dict[SessionTransaction, list[Draft]] = {}
        self.appending = False
        self.appended: list[Event] = []


def publish(session: Session, draft: Draft, on_commit: OnCommit, buffer: Buffer) -> None:
    """Have `draft` appended to the log when the session's transaction commits.

    `on_commit(events)` is called after the commit, once for all events of the transaction,
    on the thread that committed. What the thread has in `buffer` then goes before. To be called
    on the session's thread.
    """
    if not session.in_transaction():
        session.begin()
    waiting = session.info.get(_KEY)
    if waiting is None:
        waiting = session.info[_KEY] = _Waiting(on_commit, buffer)
    transaction = session.get_nested_transaction() or session.get_transaction()
    assert transaction is not None
    waiting.drafts.setdefault(transaction, []).append(draft)
    if waiting.appending:
        # By another's `before_commit` that runs after ours.
        _append(session, waiting, transaction)


def install() -> None:
    """Listen to the transactions of every session; may be called any number of times."""
    if not sa_event.contains(Session, "before_commit", _before_commit):
        sa_event.listen(Session, "before_commit", _before_commit)
        sa_event.listen(Session, "after_commit", _after_commit)
        sa_event.listen(Session, "after_transaction_end", _after_transaction_end)


def _before_commit(session: Session) -> None:
    if session.in_nested_transaction():
        return
    # A mapper's event may publish while the session flushes, so that comes first.
    session.flush()
    waiting = session.info.get(_KEY)
    if waiting is None:
        return
    waiting.appending = True
    root = session.get_transaction()
    assert root is not None
    if waiting.drafts.get(root):
        _append(session, waiting, root)


def _append(session: Session, waiting: _Waiting, transaction: SessionTransaction) -> None:
    drafts = waiting.drafts.pop(transaction)
    taken = waiting.buffer.take_own()
    waiting.taken.extend(taken)
    drafts[:0] = taken
    connection = session.connection(bind_arguments={"clause": tables.live_event})
    waiting.appended.extend(outbox.write(connection, drafts))


def _after_commit(session: Session) -> None:
    waiting = session.info.get(_KEY)
    if waiting is None:
        return
    nested = session.get_nested_transaction()
    if nested is None:
        waiting.taken = []
        if waiting.appended:
            waiting.on_commit(waiting.appended)
        return
    released = waiting.drafts.pop(nested, None)
    if released:
        waiting.drafts.setdefault(_enclosing(nested), []).extend(released)


def _enclosing(nested: SessionTransaction) -> SessionTransaction:
    transaction = nested.parent
    while transaction is not None and not transaction.nested and transaction.parent is not None:
        transaction = transaction.parent
    assert transaction is not None
    return transaction


def _after_transaction_end(session: Session, transaction: SessionTransaction) -> None:
    waiting: Any = session.info.get(_KEY)
    if waiting is None:
        return
    if transaction.parent is None:
        del session.info[_KEY]
        if waiting.taken:  # rolled back, and those were of no transaction
            waiting.buffer.put_back(waiting.taken)
    else:
        waiting.drafts.pop(transaction, None)
