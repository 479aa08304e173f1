// The beginning of a long post, word by word as it comes from the server (`/live/summary`).

import { root } from "./page.js";

export function summary() {
  const place = document.querySelector("[data-summary]");
  if (!place) return;
  const button = place.querySelector("button");
  const text = place.querySelector("span");
  place.hidden = false;
  button.addEventListener("click", () => {
    button.disabled = true;
    text.textContent = "";
    const source = new EventSource(`${root}live/summary?post=${Number(place.dataset.summary)}`);
    const end = () => {
      source.close();
      button.disabled = false;
    };
    source.addEventListener("word", ({ data }) => text.append(`${JSON.parse(data)} `));
    source.addEventListener("done", end);
    source.addEventListener("error", end);
  });
}
