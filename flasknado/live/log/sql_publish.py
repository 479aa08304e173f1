"""`live_publish()`, a function of PostgreSQL: whatever writes to the database may publish.

It inserts into the outbox, in the transaction of whoever calls it, what `Live.publish` would.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy import event as sa_event

from flasknado.live.event import MAX_NAME_CHARS, RESERVED_NAMES
from flasknado.live.log.outbox import WAKE_CHANNEL
from flasknado.live.log.tables import live_outbox
from flasknado.live.options import LiveOptions

# Not a percent sign in it, nor a colon before a word: SQLAlchemy and drivers read those.
_FUNCTION = """\
CREATE OR REPLACE FUNCTION live_publish(
  channel text, name text, data jsonb DEFAULT NULL, wake boolean DEFAULT true
) RETURNS void LANGUAGE plpgsql SET search_path FROM CURRENT AS $live$
#variable_conflict use_variable
DECLARE
  written text := coalesce(CAST(data AS text), 'null');
BEGIN
  IF (channel COLLATE "C" ~ '^[A-Za-z0-9][A-Za-z0-9._:/@+=-]*$'
      AND length(channel) <= {max_name_chars}) IS NOT TRUE THEN
    RAISE invalid_parameter_value USING MESSAGE = concat(
      quote_nullable(left(channel, 80)), ' is not a channel: use 1 to {max_name_chars} ASCII '
      'letters, digits and . _ : / @ + = - and begin with a letter or digit');
  END IF;
  IF (length(name) BETWEEN 1 AND {max_name_chars}
      AND name COLLATE "C" !~ '[\\u0001-\\u001f\\u007f-\\u009f\\u2028\\u2029]'
      AND name <> ALL (ARRAY[{reserved}])) IS NOT TRUE THEN
    RAISE invalid_parameter_value USING MESSAGE = concat(
      quote_nullable(left(name, 80)), ' is not an event name: use 1 to {max_name_chars} characters '
      'without line ends, and none of {reserved_words}');
  END IF;
  written := replace(written, chr(133), '\\u0085');
  written := replace(replace(written, chr(8232), '\\u2028'), chr(8233), '\\u2029');
  IF octet_length(written) > {max_data_bytes} THEN
    RAISE invalid_parameter_value USING MESSAGE = concat(
      'the data of an event may have at most {max_data_bytes} bytes, not ', octet_length(written));
  END IF;
  INSERT INTO live_outbox (xid, channel, name, data, kept, buffered)
    VALUES (txid_current(), channel, name, written, true, false);
  IF wake THEN
    PERFORM pg_notify('{wake_channel}', '');
  END IF;
END
$live$
"""

_DEFAULTS = LiveOptions()


def publish_function(
    *, schema: str | None = None, max_data_bytes: int = _DEFAULTS.max_data_bytes
) -> str:
    """Return the statement that creates, or replaces, PostgreSQL's function `live_publish`.

    For a migration: `op.execute(publish_function())`. The function finds the log's tables in the
    `search_path` with which it is created, or in `schema`. May be called on any thread.
    """
    statement = _FUNCTION.format(
        max_name_chars=MAX_NAME_CHARS,
        max_data_bytes=max_data_bytes,
        reserved=", ".join(f"'{name}'" for name in sorted(RESERVED_NAMES)),
        reserved_words=", ".join(sorted(RESERVED_NAMES)),
        wake_channel=WAKE_CHANNEL,
    )
    if schema is None:
        return statement
    quoted = '"' + schema.replace('"', '""') + '"'
    return statement.replace("FUNCTION live_publish", f"FUNCTION {quoted}.live_publish").replace(
        "SET search_path FROM CURRENT", f"SET search_path TO {quoted}"
    )


def create_with(table: sa.Table) -> None:
    """Have `create_all()` create the function after the outbox `table`, on PostgreSQL."""
    sa_event.listen(table, "after_create", _after_create)


def _after_create(table: sa.Table, connection: sa.Connection, **options: Any) -> None:  # noqa: ARG001
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(publish_function(schema=table.schema))


create_with(live_outbox)
