// The site's one script: times in the reader's own zone, and pages that update themselves.
//
// A page that updates itself says from which event on, in <main data-live-channel data-live-cursor>;
// the server read that cursor before the page's data, so nothing falls between the two. live.js
// does the rest, with one connection for all tabs. What arrives is put in by textContent, never
// as HTML. Without live events (another server, an old browser) the page is an ordinary page.

const RELOAD_SPREAD_MS = 3_000;
const MOST_CARDS = 200;

const main = document.querySelector("main");
const { liveChannel: channel, liveCursor: startCursor, liveKey: key, root } = main.dataset;

const timeFormat = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });

function showTime(element) {
  const moment = new Date(element.dateTime);
  if (!Number.isNaN(moment.getTime())) {
    element.title = element.dateTime;
    element.textContent = timeFormat.format(moment);
  }
}

function counted(number) {
  return `${number} ${number === 1 ? "comment" : "comments"}`;
}

// --- What is shown -------------------------------------------------------------------------

/** Write an object of the API into an element made by a template. */
function fill(element, object) {
  for (const field of element.querySelectorAll("[data-field]")) {
    const name = field.dataset.field;
    if (field.localName === "time") {
      field.dateTime = object[name];
      showTime(field);
    } else {
      field.textContent = name === "comment_count" ? counted(object[name]) : object[name];
    }
    if (name === "author") field.href = root + encodeURIComponent(object.author);
    if (name === "title") field.href = `${root}post/${object.id}`;
  }
}

function fromTemplate(id, object) {
  const element = document.getElementById(id).content.firstElementChild.cloneNode(true);
  fill(element, object);
  element.classList.add("arrived");
  return element;
}

function cardOf(id) {
  return document.querySelector(`[data-post-id="${Number(id)}"]`);
}

const onTimeline = {
  "post.created"(post) {
    if (cardOf(post.id)) return;
    const list = document.querySelector("[data-posts]");
    const card = fromTemplate("post-card", post);
    card.dataset.postId = post.id;
    list.prepend(card);
    if (list.children.length > MOST_CARDS) list.lastElementChild.remove();
    document.querySelector("[data-empty]")?.remove();
  },
  "post.updated"(post) {
    const card = cardOf(post.id);
    if (card) fill(card, post);
  },
  "post.deleted"({ id }) {
    cardOf(id)?.remove();
  },
};

const onPost = {
  "comment.created"(comment) {
    const id = `comment-${Number(comment.id)}`;
    if (document.getElementById(id)) return;
    const item = fromTemplate("comment-item", comment);
    item.id = id;
    document.querySelector("[data-comments]").append(item);
    const heading = document.querySelector("[data-comment-count]");
    heading.dataset.commentCount = Number(heading.dataset.commentCount) + 1;
    heading.textContent = counted(Number(heading.dataset.commentCount));
  },
  "post.updated"() {
    notice("This post has been edited.", "Show the new text");
  },
  "post.deleted"() {
    notice("This post has been deleted.");
  },
};

/** Show how many read the post, if that is more than this reader. */
function showReading({ count }) {
  const element = document.querySelector("[data-reading]");
  if (!element) return;
  element.textContent = `· ${count} reading`;
  element.hidden = count < 2;
}

/** Say something above the text, with a link that loads the page again. */
function notice(text, reloadText) {
  const element = document.querySelector("[data-notice]");
  if (!element) return;
  element.textContent = `${text} `;
  if (reloadText) {
    const link = document.createElement("a");
    link.href = location.pathname;
    link.textContent = reloadText;
    element.append(link);
  }
  element.hidden = false;
}

/** Load the page again because events were missed, unless that would lose what is being typed. */
function startAgain() {
  const typing = [...document.querySelectorAll("textarea")].some((area) => area.value !== "");
  if (typing) {
    notice("Something here may be out of date.", "Load the page again");
  } else {
    setTimeout(() => location.reload(), Math.random() * RELOAD_SPREAD_MS);
  }
}

// --- Where it comes from -------------------------------------------------------------------

function showState(state, text) {
  const element = document.querySelector("[data-live-status]");
  element.dataset.state = state;
  element.textContent = text;
  element.hidden = false;
}

/** Follow the page's channel from its cursor. */
async function follow(handlers) {
  const { connect } = await import(`${root}live/live.js`);
  let wasLive = false;
  connect({
    channels: [channel],
    after: startCursor,
    key,
    onEvent({ event, data }) {
      if (Object.hasOwn(handlers, event)) handlers[event](data);
    },
    onPresence: channel === "posts" ? undefined : ({ data }) => showReading(data),
    onReset: startAgain,
    onError({ code }) {
      if (code === 401) startAgain(); // another user has logged in since the page was loaded
      else showState("off", "Not live");
    },
    onStatus({ state }) {
      wasLive ||= state === "open";
      if (state === "open") showState("on", "Live");
      else if (wasLive) showState("off", "Not live at the moment");
    },
  });
}

document.querySelectorAll("time[datetime]").forEach(showTime);
if (channel) {
  // Without the module (another server, an old browser) this is a page that does not move.
  follow(channel === "posts" ? onTimeline : onPost).catch((error) => console.warn(error.message));
}
