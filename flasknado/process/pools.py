"""SQLAlchemy's connection pools, compared with the threads that may use them."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from typing import Any

LIVE_THREADS = 4
"""How many threads authorise live clients beside the views (`LIVE_AUTHORIZE_THREADS`)."""


def small_pools(threads: int) -> Iterator[str]:
    """Yield a sentence for each engine of this process that lends fewer connections.

    threads: how many may want one at once. Looks at every object: once, at the start.
    """
    if "sqlalchemy.engine" not in sys.modules:
        return
    from sqlalchemy.engine import Engine
    from sqlalchemy.pool import QueuePool

    for each in gc.get_objects():
        if not isinstance(each, Engine) or not isinstance(each.pool, QueuePool):
            continue
        pool: Any = each.pool
        size, overflow = pool.size(), getattr(pool, "_max_overflow", 0)
        if size == 0 or overflow < 0 or size + overflow >= threads:
            continue
        yield (
            f"the pool of {each.url.render_as_string(hide_password=True)} lends {size + overflow} "
            f"connections, and {threads} threads may want one at once: views will wait for it, and "
            f"fail after {getattr(pool, '_timeout', 30):g} s; give SQLAlchemy pool_size={threads} "
            f"(Flask-SQLAlchemy: SQLALCHEMY_ENGINE_OPTIONS = {{'pool_size': {threads}}}), or serve "
            f"with --threads {size + overflow}"
        )
