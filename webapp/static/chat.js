// The chat: what is said goes out over a WebSocket of its own, and comes back as a live event, so
// that it reaches everybody in one order, whichever server process they are connected to.

import { fromTemplate } from "./cards.js";
import { root } from "./page.js";

const MOST_LINES = 200;

export function chat() {
  const lines = document.querySelector("[data-chat]");
  const form = document.querySelector("form[data-say]");
  const said = document.querySelector("[data-say-error]");
  let socket = null;

  function fail(message) {
    said.textContent = message;
    said.hidden = message === "";
  }

  function open() {
    const address = new URL(`${root}live/chat`, location.href);
    address.protocol = address.protocol.replace("http", "ws");
    socket = new WebSocket(address);
    return new Promise((resolve, reject) => {
      socket.addEventListener("open", resolve);
      socket.addEventListener("error", () => reject(new Error("The chat cannot be reached.")));
      socket.addEventListener("message", ({ data }) => {
        const { error } = JSON.parse(data);
        fail(error ?? "");
        if (!error) form.reset();
      });
    });
  }

  form?.addEventListener("submit", async (event) => {
    event.preventDefault();
    try {
      if (socket?.readyState !== WebSocket.OPEN) await open();
      socket.send(form.elements.text.value);
    } catch (error) {
      fail(error.message);
    }
  });

  return {
    onEvent: {
      "chat.said"(line) {
        const atEnd = lines.scrollTop + lines.clientHeight >= lines.scrollHeight - 20;
        lines.append(fromTemplate("chat-line", line));
        if (lines.children.length > MOST_LINES) lines.firstElementChild.remove();
        if (atEnd) lines.scrollTop = lines.scrollHeight;
      },
    },
  };
}
