"""Flask-AppBuilder with its users, roles and REST interface, over SQLite."""

import os

from flask import Flask
from flask_appbuilder import AppBuilder
from flask_appbuilder.utils.legacy import get_sqla_class

app = Flask(__name__)
app.config |= {
    "SECRET_KEY": "secret",
    "SQLALCHEMY_DATABASE_URI": f"sqlite:///{os.environ['FOLDER']}/fab.db",
    "FAB_API_SWAGGER_UI": True,
    "WTF_CSRF_ENABLED": False,
    "RATELIMIT_ENABLED": False,
}
db = get_sqla_class()()
db.init_app(app)
appbuilder = AppBuilder()
with app.app_context():
    appbuilder.init_app(app, db.session)
    if appbuilder.sm.find_user("ann") is None:
        role = appbuilder.sm.find_role("Admin")
        appbuilder.sm.add_user("ann", "Ann", "A", "ann@example.org", role, "secret")
