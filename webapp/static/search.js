// Search while typing, over a WebSocket; without one, through the API a moment after each key.

import { fill, postCard } from "./cards.js";
import { counted, root } from "./page.js";

const PAUSE_MS = 250;

function show({ posts, people }) {
  const list = document.createElement("div");
  list.className = "posts";
  list.setAttribute("role", "feed");
  list.setAttribute("aria-label", "Posts that were found");
  list.append(...posts.map(postCard));
  document.querySelector("[data-results]").replaceChildren(list);
  document.querySelector("[data-people]").replaceChildren(
    ...people.map(({ username }) => {
      const item = document.createElement("li");
      item.append(document.getElementById("person").content.cloneNode(true));
      fill(item, { author: username });
      return item;
    }),
  );
  const found = posts.length + people.length;
  document.querySelector("[data-found]").textContent =
    found === 0 ? "Nothing was found." : counted(found, "result", "results");
}

export function search() {
  const form = document.querySelector("form[data-search]");
  if (!form) return;
  const field = form.elements.q;
  const address = new URL(`${root}live/search`, location.href);
  address.protocol = address.protocol.replace("http", "ws");
  const socket = new WebSocket(address);
  let timer = 0;

  const showIfWanted = (found) => {
    if (found.query === field.value.trim()) show(found);
  };
  socket.addEventListener("message", ({ data }) => showIfWanted(JSON.parse(data)));
  // Without this handler a refusal would be an unhandled error; the API is asked instead.
  socket.addEventListener("error", () => {});

  async function ask(query) {
    const answer = await fetch(`${root}api/v1/search?q=${encodeURIComponent(query)}`);
    if (answer.ok) showIfWanted({ query, ...(await answer.json()) });
  }

  field.addEventListener("input", () => {
    const query = field.value.trim();
    clearTimeout(timer);
    if (query === "") show({ posts: [], people: [] });
    else if (socket.readyState === WebSocket.OPEN) socket.send(query);
    else timer = setTimeout(() => ask(query), PAUSE_MS);
    history.replaceState(null, "", query ? `?q=${encodeURIComponent(query)}` : location.pathname);
  });
}
