"""The bundled application with the views of `loadtests.apps.views` under `/loadtest`."""

from __future__ import annotations

from flask import request

from loadtests.apps import views
from webapp import create_app
from webapp.body_limits import max_body_bytes
from webapp.channels import TIMELINE
from webapp.extensions import bcrypt, csrf, db, live

# Hundreds log in at the same moment here, as no site's people do.
app = create_app(overrides={"PASSWORD_QUEUE": 1000})
csrf.exempt(views.blueprint)
app.register_blueprint(views.blueprint, url_prefix="/loadtest")
for view in (views.echo, views.upload):
    max_body_bytes(app.config["MAX_CONTENT_LENGTH"], for_anybody=True)(view)

# What logging in costs is bcrypt's doing, on purpose, and no server's.
app.config["BCRYPT_LOG_ROUNDS"] = 4
bcrypt.init_app(app)


@app.post("/loadtest/publish")
@csrf.exempt  # type: ignore[untyped-decorator]
def publish() -> dict[str, bool]:
    """Tell the timeline's live clients what was sent, in a transaction as every event."""
    live.publish(TIMELINE, "loadtest.tick", request.get_json())
    db.session.commit()
    return {"ok": True}
