"""The stored HTML of all posts, made again: by a migration, and after the allow-list has changed.

It knows the three columns that it needs and not the models, so that a migration may use it
whatever the models have become.
"""

from __future__ import annotations

from collections.abc import Iterator

import sqlalchemy as sa

from webapp import markdown

BATCH_POSTS = 100
_post = sa.table(
    "post", sa.column("id", sa.Integer), sa.column("body", sa.Text), sa.column("body_html", sa.Text)
)


def rerender(connection: sa.Connection) -> Iterator[int]:
    """Render every post again, and yield after each batch how many were in it.

    The caller commits, after each batch or after all. A post that is edited meanwhile keeps
    the HTML of its new text. May be called on any thread.
    """
    last_id = 0
    while True:
        wanted = sa.select(_post.c.id, _post.c.body).where(_post.c.id > last_id)
        rows = connection.execute(wanted.order_by(_post.c.id).limit(BATCH_POSTS)).all()
        if not rows:
            return
        for post_id, body in rows:
            same = (_post.c.id == post_id) & (_post.c.body == body)
            html = markdown.render_any(body)
            connection.execute(sa.update(_post).where(same).values(body_html=html))
        last_id = rows[-1].id
        yield len(rows)
