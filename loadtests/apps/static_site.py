"""A Flask application with nothing but static files: those of the bundled application."""

from __future__ import annotations

from pathlib import Path

from flask import Flask

FOLDER = Path(__file__).parents[2] / "webapp" / "static"

app = Flask(__name__, static_folder=FOLDER, static_url_path="/static")


@app.get("/")
def index() -> str:
    return "static files are below /static\n"
