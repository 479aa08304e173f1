// What the programs of Socket.IO clients share.

import process from "node:process";

import { io } from "socket.io-client";

export const DEADLINE_MS = 15000;

// The clients of a program, which are disconnected after each scenario.
export class Clients {
  #sockets = [];

  connect(url, options = {}, namespace = "") {
    const socket = io(url + namespace, { forceNew: true, reconnectionDelay: 100, ...options });
    this.#sockets.push(socket);
    return socket;
  }

  disconnect() {
    this.#sockets.splice(0).forEach((socket) => socket.disconnect());
  }
}

export function once(socket, event) {
  return new Promise((resolve) => { socket.once(event, (...args) => resolve(args)); });
}

// Runs scenarios one after the other, and writes what they found as one JSON object.
export async function runAll(clients, names, scenario) {
  const timer = setTimeout(() => { throw new Error("too slow"); }, 3 * DEADLINE_MS);
  const found = {};
  for (const name of names) {
    found[name] = await scenario(name);
    clients.disconnect();
  }
  clearTimeout(timer);
  process.stdout.write(JSON.stringify(found));
  process.exit(0);
}
