// Uploading a file with its progress, through the API; without this module the form is sent.

import { csrfToken, root } from "./page.js";

export function upload() {
  const form = document.querySelector("form[data-upload]");
  if (!form) return;
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const place = form.querySelector("[data-progress]");
    const bar = place.querySelector("progress");
    const said = form.querySelector("[data-progress-text]");
    const button = form.querySelector("button");
    const request = new XMLHttpRequest();

    function fail(message) {
      said.textContent = message;
      bar.hidden = true;
      button.disabled = false;
    }

    request.upload.addEventListener("progress", ({ loaded, total }) => {
      bar.value = total ? (100 * loaded) / total : 0;
      said.textContent = loaded < total ? `${Math.floor(bar.value)} %` : "Almost done";
    });
    request.addEventListener("load", () => {
      if (request.status === 201) {
        location.hash = "attachments";
        location.reload();
        return;
      }
      fail(request.response?.message ?? `The server answered ${request.status}.`);
    });
    request.addEventListener("error", () => fail("The connection was lost: try again."));
    place.hidden = false;
    bar.hidden = false;
    button.disabled = true;
    const postId = new URL(form.action).pathname.split("/").at(-1);
    request.open("POST", `${root}api/v1/attachments/${postId}`);
    request.setRequestHeader("X-CSRFToken", csrfToken());
    request.responseType = "json";
    request.send(new FormData(form));
  });
}
