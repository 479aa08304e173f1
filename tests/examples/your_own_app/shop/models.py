from __future__ import annotations

from flask import session
from flask_migrate import Migrate
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.orm import Mapped, mapped_column

from flasknado.live import Live

db = SQLAlchemy()
migrate = Migrate()
live = Live()


class Order(db.Model):
    id: Mapped[int] = mapped_column(primary_key=True)
    item: Mapped[str]


@live.authorize
def may_read(channel: str) -> bool:
    return channel == "orders" and "name" in session
