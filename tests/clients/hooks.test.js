// The packed package, at a server of its own. Run by test_npm_package.py, which sets LIVE_URL.

import assert from "node:assert/strict";
import process from "node:process";
import { test } from "node:test";

import { createElement as h } from "react";
import { act, create } from "react-test-renderer";
import { createRenderer, nextTick, ref } from "vue";

import { connect } from "flasknado-live";
import * as react from "flasknado-live/react";
import * as vue from "flasknado-live/vue";

const { LIVE_URL, LIVE_PUBLISH_TOKEN } = process.env;
const DEADLINE_MS = 20_000;

// What live.js uses of a browser.
const page = new EventTarget();
globalThis.addEventListener = page.addEventListener.bind(page);
globalThis.document = Object.assign(new EventTarget(), {
  baseURI: LIVE_URL,
  visibilityState: "visible",
  hidden: false,
});
globalThis.navigator ??= {};
globalThis.IS_REACT_ACT_ENVIRONMENT = true;

async function publish(channel, data) {
  const response = await fetch(new URL("/live/publish", LIVE_URL), {
    method: "POST",
    headers: { Authorization: `Bearer ${LIVE_PUBLISH_TOKEN}` },
    body: JSON.stringify({ channel, event: "note", data }),
  });
  assert.equal(response.status, 200);
  return (await response.json()).cursor;
}

async function until(condition) {
  const ends = Date.now() + DEADLINE_MS;
  while (!condition()) {
    assert.ok(Date.now() < ends, `not so in time: ${condition}`);
    await new Promise((done) => setTimeout(done, 10));
  }
}

/** Options whose events are noted, and what is noted. */
function noting(channels, after, note = "") {
  const seen = [];
  const onEvent = ({ channel, data }) => seen.push(`${note}${channel}:${data}`);
  return { seen, options: { channels, after, onEvent, share: false, transports: ["sse"] } };
}

test("connect() finds the server under the page's own origin", async () => {
  const after = await publish("a", 0);
  const { seen, options } = noting(["a"], after);
  const live = connect(options);
  await publish("a", 1);
  await until(() => seen.length === 1);
  assert.deepEqual(seen, ["a:1"]);
  assert.equal(live.status.state, "open");
  live.close();
});

test("React: follows, calls the functions of the last rendering, and ends", async () => {
  const after = await publish("a", 0);
  const first = noting(["a"], after);
  const shown = [];
  let live;
  function Component({ options }) {
    const using = react.useLive(options);
    shown.push(using.status.state);
    live = using.live;
    return null;
  }
  let root;
  await act(() => (root = create(h(Component, { options: first.options }))));
  await act(() => until(() => live?.status.state === "open"));
  await publish("a", 1);
  await act(() => until(() => first.seen.length === 1));

  const second = noting(["a", "b"], after, "then ");
  const had = live;
  await act(() => root.update(h(Component, { options: second.options })));
  await publish("b", 2);
  await publish("a", 3);
  await act(() => until(() => second.seen.length === 2));
  assert.deepEqual(first.seen, ["a:1"]);
  // A channel that is new catches up beside the one that was followed before.
  assert.deepEqual(second.seen.toSorted(), ["then a:3", "then b:2"]);
  assert.equal(live, had);

  const third = noting(["b"], after);
  await act(() => root.update(h(Component, { options: third.options })));
  await publish("a", 4);
  await publish("b", 5);
  await act(() => until(() => third.seen.length === 1));
  assert.deepEqual(third.seen, ["b:5"]);

  await act(() => root.update(h(Component, { options: { ...third.options, key: "other" } })));
  assert.notEqual(live, had);
  assert.equal(had.status.state, "closed");
  assert.ok(shown.includes("connecting") && shown.includes("open"));
  await act(() => root.unmount());
  assert.equal(live.status.state, "closed");
});

test("Vue: follows a ref of options, and ends", async () => {
  const after = await publish("a", 0);
  const { seen, options } = noting(["a"], after);
  const given = ref(options);
  let using;
  const nothing = () => null;
  const { createApp } = createRenderer({
    insert: nothing,
    remove: nothing,
    createComment: () => ({}),
    createText: () => ({}),
    parentNode: nothing,
    nextSibling: nothing,
  });
  const app = createApp({
    setup() {
      using = vue.useLive(given);
      return nothing;
    },
  });
  assert.equal(using, undefined);
  app.mount({});
  await until(() => using.status.value.state === "open");
  await publish("a", 1);
  await until(() => seen.length === 1);

  const { live } = using;
  const had = live.value;
  given.value = { ...options, channels: ["b"] };
  await nextTick();
  await publish("a", 2);
  await publish("b", 3);
  await until(() => seen.length === 2);
  assert.deepEqual(seen, ["a:1", "b:3"]);
  assert.equal(live.value, had);

  given.value = { ...options, key: "other" };
  await nextTick();
  assert.notEqual(live.value, had);
  assert.equal(had.status.state, "closed");
  app.unmount();
  assert.equal(live.value.status.state, "closed");
});
