"""Notes that appear in every open page, in a page without JavaScript of its own: htmx puts in
place what the server renders.

    flasknado examples.live_html:app --handlers flasknado.live:routes

Open http://127.0.0.1:8000 in two windows; write in one, and delete in the other.
"""

import os
from pathlib import Path

from flask import Flask, redirect, render_template, request
from flask_sqlalchemy import SQLAlchemy
from jinja2 import DictLoader
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from werkzeug.wrappers import Response

from flasknado import HTTPServer, WSGIContainer, serve
from flasknado.live import Live, routes

TEMPLATES = {
    "page.html": """
<!doctype html>
<title>Notes</title>
<script src="/static/htmx/htmx.min.js"></script>
<script src="/static/htmx/hx-sse.min.js"></script>
<form method="post"><input name="text" autofocus> <button>Write</button></form>
<ul id="notes">{% for note in notes %}{% include "note.html" %}{% endfor %}</ul>
<div id="stream"
     hx-sse:connect="/live/events?format=htmx&after={{ cursor }}&tag={{ live.tag('notes') }}"></div>
<div hx-get="/" hx-trigger="reset from:#stream" hx-target="body"></div>
""",
    "note.html": """
<li id="note-{{ note.id }}">{{ note.text }}
  <form method="post" action="{{ url_for('delete', note_id=note.id) }}">
    <button>Delete</button>
  </form>
</li>
""",
}


class Base(DeclarativeBase):
    pass


db = SQLAlchemy(model_class=Base)
live = Live()


class Note(db.Model):
    id: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str]


app = Flask(__name__)
app.jinja_loader = DictLoader(TEMPLATES)
app.secret_key = os.environ.get("SECRET_KEY", "change me")  # signs what live.tag() returns
database = Path(os.environ.get("DATABASE", "notes.db")).absolute()
app.config["SQLALCHEMY_DATABASE_URI"] = f"sqlite:///{database}"
db.init_app(app)
live.init_app(app, db)
with app.app_context():
    db.create_all()  # the table of notes, and the log of events


@app.get("/")
def index() -> str:
    cursor = live.cursor()  # before the data, so that nothing falls between page and stream
    notes = db.session.scalars(db.select(Note).order_by(Note.id))
    return render_template("page.html", notes=notes, cursor=cursor)


@app.post("/")
def write() -> Response:
    note = Note(text=request.form["text"])
    db.session.add(note)
    db.session.flush()  # the note has its number now
    live.render("notes", "note.html", note=note, target="notes", action="append")
    db.session.commit()  # now the note is there, and in every open page, or neither
    return redirect("/")


@app.post("/<int:note_id>/delete")
def delete(note_id: int) -> Response:
    db.session.delete(db.get_or_404(Note, note_id))
    live.render("notes", None, target=f"note-{note_id}", action="remove")
    db.session.commit()
    return redirect("/")


if __name__ == "__main__":
    serve(lambda: HTTPServer(WSGIContainer(app), handlers=routes()))
