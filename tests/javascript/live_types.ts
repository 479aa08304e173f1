// What live.d.ts lets an application write, and what it does not. Checked by tsc, never run.

import { connect, type Cursor, type Live, type LiveEvent, type Status } from "/live/live.js";

interface Post {
  title: string;
}

const titles: string[] = [];

const live: Live = connect<Post>({
  url: new URL("https://example.org/live/"),
  channels: ["posts"],
  after: "3f2a9c01:0",
  last: 5,
  onEvent: ({ id, channel, event, data }) => titles.push(id, channel, event, data.title),
  onReset: ({ cursor, channels }) => titles.push(cursor, ...channels),
  onError: ({ channel, code, message }) => titles.push(channel, code.toFixed(), message),
  onPresence: ({ channel, data: { count, users = [], join, leave } }) =>
    titles.push(channel, count.toFixed(), ...[users, join ?? [], leave ?? []].flat().map(({ user }) => user)),
  onStatus: ({ state, transport, leader, retryMs }: Status) =>
    titles.push(state, transport ?? "none", String(leader), String(retryMs)),
  seen: new Set([1, "post:7"]),
  identify: ({ event, data }) => (event === "post.created" ? data.title : null),
  share: true,
  key: "p7",
  token: async () => "secret",
  credentials: "include",
  transports: ["websocket", "sse", "poll"],
  timeoutMs: 1,
  heartbeatMs: 1,
  silenceMs: 1,
  retryMs: 1,
  maxRetryMs: 1,
  upgradeMs: 1,
  overtakeMs: 1,
});

const cursor: Cursor | null = live.cursor;
live.subscribe("post:7");
live.subscribe(["post:7"], { after: cursor, seen: [1, 2] });
live.subscribe("post:8", { last: 1 });
live.unsubscribe(["post:7"]);
const stopped: Promise<boolean> = live.stop("a run");
export const headers: HeadersInit = { "X-Live-Connection": live.connection };
const reply: Promise<string> = live.send("post:7", { typing: true });
live.close();

connect();
connect({ onEvent: ({ data }) => titles.push(data.title) }); // of any shape, if none is named
export const read = (event: LiveEvent<Post>): string => event.data.title;
export const state = (): boolean => live.status.state === "open" && reply !== undefined && stopped !== undefined;

// @ts-expect-error: an option that does not exist
connect({ chanels: ["posts"] });
// @ts-expect-error: a transport that does not exist
connect({ transports: ["carrier-pigeon"] });
// @ts-expect-error: a cursor is a text
connect({ after: 42 });
// @ts-expect-error: a post has no name
connect<Post>({ onEvent: ({ data }) => titles.push(data.name) });
// @ts-expect-error: there may be no cursor yet
live.cursor.length;
// @ts-expect-error: the cursor moves by itself
live.cursor = "3f2a9c01:1";
// @ts-expect-error: a state that does not exist
live.status.state === "lost";
