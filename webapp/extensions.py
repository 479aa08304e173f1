"""The extensions, unbound: `create_app()` binds them to an application."""

from __future__ import annotations

from pathlib import Path

from flask_bcrypt import Bcrypt
from flask_compress import Compress
from flask_cors import CORS
from flask_jwt_extended import JWTManager
from flask_limiter import Limiter
from flask_limiter.util import get_remote_address
from flask_migrate import Migrate
from flask_sqlalchemy import SQLAlchemy
from flask_wtf.csrf import CSRFProtect
from sqlalchemy import MetaData
from sqlalchemy.orm import DeclarativeBase

from flasknado.live import Live


class Base(DeclarativeBase):
    """The models' base; its naming convention lets migrations drop constraints by name."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


# A view answers from the objects it has just committed, without reading them again.
db = SQLAlchemy(
    model_class=Base, disable_autonaming=True, session_options={"expire_on_commit": False}
)
migrate = Migrate(directory=str(Path(__file__).with_name("migrations")))
bcrypt = Bcrypt()
jwt = JWTManager()
csrf = CSRFProtect()
cors = CORS()
compress = Compress()
limiter = Limiter(get_remote_address, storage_uri="webapp-database://")
live = Live()
