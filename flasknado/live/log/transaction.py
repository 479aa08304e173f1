"""Joining events to a SQLAlchemy session's transaction: they exist if and only if it commits.

What is published waits in the session, one list for the transaction and one for each
savepoint. A savepoint that is released hands its list to what encloses it; one that is
rolled back loses it. In the outermost `before_commit`, after the flush, the events are
written in that same transaction, or, where the target can do that, go with its COMMIT; after the
commit whoever waits for them is woken. Once a transaction has been committed or rolled back it
takes no more events: publishing raises.

Nothing is written before that moment, so publishing takes no lock early, and it may be
done anywhere: in a view, and in a mapper's event while the session flushes too.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import sqlalchemy as sa
from sqlalchemy import event as sa_event
from sqlalchemy.orm import Session, SessionTransaction

from flasknado.live.errors import TransactionEnded
from flasknado.live.event import Event
from flasknado.live.log import sqlite
from flasknado.live.log.outbox import NO_OFFSET
from flasknado.live.log.tables import Draft

_KEY = "flasknado.live"
_COMMITTING_KEY = "flasknado.live.committing"
"""The root transaction whose `before_commit` has come to us."""
_RELEASED_KEY = "flasknado.live.released"
"""The savepoint that has been released last."""


class Buffer(Protocol):
    """What the thread has published before and not appended yet, which goes along."""

    def take_own(self) -> list[Draft]: ...

    def put_back(self, drafts: Sequence[Draft]) -> None: ...


class Target(Protocol):
    """The log that a session publishes to."""

    @property
    def buffer(self) -> Buffer: ...

    def connection_of(self, session: Session) -> sa.Connection:
        """Return the session's connection to the log's database, in its transaction."""

    def write(self, connection: sa.Connection, drafts: Sequence[Draft]) -> list[Event]:
        """Write events in the connection's transaction."""

    def write_with_commit(
        self, session: Session, take: Callable[[], Sequence[Draft]]
    ) -> Callable[[], None] | None:
        """Have the session's commit write what `take()` returns then, without offsets.

        Returns what takes that back; `None` if the events have to be written before.
        """

    def committed(self, events: Sequence[Event]) -> None:
        """Note, on the thread that committed, that these events have been committed."""


class _Waiting:
    """What one transaction has published and not committed. Belongs to the session's thread."""

    __slots__ = ("__weakref__", "appended", "drafts", "root", "take_back", "taken", "target")

    def __init__(self, target: Target, root: SessionTransaction) -> None:
        self.target = target
        self.root = root
        self.taken: list[Draft] = []
        """What was buffered, until it is committed."""
        self.drafts: dict[SessionTransaction, list[Draft]] = {}
        self.appended: dict[SessionTransaction, list[Event]] = {}
        self.take_back: Callable[[], None] | None = None
        """Keeps the next commit from writing the drafts, if it is going to."""

    def take(self) -> list[Draft]:
        """Return what the commit writes: all that no savepoint has taken with it."""
        drafts = self.drafts.pop(self.root, [])
        taken = self.target.buffer.take_own()
        self.taken.extend(taken)
        drafts[:0] = taken
        events = [Event(NO_OFFSET, *draft[:3]) for draft in drafts]
        self.appended.setdefault(self.root, []).extend(events)
        return drafts


def publish(session: Session, draft: Draft, target: Target) -> None:
    """Have `draft` appended to the log when the session's transaction commits.

    `target.committed(events)` is called after the commit, once for all events of the
    transaction, on the thread that committed. What the thread has buffered then goes before.
    To be called on the session's thread. Raises `TransactionEnded`.
    """
    if not session.in_transaction():
        session.begin()
    transaction = _innermost(session)
    root = session.get_transaction()
    assert root is not None
    waiting = session.info.get(_KEY)
    if waiting is None or waiting.root is not root:
        waiting = session.info[_KEY] = _Waiting(target, root)
    waiting.drafts.setdefault(transaction, []).append(draft)
    if session.info.get(_COMMITTING_KEY) is root and waiting.take_back is None:
        # By another's `before_commit` that runs after ours.
        _append(session, waiting, transaction)


def install() -> None:
    """Listen to the transactions of every session; may be called any number of times."""
    if not sa_event.contains(Session, "before_commit", _before_commit):
        sa_event.listen(Session, "after_begin", _after_begin)
        sa_event.listen(Session, "before_commit", _before_commit)
        # First, so that others who publish then find that the transaction has ended.
        sa_event.listen(Session, "after_commit", _after_commit, insert=True)
        sa_event.listen(Session, "after_transaction_end", _after_transaction_end, insert=True)


def _innermost(session: Session) -> SessionTransaction:
    """Return the transaction or savepoint that takes events; raises `TransactionEnded`."""
    transaction = session.get_nested_transaction() or session.get_transaction()
    assert transaction is not None
    released: SessionTransaction | None = session.info.get(_RELEASED_KEY)
    if released is not None and released is transaction:
        transaction = _enclosing(released)
    if not transaction.is_active:
        raise TransactionEnded(
            "this session's transaction takes no more events, because it has been committed or "
            "rolled back: publish before that (not in after_commit or models_committed), or with "
            "now=True, which commits the event by itself"
        )
    return transaction


_prepared: weakref.WeakSet[sa.Engine] = weakref.WeakSet()


def _after_begin(
    session: Session,  # noqa: ARG001 (SQLAlchemy's interface)
    transaction: SessionTransaction,  # noqa: ARG001
    connection: sa.Connection,
) -> None:
    engine = connection.engine
    if connection.dialect.name == "sqlite" and engine not in _prepared:
        _prepared.add(engine)
        sqlite.begin_before_savepoints(engine)
        sqlite.begin_before_savepoints(connection)


def _before_commit(session: Session) -> None:
    if session.in_nested_transaction():
        return
    # A mapper's event may publish while the session flushes, so that comes first.
    session.flush()
    root = session.get_transaction()
    assert root is not None
    session.info[_COMMITTING_KEY] = root
    waiting = session.info.get(_KEY)
    if waiting is not None and waiting.drafts.get(root):
        waiting.take_back = waiting.target.write_with_commit(session, _taking(waiting))
        if waiting.take_back is None:
            _append(session, waiting, root)


def _taking(waiting: _Waiting) -> Callable[[], list[Draft]]:
    """Return `waiting.take` for a connection, which must not keep a session that is dropped."""
    reference = weakref.ref(waiting)

    def take() -> list[Draft]:
        still_there = reference()
        return [] if still_there is None else still_there.take()

    return take


def _append(session: Session, waiting: _Waiting, transaction: SessionTransaction) -> None:
    drafts = waiting.drafts.pop(transaction)
    target = waiting.target
    taken = target.buffer.take_own()
    waiting.taken.extend(taken)
    drafts[:0] = taken
    events = target.write(target.connection_of(session), drafts)
    waiting.appended.setdefault(transaction, []).extend(events)


def _after_commit(session: Session) -> None:
    waiting = session.info.get(_KEY)
    nested = session.get_nested_transaction()
    if nested is not None:
        session.info[_RELEASED_KEY] = nested
    if waiting is None:
        return
    if nested is None:
        waiting.taken = []
        appended = waiting.appended.pop(waiting.root, None)
        if appended:
            waiting.target.committed(appended)
        return
    for lists in (waiting.drafts, waiting.appended):
        released = lists.pop(nested, None)
        if released:
            lists.setdefault(_enclosing(nested), []).extend(released)


def _enclosing(nested: SessionTransaction) -> SessionTransaction:
    transaction = nested.parent
    while transaction is not None and not transaction.nested and transaction.parent is not None:
        transaction = transaction.parent
    assert transaction is not None
    return transaction


def _after_transaction_end(session: Session, transaction: SessionTransaction) -> None:
    info = session.info
    if transaction is info.get(_COMMITTING_KEY):
        del info[_COMMITTING_KEY]
    if transaction is info.get(_RELEASED_KEY):
        del info[_RELEASED_KEY]
    waiting: Any = info.get(_KEY)
    if waiting is None:
        return
    if transaction is waiting.root:
        del info[_KEY]
        if waiting.take_back is not None:
            waiting.take_back()
        if waiting.taken:  # rolled back, and those were of no transaction
            waiting.target.buffer.put_back(waiting.taken)
    else:
        waiting.drafts.pop(transaction, None)
        waiting.appended.pop(transaction, None)
