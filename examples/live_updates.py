"""Notes that appear in every open page as they are written: Flask, SQLite and live events.

    flasknado examples.live_updates:app --handlers flasknado.live:routes

Open http://127.0.0.1:8000 in two windows and write in one.
"""

import os
from pathlib import Path

from flask import Flask, redirect, render_template_string, request
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from werkzeug.wrappers import Response

from flasknado import HTTPServer, WSGIContainer, serve
from flasknado.live import Live, routes

PAGE = """
<!doctype html>
<title>Notes</title>
<form method="post"><input name="text" autofocus> <button>Write</button></form>
<ul id="notes">
  {% for note in notes %}<li id="note-{{ note.id }}">{{ note.text }}</li>{% endfor %}
</ul>
<script>
  const events = new EventSource("/live/events?channel=notes&after={{ cursor }}");
  events.addEventListener("note.created", (message) => {
    const { id, text } = JSON.parse(message.data).data;
    if (document.getElementById(`note-${id}`)) return;  // written after the cursor was read
    const item = document.createElement("li");
    item.id = `note-${id}`;
    item.textContent = text;
    document.getElementById("notes").append(item);
  });
  events.addEventListener("reset", () => location.reload());
</script>
"""


class Base(DeclarativeBase):
    pass


db = SQLAlchemy(model_class=Base)
live = Live()


class Note(db.Model):
    id: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str]


app = Flask(__name__)
database = Path(os.environ.get("DATABASE", "notes.db")).absolute()
app.config["SQLALCHEMY_DATABASE_URI"] = f"sqlite:///{database}"
db.init_app(app)
live.init_app(app, db)
with app.app_context():
    db.create_all()  # the table of notes, and the log of events


@live.authorize
def may_read(channel: str) -> bool:  # in a Flask request context: session and g are there
    return channel == "notes"


@app.get("/")
def index() -> str:
    cursor = live.cursor()  # before the data, so that nothing falls between page and stream
    notes = db.session.scalars(db.select(Note).order_by(Note.id))
    return render_template_string(PAGE, notes=notes, cursor=cursor)


@app.post("/")
def write() -> Response:
    note = Note(text=request.form["text"])
    db.session.add(note)
    db.session.flush()  # now it has an id
    live.publish("notes", "note.created", {"id": note.id, "text": note.text})
    db.session.commit()  # now the note and its event exist, or neither
    return redirect("/")


if __name__ == "__main__":
    serve(lambda: HTTPServer(WSGIContainer(app), handlers=routes()))
