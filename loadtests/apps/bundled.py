"""The bundled application with the views of `loadtests.apps.views` under `/loadtest`."""

from __future__ import annotations

from loadtests.apps import views
from webapp import create_app
from webapp.extensions import csrf

app = create_app()
csrf.exempt(views.blueprint)
app.register_blueprint(views.blueprint, url_prefix="/loadtest")
