// One post: its comments come and go by themselves, and one sees how many read it.

import { fromTemplate } from "./cards.js";
import { counted, isAdmin, main, me, notice, root } from "./page.js";

function mayDelete(comment) {
  return me !== undefined && (isAdmin || comment.author === me);
}

function offerDeletion(item, comment) {
  const details = item.querySelector("[data-delete]");
  if (!details) return;
  if (!mayDelete(comment)) {
    details.remove();
    return;
  }
  details.hidden = false;
  const path = `post/${Number(comment.post_id)}/comments/${Number(comment.id)}/delete`;
  details.querySelector("form").action = root + path;
}

export function post() {
  if (!main.dataset.liveCursor) return undefined;
  return {
    onEvent: {
      "comment.created"(comment) {
        const id = `comment-${Number(comment.id)}`;
        if (document.getElementById(id)) return;
        const item = fromTemplate("comment-item", comment);
        item.id = id;
        item.classList.add("arrived");
        offerDeletion(item, comment);
        document.querySelector("[data-comments]").append(item);
      },
      "comment.deleted"({ id }) {
        document.getElementById(`comment-${Number(id)}`)?.remove();
      },
      "post.commented"({ comment_count: count }) {
        const heading = document.querySelector("[data-comment-count]");
        heading.dataset.commentCount = count;
        heading.textContent = counted(count, "comment", "comments");
      },
      "post.updated"() {
        notice("This post has been edited.", { reload: "Show the new text" });
      },
      "post.attachments"() {
        notice("The attachments have changed.", { reload: "Show them" });
      },
      "post.deleted"() {
        notice("This post has been deleted.");
      },
    },
    onPresence({ count }) {
      const element = document.querySelector("[data-reading]");
      element.textContent = `${count} reading`;
      element.hidden = count < 2;
    },
  };
}
