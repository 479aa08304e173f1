"""SQLAlchemy's connection pools, compared with the threads that may use them."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from typing import Any


def small_pools(threads: int) -> Iterator[str]:
    """Yield a sentence for each engine of this process with fewer connections than threads.

    Walks over every object of the process: call it once, at startup.
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
            f"the pool of {each.url.render_as_string(hide_password=True)} has {size + overflow} "
            f"connections for {threads} threads: views will wait for one, and fail after "
            f"{getattr(pool, '_timeout', 30):g} s; set SQLAlchemy's pool_size={threads} "
            f"(Flask-SQLAlchemy: SQLALCHEMY_ENGINE_OPTIONS = {{'pool_size': {threads}}}), or use "
            f"--threads {size + overflow}"
        )
