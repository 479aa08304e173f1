// What the hooks have in common.

import { connect } from "./index.js";

/** What `useLive()` returns of the state until there is a connection. */
export const CONNECTING = Object.freeze({
  state: "connecting",
  transport: null,
  leader: false,
  retryMs: null,
});

/** What makes another connection when it changes; everything else is looked up when it is needed. */
export function identityOf({ url = "", key = "", share = true }) {
  return `${url} ${key} ${share}`;
}

/**
 * Connect with the options that `latest()` returns now, and call the functions that it returns then.
 * Returns `{ live, follow() }`; `follow()` is to be called when the channels have changed.
 */
export function connected(latest, onStatus) {
  const options = { ...latest(), onStatus: (status) => call("onStatus", status) };
  const call = (name, argument) => {
    if (name === "onStatus") onStatus(argument);
    return latest()[name]?.(argument);
  };
  for (const name of ["identify", "onEvent", "onReset", "onError", "onPresence"]) {
    if (options[name]) options[name] = (argument) => call(name, argument);
  }
  const live = connect(options);
  let followed = new Set(options.channels ?? []);
  const follow = () => {
    const { channels = [], after = null, last = 0, seen = [] } = latest();
    const dropped = [...followed].filter((channel) => !channels.includes(channel));
    const added = channels.filter((channel) => !followed.has(channel));
    followed = new Set(channels);
    if (dropped.length) live.unsubscribe(dropped);
    if (added.length) live.subscribe(added, { after, last, seen });
  };
  return { live, follow };
}
