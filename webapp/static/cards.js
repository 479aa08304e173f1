// Elements made from the page's own templates, filled with objects of the API.

import { counted, root } from "./page.js";
import { showTime } from "./times.js";

function fillPerson(link, username) {
  link.href = root + encodeURIComponent(username);
  link.querySelector("[data-name]").textContent = username;
  link.querySelector("[data-avatar]").src = `${root}avatars/${username.toLowerCase()}.svg`;
}

/** Write an object of the API into an element made by a template. */
export function fill(element, object) {
  const fields = [...element.querySelectorAll("[data-field]")];
  if (element.matches("[data-field]")) fields.push(element);
  for (const field of fields) {
    const name = field.dataset.field;
    if (!(name in object)) continue;
    if (field.localName === "time") {
      field.dateTime = object[name];
      showTime(field);
    } else if (name === "author") {
      fillPerson(field, object.author);
    } else {
      const value = object[name];
      field.textContent = name === "comment_count" ? counted(value, "comment", "comments") : value;
    }
    if (name === "title") field.href = `${root}post/${object.id}`;
  }
}

export function fromTemplate(id, object) {
  const element = document.getElementById(id).content.firstElementChild.cloneNode(true);
  fill(element, object);
  return element;
}

/** Make the card of a post. */
export function postCard(post) {
  const card = fromTemplate("post-card", post);
  card.dataset.postId = post.id;
  card.querySelector("h2").id = `post-title-${post.id}`;
  card.setAttribute("aria-labelledby", `post-title-${post.id}`);
  return card;
}
