// A list of posts that is up to date: new ones wait behind a button, so that nothing jumps.

import { fill, postCard } from "./cards.js";
import { counted } from "./page.js";

const MOST_CARDS = 200;
const MOST_WAITING = 100;

function cardOf(id) {
  return document.querySelector(`[data-post-id="${Number(id)}"]`);
}

/** Number the articles, and let Page Up and Page Down go from one to the next (ARIA, feed). */
function number(list) {
  [...list.children].forEach((card, index) => card.setAttribute("aria-posinset", index + 1));
}

function walk(list, event) {
  if (event.key !== "PageDown" && event.key !== "PageUp") return;
  const card = event.target.closest("article");
  const next = event.key === "PageDown" ? card?.nextElementSibling : card?.previousElementSibling;
  if (!next) return;
  event.preventDefault();
  next.focus();
}

/** Follow the posts of everybody, or of one author on a profile. */
export function feed() {
  const list = document.querySelector("[data-posts]");
  const pill = document.querySelector("[data-pill]");
  const author = document.querySelector("[data-author]")?.dataset.author;
  const waiting = new Map();

  function showPill() {
    const more = waiting.size === MOST_WAITING ? "more than " : "";
    pill.textContent = `Show ${more}${counted(waiting.size, "new post", "new posts")}`;
    pill.hidden = waiting.size === 0;
  }

  list.addEventListener("keydown", (event) => walk(list, event));
  pill.addEventListener("click", () => {
    list.setAttribute("aria-busy", "true");
    for (const post of waiting.values()) {
      const card = postCard(post);
      card.classList.add("arrived");
      list.prepend(card);
    }
    waiting.clear();
    while (list.children.length > MOST_CARDS) list.lastElementChild.remove();
    number(list);
    list.setAttribute("aria-busy", "false");
    document.querySelector("[data-empty]")?.remove();
    showPill();
    list.firstElementChild.focus();
  });

  return {
    onEvent: {
      "post.created"(post) {
        if (cardOf(post.id) || (author && post.author !== author)) return;
        if (waiting.size < MOST_WAITING) waiting.set(post.id, post);
        showPill();
      },
      "post.updated"(post) {
        if (waiting.has(post.id)) waiting.set(post.id, post);
        const card = cardOf(post.id);
        if (card) fill(card, post);
      },
      "post.commented"(change) {
        const post = waiting.get(change.id);
        if (post) post.comment_count = change.comment_count;
        const card = cardOf(change.id);
        if (card) fill(card, { comment_count: change.comment_count });
      },
      "post.deleted"({ id }) {
        waiting.delete(id);
        showPill();
        cardOf(id)?.remove();
        number(list);
      },
    },
  };
}
