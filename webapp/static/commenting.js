// Who is typing a comment on the page's post, over Socket.IO: the one thing here that it is used for.

import { main, root } from "./page.js";

const SAID_EVERY_MS = 2_000;
const SHOWN_MS = 4_000;

/** Say `ann is typing` for a while after each time that we were told so. */
function shower(element) {
  const timers = new Map();
  function show() {
    const names = [...timers.keys()];
    const verb = names.length === 1 ? "is" : "are";
    const text = names.length === 0 ? "" : `${names.join(", ")} ${verb} typing`;
    if (element.textContent !== text) element.textContent = text;
  }
  return (name) => {
    clearTimeout(timers.get(name));
    timers.set(name, setTimeout(() => {
      timers.delete(name);
      show();
    }, SHOWN_MS));
    show();
  };
}

export async function commenting() {
  const element = document.querySelector("[data-typing]");
  const field = document.querySelector("form[data-draft] textarea");
  if (!element || !field) return;
  const { io } = await import("./vendor/socket.io.js");
  const socket = io("/commenting", {
    path: `${root}socket.io/`,
    transports: ["websocket"],
    auth: { post: Number(main.dataset.liveChannel.split(":")[1]) },
  });
  socket.on("typing", shower(element));
  let saidAt = -Infinity;
  field.addEventListener("input", () => {
    if (!socket.connected || performance.now() - saidAt < SAID_EVERY_MS) return;
    saidAt = performance.now();
    socket.volatile.emit("typing");
  });
}
