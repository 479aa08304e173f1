// The page's live connection, and what is said of it. live.js shares one between all tabs.

import { isTyping, notice, root } from "./page.js";

const RELOAD_SPREAD_MS = 3_000;

function showState(state, text) {
  for (const element of document.querySelectorAll("[data-live-status]")) {
    element.dataset.state = state;
    element.textContent = text;
    element.hidden = false;
  }
}

/** Load the page again because events were missed, unless that would lose what is being typed. */
function startAgain() {
  if (isTyping()) {
    notice("Something here may be out of date.", { reload: "Load the page again" });
  } else {
    setTimeout(() => location.reload(), Math.random() * RELOAD_SPREAD_MS);
  }
}

/** Somebody has logged in or out, here or in another tab. */
function otherPerson() {
  showState("off", "Not live");
  if (isTyping()) {
    notice("You are logged out, or logged in as somebody else. What you typed is kept.", {
      reload: "Load the page again",
    });
  } else {
    location.reload();
  }
}

/** Follow the page's channel and its person's own, from the page's cursor. */
export async function follow({ channel, ownChannel, after, key, onEvent, onPresence, onOwnEvent }) {
  const channels = [channel, ownChannel].filter((name) => name !== undefined);
  if (channels.length === 0) return;
  try {
    const { connect } = await import(`${root}live/live.js`);
    let wasLive = false;
    connect({
      channels,
      after,
      key,
      onEvent(event) {
        const handlers = event.channel === ownChannel ? onOwnEvent : onEvent;
        if (Object.hasOwn(handlers, event.event)) handlers[event.event](event.data);
      },
      onPresence: (event) => onPresence?.(event.data),
      onReset: startAgain,
      onError({ channel: refused, code }) {
        if (code === 401 || refused === ownChannel) otherPerson();
        else showState("off", "Not live");
      },
      onStatus({ state }) {
        if (state === "open") {
          wasLive = true;
          showState("on", "Live");
        } else if (wasLive) {
          showState("off", "Reconnecting…");
        }
      },
    });
  } catch (error) {
    // Another server, an old browser: the page is an ordinary page.
    console.warn(error.message);
  }
}
