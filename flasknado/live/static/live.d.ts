// Types of live.js, which any page may import from the server: connect() and what it returns.
//
// TypeScript finds them under the module's address when tsconfig.json says where this file is:
//
//   "paths": { "/live/live.js": ["./live.d.ts"] }

/** Follow channels. Each event is given to `onEvent` once and in order. */
export function connect<Data = any>(options?: Options<Data>): Live;

export type Transport = "websocket" | "sse" | "poll";

/** A place in the log, `epoch:offset`. */
export type Cursor = string;

export interface Options<Data = any> {
  /** Where the live endpoints are; by default where this module came from. */
  url?: string | URL;
  /** The channels to follow. */
  channels?: readonly string[];
  /** The cursor to begin after; by default the channels begin from now on. */
  after?: Cursor | null;
  /** Without a cursor, with how many of its newest events each channel begins; by default none. */
  last?: number;
  /** What the page shows already, such as the ids of its rows; see `identify`. */
  seen?: Iterable<string | number>;
  /**
   * What an event creates, named as in `seen`, else null. `onEvent` is not called for what the page
   * has read after its cursor.
   */
  identify?: ((event: LiveEvent<Data>) => string | number | null | undefined) | null;
  /** Called for each event. */
  onEvent?: (event: LiveEvent<Data>) => void;
  /** Called when events were missed: load the page's data again. */
  onReset?: (reset: { cursor: Cursor; channels: string[] }) => void;
  /** Called when the server refused a channel, which is let go. */
  onError?: (error: { channel: string; code: number; message: string }) => void;
  /** Called with who reads a channel, if the application keeps count. */
  onPresence?: (event: LiveEvent<Presence>) => void;
  /** Called at each change of the connection. */
  onStatus?: (status: Status) => void;
  /** Whether the pages that one user has loaded share one connection; true by default. */
  share?: boolean;
  /** Whose page this is, as `live.page_key()` says it; without one the server is asked. */
  key?: string | null;
  /** An access token, or a function that returns or promises one; shared only with a `key`. */
  token?: string | (() => string | null | Promise<string | null>) | null;
  /** As of fetch; "same-origin" by default, "include" sends cookies to another origin. */
  credentials?: RequestCredentials;
  /** Which transports to try, best first. */
  transports?: readonly Transport[];
  /** How long a transport may take until it delivers, by default 10,000 ms. */
  timeoutMs?: number;
  /** How often the server writes at least, by default its `LIVE_HEARTBEAT_S`. */
  heartbeatMs?: number;
  /** After how long without a byte a connection is taken for dead, by default 1.8 heartbeats. */
  silenceMs?: number | null;
  /** The first wait before connecting again, by default 1,000 ms; doubled each time. */
  retryMs?: number;
  /** The longest wait before connecting again, by default 60,000 ms. */
  maxRetryMs?: number;
  /** How long a lesser transport is used before a better one is tried, by default 300,000 ms. */
  upgradeMs?: number;
  /** After how long a page that holds the connection and hangs is overtaken, by default 5,000 ms. */
  overtakeMs?: number;
}

export interface LiveEvent<Data = any> {
  /** The event's cursor. */
  id: Cursor;
  channel: string;
  /** The event's name. */
  event: string;
  data: Data;
  /** What stands for the page that caused it, if it was published `to_others`. */
  by?: string;
}

/** Who reads a channel. The users are told on the channels of `LIVE_PRESENCE_USERS` only. */
export interface Presence {
  count: number;
  /** Everybody, when this page has come; left out if there are too many for one event. */
  users?: Person[];
  /** Who has come since, or has other `info` than before. */
  join?: Person[];
  /** Who has left since. */
  leave?: Person[];
}

export interface Person {
  user: string;
  info: Record<string, any> | null;
}

export interface Status {
  state: "connecting" | "open" | "waiting" | "closed";
  /** What carries the events while the state is `open`. */
  transport: Transport | null;
  /** Whether this page holds the connection for the others. */
  leader: boolean;
  /** How long until the next try while the state is `waiting`. */
  retryMs: number | null;
}

export interface SubscribeOptions {
  /** The cursor to begin after; by default the channels begin from now on. */
  after?: Cursor | null;
  /** Without a cursor, with how many of its newest events each channel begins; by default none. */
  last?: number;
  /** What the page shows already of these channels; see `identify` of `connect()`. */
  seen?: Iterable<string | number>;
}

/** What `connect()` returns. */
export interface Live {
  /** Follow more channels, or one that is followed from an earlier cursor. */
  subscribe(channels: string | readonly string[], options?: SubscribeOptions): void;
  /** Follow these channels no more. */
  unsubscribe(channels: string | readonly string[]): void;
  /**
   * Give the application a message, over the WebSocket if there is one, else in a request; promises
   * its reply. Rejects with an error whose `code` is the server's status, if it answered, and 429
   * if 100 messages wait for their answers. A message is never repeated.
   */
  send(channel: string, data: unknown): Promise<any>;
  /** Stop a run (`live.run`), as `POST stop` does; promises whether it was running. */
  stop(run: string): Promise<boolean>;
  /** End it; nothing is called any more but `onStatus`, with the state `closed`. */
  close(): void;
  /**
   * This page's random id: a request with it in the header `X-Live-Connection` causes no event here
   * that the application publishes `to_others`.
   */
  readonly connection: string;
  /** A cursor that misses nothing, to resume from; null if there is none yet. */
  readonly cursor: Cursor | null;
  /** As `onStatus` has it. */
  readonly status: Status;
}
