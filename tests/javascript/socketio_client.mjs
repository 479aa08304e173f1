// What socket.io-client finds at a server: `node socketio_client.mjs URL SCENARIO...` writes what
// each scenario has found, as one JSON object. The server is tests/flasknado/socketio/test_node.py's.

import { Buffer } from "node:buffer";
import process from "node:process";

import msgpack from "socket.io-msgpack-parser";

import { Clients, DEADLINE_MS, once, runAll } from "./socketio_running.mjs";

const [url, ...wanted] = process.argv.slice(2);
const clients = new Clients();

function connect(options, namespace) {
  return clients.connect(url, options, namespace);
}

async function connected(options, namespace) {
  const socket = connect(options, namespace);
  await once(socket, "connect");
  return socket;
}

async function echo(options) {
  const socket = await connected(options);
  const back = once(socket, "back");
  socket.emit("echo", "text €", 1.5, null, { list: [true] }, new Uint8Array([1, 2, 3]));
  const [text, number, nothing, object, bytes] = await back;
  const answer = await socket.timeout(DEADLINE_MS).emitWithAck("ack", { in: new Uint8Array([4]) });
  return {
    back: [text, number, nothing, object, [...bytes]],
    answer: [...answer.in],
    transport: socket.io.engine.transport.name,
  };
}

async function cut(socket) {
  const gone = once(socket, "disconnect");
  socket.io.engine.close();
  await gone;
  await once(socket, "connect");
}

const scenarios = {
  websocket: () => echo({ transports: ["websocket"] }),

  polling: () => echo({ transports: ["polling"] }),

  async upgrade() {
    const socket = connect();
    await once(socket.io.engine, "upgrade");
    const answers = [];
    for (let i = 0; i < 20; i += 1) {
      answers.push(socket.timeout(DEADLINE_MS).emitWithAck("ack", i));
    }
    return { answers: await Promise.all(answers), transport: socket.io.engine.transport.name };
  },

  async burst() {
    const socket = await connected({ transports: ["polling"] });
    const text = "x".repeat(100000);
    const answers = [];
    for (let i = 0; i < 30; i += 1) {
      answers.push(socket.timeout(DEADLINE_MS).emitWithAck("length", text));
    }
    return Promise.all(answers);
  },

  async namespaces() {
    const manager = await connected();
    const admin = connect({ auth: { token: "right" } }, "/admin");
    await once(admin, "connect");
    const wrong = connect({ auth: { token: "wrong" } }, "/admin");
    const [refused] = await once(wrong, "connect_error");
    const unknown = connect({}, "/unknown");
    const [invalid] = await once(unknown, "connect_error");
    return {
      distinct: admin.id !== manager.id,
      refused: [refused.message, refused.data],
      invalid: invalid.message,
    };
  },

  async rooms() {
    const [one, two] = [await connected(), await connected()];
    await one.timeout(DEADLINE_MS).emitWithAck("join", "room");
    const seen = [];
    one.on("said", (text) => seen.push(text));
    two.on("said", (text) => seen.push(`two: ${text}`));
    const both = [once(one, "said"), once(two, "said")];
    two.emit("say", "room", "hello");
    two.emit("say", two.id, "to itself");
    await Promise.all(both);
    return seen.sort();
  },

  async called() {
    const socket = await connected();
    socket.on("question", (number, answer) => answer(number + 1, "and more"));
    return socket.timeout(DEADLINE_MS).emitWithAck("call me");
  },

  async dismissed() {
    const socket = await connected();
    socket.emit("dismiss me");
    return once(socket, "disconnect").then(([reason]) => reason);
  },

  async reconnects() {
    const socket = await connected();
    const before = socket.id;
    await cut(socket);
    return { recovered: Boolean(socket.recovered), same: socket.id === before };
  },

  async recovers() {
    const socket = await connected({ transports: ["websocket"] }, "/durable");
    const before = socket.id;
    await socket.timeout(DEADLINE_MS).emitWithAck("join", "room");
    const seen = [];
    socket.on("missed", (number) => seen.push(number));
    await cut(socket);  // before anything was sent
    const recovered = [socket.recovered];
    socket.emit("emit later", "room");
    const gone = once(socket, "disconnect");
    socket.io.engine.close();
    await gone;
    await once(socket, "connect");
    recovered.push(socket.recovered);
    while (seen.length < 3) {
      await once(socket, "missed");
    }
    return { recovered, same: socket.id === before, seen };
  },

  async msgpack() {
    const socket = await connected({ parser: msgpack, path: "/msgpack.io" });
    const back = once(socket, "back");
    socket.emit("echo", "text", Buffer.from([1]));
    const [text, bytes] = await back;
    return [text, [...bytes], await socket.timeout(DEADLINE_MS).emitWithAck("ack", 5)];
  },
};

await runAll(clients, wanted, (name) => scenarios[name]());
