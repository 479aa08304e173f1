// What is typed is kept in this browser until the server has it: a session that ended, a server
// that restarted or a tab that was closed by mistake takes nothing away.
//
// A draft has the key of its form. The page after a form that was done names that key
// (<main data-sent>), and only then is the draft of no more use. It is put back with its key and
// the version that was read, so that sending it again is noticed, and so is a conflict.

import { main, me, notice } from "./page.js";

const PREFIX = "draft ";
const MOST_DRAFTS = 50;
const KEPT_MS = 30 * 24 * 3_600_000;
const HIDDEN = ["form_key", "version"];

function stored() {
  const drafts = [];
  for (const name of Object.keys(localStorage)) {
    if (!name.startsWith(PREFIX)) continue;
    try {
      drafts.push({ name, ...JSON.parse(localStorage.getItem(name)) });
    } catch {
      localStorage.removeItem(name);
    }
  }
  return drafts.sort((one, other) => other.at - one.at);
}

function tidy() {
  const sent = (main.dataset.sent ?? "").split(" ");
  stored().forEach(({ name, at, fields }, index) => {
    const old = index >= MOST_DRAFTS || Date.now() - at > KEPT_MS;
    if (old || sent.includes(fields?.form_key)) localStorage.removeItem(name);
  });
}

function typed(form) {
  return [...form.elements].filter((field) => field.matches("textarea, input[type=text]"));
}

function read(form) {
  const kept = [...typed(form), ...HIDDEN.map((name) => form.elements[name])];
  return Object.fromEntries(kept.filter(Boolean).map((field) => [field.name, field.value]));
}

function keep(form) {
  const name = `${PREFIX}${me} ${new URL(form.action).pathname}`;
  const restore = () => {
    const draft = JSON.parse(localStorage.getItem(name) ?? "null");
    if (!draft || typed(form).every((field) => field.value === (draft.fields[field.name] ?? ""))) {
      return;
    }
    for (const [field, value] of Object.entries(draft.fields)) {
      if (form.elements[field]) form.elements[field].value = value;
    }
    notice("What you had typed here is back.", {
      button: "Discard it",
      onPress() {
        localStorage.removeItem(name);
        form.reset();
      },
    });
  };
  // A form that was sent and refused has what was typed already, and a newer version.
  if (form.dataset.draft !== "keep") restore();
  form.addEventListener("input", () => {
    const empty = typed(form).every((field) => field.value === field.defaultValue);
    if (empty) localStorage.removeItem(name);
    else localStorage.setItem(name, JSON.stringify({ at: Date.now(), fields: read(form) }));
  });
}

export function keepDrafts() {
  try {
    tidy();
    document.querySelectorAll("form[data-draft]").forEach(keep);
  } catch (error) {
    // Storage is full or turned off: forms work as they always did.
    console.warn(error.message);
  }
}
