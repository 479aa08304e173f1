"""Talks to the applications whose connections stay open, and prints what it hears as JSON.

python long_answers.py KIND http://127.0.0.1:PORT
"""

import json
import sys
import threading
import time

import requests
import socketio
import websocket

TIMEOUT_S = 20


def socket_of(url, path, **options):
    return websocket.create_connection(
        "ws" + url.removeprefix("http") + path, timeout=TIMEOUT_S, **options
    )


def end_of(client):
    """Return the close code and reason that end a conversation, if there are any."""
    opcode, data = client.recv_data()
    code = int.from_bytes(data[:2], "big") if data else None
    return [opcode, code, data[2:].decode()]


def echoes(client):
    heard = []
    for text in ("one", "\N{SNOWMAN}", "x" * 70_000):
        client.send(text)
        heard.append(client.recv())
    client.send_binary(bytes(range(256)))
    heard.append(client.recv().hex())
    client.ping("are you there")
    heard.append(client.recv_data_frame(control_frame=True)[1].data.decode())
    client.send("three", opcode=websocket.ABNF.OPCODE_TEXT)
    heard.append(client.recv())
    client.close()
    return heard


def sock(url):
    heard = [echoes(socket_of(url, "/echo"))]
    with_words = socket_of(url, "/say/Ann?day=Friday")
    heard.append([with_words.recv(), end_of(with_words)])
    failing = socket_of(url, "/fails")
    heard.append(failing.recv())
    many = [socket_of(url, "/echo") for _ in range(20)]
    for number, client in enumerate(many):
        client.send(str(number))
    heard.append([client.recv() for client in many])
    heard.append(requests.get(url + "/", timeout=TIMEOUT_S).text)
    for client in many:
        client.close()
    return heard


def raw(url):
    upper = socket_of(url, "/echo", subprotocols=["other", "upper"])
    heard = [upper.getsubprotocol()]
    upper.send("loud")
    heard.append(upper.recv())
    upper.close()
    plain = socket_of(url, "/echo")
    heard.append(plain.getsubprotocol())
    heard.append(echoes(plain))
    answer = requests.get(url + "/echo", timeout=TIMEOUT_S)
    heard += [answer.status_code, requests.get(url + "/", timeout=TIMEOUT_S).text]
    return heard


class Person:
    """A client of Socket.IO, and what it has heard."""

    def __init__(self, url, transports, name):
        self.client = socketio.Client(reconnection=False)
        self.heard = []
        self._more = threading.Condition()
        for event in ("welcome", "news", "message"):
            self.client.on(event, lambda data, event=event: self._hear(event, data))
        self.client.connect(f"{url}?name={name}", transports=transports, wait_timeout=TIMEOUT_S)

    def _hear(self, event, data):
        with self._more:
            self.heard.append([event, data])
            self._more.notify_all()

    def wait_for(self, event, data):
        with self._more:
            assert self._more.wait_for(lambda: [event, data] in self.heard, TIMEOUT_S), self.heard


def talk(url, transports, upgraded):
    ann = Person(url, transports, "Ann")
    ann.wait_for("welcome", "Ann")
    answer = ann.client.call("join", "attic", timeout=TIMEOUT_S)
    ann.client.send("hello")
    ann.wait_for("message", "HELLO")
    posted = requests.post(url + "/news/attic", data="rain", timeout=TIMEOUT_S)
    ann.wait_for("news", "rain")
    used = ann.client.transport()
    ann.client.disconnect()
    assert used == upgraded, used
    return [answer, posted.status_code, used, sorted(ann.heard)]


def polling(url):
    """More long polls than there are threads, and a page beside them."""
    people = [Person(url, ["polling"], f"p{number}") for number in range(20)]
    for number, person in enumerate(people):
        person.wait_for("welcome", f"p{number}")
        person.client.call("join", "hall", timeout=TIMEOUT_S)
    heard = [requests.get(url + "/", timeout=TIMEOUT_S).text]
    requests.post(url + "/news/hall", data="all", timeout=TIMEOUT_S)
    for person in people:
        person.wait_for("news", "all")
        heard.append(sorted(person.heard))
        person.client.disconnect()
    return heard


def socket_io(url):
    return [
        talk(url, ["websocket"], "websocket"),
        talk(url, ["polling"], "polling"),
        talk(url, ["polling", "websocket"], "websocket"),
        polling(url),
    ]


def events(url):
    streams = [requests.get(url + "/events", stream=True, timeout=TIMEOUT_S) for _ in range(20)]
    lines = [stream.iter_lines(chunk_size=1, decode_unicode=True) for stream in streams]
    heard = [[next(each) for _ in range(3)] for each in lines]
    polls, answers = [], []
    for _ in range(20):
        poll = threading.Thread(
            target=lambda: answers.append(requests.get(url + "/poll", timeout=TIMEOUT_S).text)
        )
        poll.start()
        polls.append(poll)
    heard.append(requests.get(url + "/", timeout=TIMEOUT_S).text)
    ends_at = time.monotonic() + TIMEOUT_S
    told = ""
    while len(answers) < 20 and time.monotonic() < ends_at:
        told = requests.post(url + "/publish", data="news", timeout=TIMEOUT_S).text
        time.sleep(0.05)
    heard.append(answers)
    heard += [[next(each) for _ in range(2)] for each in lines]
    for stream in streams:
        stream.close()
    while told != "0" and time.monotonic() < ends_at:  # each finds out at its next event
        told = requests.post(url + "/publish", data="last", timeout=TIMEOUT_S).text
        time.sleep(0.05)
    heard.append(told)
    return heard


KINDS = {"sock": sock, "raw": raw, "socketio": socket_io, "queue": events}

if __name__ == "__main__":
    json.dump(KINDS[sys.argv[1]](sys.argv[2]), sys.stdout)
