// How many notifications are unread, in the heading of every page.

import { notice } from "./page.js";

export function news() {
  const count = document.querySelector("[data-unread]");
  return {
    "notification.created"({ actor, kind, post_title: title, unread }) {
      if (count) {
        count.lastChild.data = unread;
        count.hidden = unread === 0;
      }
      const did = kind === "comment" ? "commented on" : "mentioned you in";
      notice(`${actor} ${did} “${title}”.`);
    },
  };
}
