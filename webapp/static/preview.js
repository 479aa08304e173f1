// "Preview" without leaving the page: the server renders it, as it would render the post.

export function preview() {
  const form = document.querySelector("form[data-preview-form]");
  if (!form) return;
  form.addEventListener("submit", async (event) => {
    if (event.submitter?.name !== "preview") return;
    event.preventDefault();
    const answer = await fetch(form.action, {
      method: "POST",
      body: new FormData(form, event.submitter),
      redirect: "manual",
    }).catch(() => null);
    if (!answer?.ok) {
      // What is wrong is said on the page that the form leads to.
      const sent = document.createElement("input");
      Object.assign(sent, { type: "hidden", name: "preview", value: "1" });
      form.append(sent);
      form.submit();
      return;
    }
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const shown = page.querySelector("[data-preview]");
    document.querySelector("[data-preview]").replaceChildren(...shown.childNodes);
  });
}
