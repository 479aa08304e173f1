// What socket.io-client finds at the applications of tests/flasknado/socketio/examples:
// `node socketio_examples.mjs NAME=URL...` writes what each has told, as one JSON object.

import process from "node:process";

import { Clients, once, runAll } from "./socketio_running.mjs";

const urls = new Map(process.argv.slice(2).map((argument) => {
  const at = argument.indexOf("=");
  return [argument.slice(0, at), argument.slice(at + 1)];
}));
const clients = new Clients();

// Returns a connected client that keeps the data of its replies, and one to wait for the next.
async function listener(url, namespace) {
  const socket = clients.connect(url, {}, namespace);
  const replies = [];
  socket.on("reply", (reply, acknowledge) => {
    replies.push(reply);
    acknowledge?.();
  });
  await once(socket, "reply");
  const ask = async (event, ...args) => {
    const reply = once(socket, "reply");
    socket.emit(event, ...args);
    return (await reply)[0];
  };
  return { socket, replies, ask };
}

// Both forms of the example have the same events.
async function everyEmit(url, namespace) {
  const one = await listener(url, namespace);
  const two = await listener(url, namespace);
  const own = await one.ask("to_me", { data: "mine" });
  await two.ask("to_me", { data: "again" });
  const all = once(two.socket, "reply");
  const allToo = await one.ask("to_all", { data: "everybody" });
  const heard = (await all)[0];
  const inRooms = (await one.ask("join", { room: "room" })).data
    .replace(one.socket.id, "itself");
  const said = once(one.socket, "reply");
  two.socket.emit("to_room", { room: "room", data: "roomy" });
  const inRoom = (await said)[0].data;
  const closing = once(one.socket, "reply");
  two.socket.emit("close", { room: "room" });
  const closed = (await closing)[0].data;
  const left = (await one.ask("leave", { room: "room" })).data.replace(one.socket.id, "itself");
  const pong = once(one.socket, "my_pong");
  one.socket.emit("my_ping");
  await pong;
  const gone = once(one.socket, "disconnect");
  const farewell = (await one.ask("goodbye")).data;
  const [reason] = await gone;
  const first = one.replies[0];
  return { first, own, allToo, heard, inRooms, inRoom, closed, left, farewell, reason };
}

async function cookieOf(url, options) {
  const response = await fetch(url, options);
  return response.headers.get("set-cookie").split(";")[0];
}

const scenarios = {
  async app(url) {
    const found = await everyEmit(url, "");
    const other = await listener(url, "");
    const [{ tick }] = await once(other.socket, "tick");
    const { data } = await other.ask("an event", { of: "any name" });
    return { ...found, other: data, ticks: tick >= 0 };
  },

  app_namespace: (url) => everyEmit(url, "/test"),

  async sessions(url) {
    const page = `${url}/session`;
    const post = (body, headers) => ({
      method: "POST",
      headers: { "Content-Type": "application/json", ...headers },
      body: JSON.stringify(body),
    });
    const cookie = await cookieOf(page, post({ value: "of a page" }));
    const socket = clients.connect(url, { extraHeaders: { cookie } });
    const told = async () => {
      const refreshed = once(socket, "refresh-session");
      socket.emit("get-session");
      return (await refreshed)[0];
    };
    const found = [await told()];
    socket.emit("set-session", { user: "ann" });
    found.push(await told());
    await fetch(page, post({ value: "of a page again" }, { cookie }));
    found.push(await told());
    const read = await fetch(page, { headers: { cookie } });
    found.push(await read.json());
    return found;
  },

  async chat(url) {
    const enter = async (name) => {
      const body = new URLSearchParams({ name, room: "lobby" });
      const cookie = await cookieOf(url, { method: "POST", body });
      const socket = clients.connect(url, { extraHeaders: { cookie } }, "/chat");
      const entered = once(socket, "status");
      socket.emit("joined", {});
      return [socket, (await entered)[0].msg];
    };
    const [ann, annEntered] = await enter("ann");
    const bobsStatus = once(ann, "status");
    const [bob] = await enter("bob");
    const bobEntered = (await bobsStatus)[0].msg;
    const message = once(ann, "message");
    bob.emit("text", { msg: "hello" });
    const said = (await message)[0].msg;
    const status = once(ann, "status");
    bob.emit("left", {});
    return [annEntered, bobEntered, said, (await status)[0].msg];
  },
};

await runAll(clients, [...urls.keys()], (name) => scenarios[name](urls.get(name)));
