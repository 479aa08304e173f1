"""An answer, token by token, that a reload, a lost network or a second tab goes on with.

    flasknado examples.tokens:app --handlers flasknado.live:routes

Open http://127.0.0.1:8000, ask, and reload the page while the answer comes. `tokens()` is a script;
put the client of your language model in its place.
"""

import asyncio
import os
import secrets
from collections.abc import AsyncIterator
from pathlib import Path

from flask import Flask, Response, render_template_string, request, session

from flasknado import HTTPServer, WSGIContainer, serve
from flasknado.live import Live, Run, routes

TOKEN_INTERVAL_S = 0.1

PAGE = """
<!doctype html>
<title>Tokens</title>
<form id="ask"><input name="prompt" autofocus> <button>Ask</button></form>
<p id="answer"></p>
<p><em id="state"></em> <button id="stop" hidden>Stop</button></p>
<script>
  const $ = (id) => document.getElementById(id);
  let run;
  const show = (state, running) => { $("state").textContent = state; $("stop").hidden = !running; };
  const events = new EventSource("/live/events?channel={{ channel }}&after={{ cursor }}");
  const on = (name, act) =>
    events.addEventListener(name, (message) => act(JSON.parse(message.data).data));
  on("run.started", (data) => { run = data.run; $("answer").textContent = ""; show("...", true); });
  on("token", ({ data }) => { $("answer").textContent += data; });
  on("run.finished", () => show("finished", false));
  on("run.cancelled", () => show("stopped", false));
  on("run.failed", ({ message }) => show(message, false));
  on("run.interrupted", ({ message }) => show(message, false));
  events.addEventListener("reset", () => show("the last answer is too old to be shown", false));
  $("ask").onsubmit = (event) => {
    event.preventDefault();
    fetch("/ask", { method: "POST", body: new FormData($("ask")) });
  };
  $("stop").onclick = () => fetch("/live/stop", { method: "POST", body: JSON.stringify({ run }) });
</script>
"""

app = Flask(__name__)
app.secret_key = os.environ.get("SECRET_KEY") or secrets.token_hex()  # without: lost at a restart
app.config.from_prefixed_env()
database = Path(os.environ.get("DATABASE", "tokens.db")).absolute()
live = Live(app, database_url=f"sqlite:///{database}")


async def tokens(prompt: str) -> AsyncIterator[str]:
    """Yield an answer piece by piece, as the client of a language model does."""
    for word in f"You asked: {prompt} And this is the answer, word by word.".split():
        await asyncio.sleep(TOKEN_INTERVAL_S)
        yield word + " "


def channel() -> str:
    return "chat:" + session.setdefault("chat", secrets.token_hex(8))


@live.authorize
def may_read(name: str) -> bool:
    return name == channel()


@live.authorize_stop
def may_stop(run: Run) -> bool:
    return run.channel == channel()


@app.get("/")
def index() -> str:
    runs = live.runs(channel(), 1)
    # The page shows the last answer from its beginning, whether it is complete or not.
    cursor = runs[0].cursor if runs else live.cursor()
    return render_template_string(PAGE, channel=channel(), cursor=cursor)


@app.post("/ask")
def ask() -> Response:
    return live.run(tokens(request.form["prompt"]), channel=channel(), output="token")


if __name__ == "__main__":
    serve(lambda: HTTPServer(WSGIContainer(app), handlers=routes()))
