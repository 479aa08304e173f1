// The browser's side of flasknado.live: one ES module, no dependencies, no eval.
//
//   import { connect } from "/live/live.js";
//
//   const live = connect({
//     channels: ["posts"],
//     after: cursor,                        // what live.cursor() said before the page's data was read
//     key,                                  // what live.page_key() said: whose page this is
//     onEvent({ id, channel, event, data }) {},
//     onReset({ cursor, channels }) {},     // events were missed: load the page's data again
//   });
//   live.subscribe(["post:7"], { after });  live.unsubscribe(["post:7"]);  live.close();
//
// Each event of a channel is given to onEvent once and in order, across lost connections,
// restarts of the server and changes of transport. If events are lost for good, onReset is called.
//
// Options of connect(), all optional:
//   url         where the live endpoints are; by default where this module came from
//   channels    names to follow                     after   cursor to begin after; else from now on
//   last        without a cursor, with how many of its newest events each channel begins (0)
//   onEvent     called for each event               onReset called when events were missed
//   seen        what the page shows already, such as the ids of its rows (none); and
//   identify    ({ id, channel, event, data }) => what an event creates, named as in seen, else
//               null: onEvent is not called for what was committed between the cursor and the rows
//   onError     ({ channel, code, message }): the server refused a channel, which is let go
//   onPresence  ({ channel, event, data }): who reads a channel, if the application keeps count
//   onStatus    ({ state, transport, leader, retryMs }); state is connecting, open, waiting or closed
//   share       false: this page has a connection of its own (default true)
//   key         whose page this is, as live.page_key() says it; without one the server is asked
//   token       access token, or a function that returns or promises one; shared only with a key
//   credentials of fetch, "same-origin" by default: "include" sends cookies to another origin
//   transports  which to try, best first: ["websocket", "sse", "poll"]
//   timeoutMs   how long a transport may take until it delivers (10,000); then the next is tried
//   heartbeatMs how often the server writes at least (its LIVE_HEARTBEAT_S, which it puts in here)
//   silenceMs   after how long without a byte a connection is taken for dead (1.8 heartbeats)
//   retryMs     first wait before connecting again (1,000); doubles up to maxRetryMs (60,000)
//   upgradeMs   how long a lesser transport is used before a better one is tried (300,000)
//   overtakeMs  after how long a page that holds the connection and does not answer the others,
//               because it is frozen or in alert(), is overtaken by one of them (5,000); at least
//               2,500 if it answers, but its timers stand still
//
// The object that connect() returns:
//   subscribe(channels, { after, last, seen })   unsubscribe(channels)   close()
//   send(channel, data)   give the application a message; promises its reply
//   stop(run)   stop a run (live.run); promises whether it was running
//   connection  this page's id: a request that has it in the header X-Live-Connection causes no
//               event here that the application publishes `to_others`
//   cursor   a cursor that misses nothing, to resume from       status   as onStatus has it
//
// A message goes over the WebSocket if there is one, else in a request of its own, one after another.
// It is not repeated: if it may not have arrived, the promise is rejected. So it is, with the server's
// status as `code`, if the application refuses it, and if 100 wait for their answers.
//
// Once onReset has been called for the cursor that the page began with, the page is not told of that
// cursor again if it is loaded anew within a minute: else one that reloads in onReset, and gets the
// same cursor from a cache, would do so for ever. It begins from now on, and the console says so.
//
// All pages of an origin that one user has loaded share one connection (Web Locks elect the page
// that holds it, the others hear it by BroadcastChannel): a browser opens only six to a server over
// HTTP/1.1. The server says of each connection whose it is. A page that was loaded by somebody else
// does not take part: onError is called for each of its channels, with code 401. Every message
// of the leader says from which place of its channel on it is complete. A page takes it only if
// that joins up with what the page has, so neither a new leader nor a second connection nor a
// repeated stretch of the log can make a gap or a duplicate. The options about the connection are
// those of the page that holds it. Without those interfaces (a page not over HTTPS, an old browser)
// each page connects alone.

/** @import { Live, Options, Status } from "./live.js" */

/** @type {Required<Omit<Options, "url" | `on${string}`>>} */
const DEFAULTS = {
  channels: [],
  after: null,
  last: 0,
  seen: [],
  identify: null,
  share: true,
  key: null,
  token: null,
  credentials: "same-origin",
  transports: ["websocket", "sse", "poll"],
  timeoutMs: 10_000,
  heartbeatMs: 15_000,
  silenceMs: null,
  retryMs: 1_000,
  maxRetryMs: 60_000,
  upgradeMs: 300_000,
  overtakeMs: 5_000,
};
const MAX_UPGRADE_MS = 3_600_000;
const POLL_TIMEOUT_S = 25;
const HEARTBEATS_MISSED = 1.8; // noticed before the second that is missed
const SHORT_LIFE_MS = 5_000;
const SHORT_LIVES = 3;
const GATHER_MS = 20;
const ASK_AGAIN_MS = 1_000;
const SEEN_MS = 60_000; // an id may be used again
const MAX_UNSENT = 100;
const MAX_UNANSWERED = 100; // about as many as a server takes at once
const SEND_MS = 30_000; // the server gives the application 10 seconds, and others may be first
const RESET_AGAIN_MS = 60_000;
const MAX_RESETS = 16;
const DIGEST_CHARS = 16;
const CONNECTION_FIELD = "X-Live-Connection";
const TICKET_MS = 55_000;
const TICKET_MARK = "~";
const ANONYMOUS = "anonymous"; // the key of nobody's pages
const WHO_FIELD = "Live-Who";
// What pages say to each other: those that were loaded with another version of this module, which says
// it otherwise, have a connection of their own.
const PROTOCOL = 2;
const PINGS = 3; // how many a page that holds the connection leaves unanswered
// What proves that the page that holds the connection is alive. It may still answer when it is
// frozen, and hear nothing from the server: so its timers have to run, too.
const SIGNS_OF_LIFE = ["leader", "event", "presence", "reply", "reset"];
const SLOWED_MS = 2_500; // timers of a hidden page tick once a second,
const SLOWED_FURTHER_MS = 150_000; // and later once a minute
const ANSWER_MS = 3_000; // how long a connection that is asked whether it lives may take
const FRESH_MS = 1_000; // in which all pages have said that the network has changed
const MAX_ASKING_MS = 10_000;

const CLOSES_OF_A_LOST_CONNECTION = [1005, 1006, 1009];
// Logged out, revoked or expired: who may still read, or has a new token, gets in again at once.
const CLOSE_ACCESS_ENDED = 4401;
const ACCESS_ENDED_MS = 1_000;

/**
 * Follow channels; see the head of this file.
 * @type {typeof import("./live.js").connect}
 */
export function connect(options = {}) {
  return new Client(options);
}

// --- Places in the log ---------------------------------------------------------------------

/** Split a cursor, `epoch:offset`. */
function place(cursor) {
  const colon = cursor.lastIndexOf(":");
  return { epoch: cursor.slice(0, colon), offset: Number(cursor.slice(colon + 1)) };
}

/** Whether one cursor is before another of the same log. */
function isBefore(one, other) {
  const [a, b] = [place(one), place(other)];
  return a.epoch === b.epoch && a.offset < b.offset;
}

/** The cursor to begin after so that neither misses anything; null is "from now on". */
function earlier(one, other) {
  if (one === null || other === null) return one ?? other;
  return isBefore(other, one) ? other : one;
}

/** Whether what is followed by this name, a channel or a pattern such as `post:*`, has a channel. */
function covers(name, channel) {
  return name === channel || (name.endsWith("*") && channel.startsWith(name.slice(0, -1)));
}

function longest(names) {
  return names.reduce((one, other) => (one?.length > other.length ? one : other), null);
}

/** How far one page, or one connection, has each of its channels: channel -> cursor, or null. */
class Places extends Map {
  /**
   * The name in here that a channel comes under: its own, else the longest of the patterns
   * (`post:*`) that match it; null if there is none.
   */
  nameOf(channel) {
    return this.has(channel) ? channel : longest(this.namesOf(channel));
  }

  /** All names in here that a channel comes under. */
  namesOf(channel) {
    return [...this.keys()].filter((name) => covers(name, channel));
  }

  /**
   * Take an event at `to`, the first after `from`; whether it was new here, and joined up.
   * From null means that the channel begins, for those who have no place in it yet.
   */
  advance(channel, from, to) {
    const at = this.get(channel);
    if (at === undefined) return false;
    const joins = at === null || from === null ? at === from : !isBefore(at, from);
    const news = joins && (at === null || isBefore(at, to));
    if (news) this.set(channel, to);
    return news;
  }

  /** Take the word that each channel is complete from a place up to the head. */
  meet(from, head) {
    for (const [channel, since] of from) {
      if (this.get(channel) === null) this.set(channel, head);
      else this.advance(channel, since, head);
    }
  }

  /** Whether there is a hole between this channel's place and `from`. */
  lags(channel, from) {
    const at = this.get(channel) ?? null;
    return at !== null && from !== null && isBefore(at, from);
  }

  /**
   * Move what the log cannot be resumed from to its head; returns the channels that were lost.
   * `asked` is the cursor that the server refused; null if it was asked for none.
   */
  reset(head, asked) {
    const now = place(head);
    const refused = asked === null ? null : place(asked);
    const pruned = refused?.epoch === now.epoch && refused.offset <= now.offset;
    const lost = [];
    for (const [channel, cursor] of this) {
      if (cursor === null) {
        this.set(channel, head);
        continue;
      }
      const at = place(cursor);
      const stale = refused === null || at.epoch !== now.epoch || at.offset > now.offset;
      if (stale || (pruned && at.offset <= refused.offset)) lost.push(channel);
    }
    for (const channel of lost) this.set(channel, head);
    return lost;
  }

  /** The cursor from which nothing in here would be missed; null if there is none. */
  get least() {
    return [...this.values()].reduce(earlier, null);
  }
}

// --- What a page has -----------------------------------------------------------------------

/**
 * One page's subscription: it takes what the leader says and may be the leader itself.
 * @implements {Live}
 */
class Client {
  #options;
  #places = new Places();
  #page = thisPage();
  #digest = null; // that of this page's id, by which it knows what it has caused itself
  #histories = new Map(); // channels that begin with their newest events -> how many
  #reading = false;
  #given = new Map(); // channel -> the cursor that the page gave for it
  #unposted = 0;
  #posting = Promise.resolve();
  #seen = new Set();
  #forgetting = null;
  /** @type {Status} */
  #status = { state: "connecting", transport: null, leader: false, retryMs: null };
  #id = "";
  #who = null; // whose page this is; null if that is not known
  #name = "";
  #radio = null;
  #bid = null; // for the lock of the page that holds the connection
  #checking = null;
  #checkedAt = 0;
  #heardLeader = false;
  #heardServerAt = 0;
  #unanswered = 0;
  #barred = false;
  #leader = null;
  #presence = null;
  #asked = 0;
  #nudging = null;
  #sent = 0;
  #replies = new Map(); // ref -> { resolve, reject }
  #listening = new AbortController();

  constructor(options) {
    this.#options = { ...DEFAULTS, ...defined(options) };
    const url = new URL(options.url ?? ".", options.url ? document.baseURI : import.meta.url);
    if (!url.pathname.endsWith("/")) url.pathname += "/";
    this.#options.url = url;
    const { channels, after, last, transports } = this.#options;
    const unknown = transports.find((kind) => !(kind in CONNECTIONS));
    if (unknown !== undefined || transports.length === 0) {
      throw new TypeError(`transports are ${Object.keys(CONNECTIONS)}, not ${unknown}`);
    }
    this.#begin([channels].flat(), after, last);
    this.#remember(this.#options.seen);

    const { signal } = this.#listening;
    // A page in the back-forward cache holds nothing, and catches up when it comes back.
    addEventListener("pagehide", () => this.#leave(), { signal });
    addEventListener("pageshow", ({ persisted }) => persisted && this.#enter(), { signal });
    document.addEventListener("freeze", () => this.#leave(), { signal });
    document.addEventListener("resume", () => this.#enter(), { signal });
    addEventListener("online", () => this.#nudge("online"), { signal });
    addEventListener("offline", () => this.#leader?.offline(), { signal });
    const onVisible = () => document.visibilityState === "visible" && this.#nudge("visible");
    document.addEventListener("visibilitychange", onVisible, { signal });
    this.#enter();
  }

  get status() {
    return { ...this.#status };
  }

  get cursor() {
    return this.#places.least;
  }

  get connection() {
    return this.#page.id;
  }

  subscribe(channels, { after = null, last = 0, seen = [] } = {}) {
    this.#remember(seen);
    this.#begin([channels].flat(), after, last);
    if (this.#barred) {
      this.#enter();
    } else {
      this.#hello();
      this.#readHistories();
    }
  }

  unsubscribe(channels) {
    for (const channel of [channels].flat()) {
      for (const known of [this.#places, this.#histories, this.#given]) known.delete(channel);
    }
    this.#hello();
  }

  async send(channel, data) {
    if (this.#places.nameOf(channel) === null && !this.#histories.has(channel)) {
      const message = `subscribe to the channel ${channel} before you send to it`;
      throw failed({ code: 403, message });
    }
    // Whose page this is may not be known yet.
    if (this.#leader === null && this.#radio === null) {
      throw failed({ message: "there is no connection" });
    }
    if (this.#replies.size + this.#unposted >= MAX_UNANSWERED) {
      throw failed({ code: 429, message: "too many messages wait" });
    }
    const { state, transport } = this.#status;
    // What waits to be sent in requests goes first.
    if (state !== "open" || transport !== "websocket" || this.#unposted > 0) {
      return this.#post(channel, data);
    }
    return new Promise((resolve, reject) => {
      const ref = `${this.#id} ${++this.#sent}`;
      this.#replies.set(ref, { resolve, reject });
      const message = { channel, data, ref, connection: this.#page.id };
      this.#tell({ type: "send", at: Date.now(), message });
    });
  }

  async stop(run) {
    const { stopped } = await this.#request("stop", { run });
    return stopped;
  }

  close() {
    clearTimeout(this.#forgetting);
    this.#listening.abort();
    this.#leave();
    this.#showStatus({ state: "closed", transport: null, retryMs: null });
  }

  // Coming and going.

  async #enter() {
    if (this.#presence || this.#listening.signal.aborted) return;
    const presence = (this.#presence = new AbortController());
    this.#barred = false;
    this.#id = Array.from(crypto.getRandomValues(new Uint32Array(3)), String).join("-");
    this.#digest ??= await this.#page.digest;
    if (presence.signal.aborted) return;
    const { share, token } = this.#options;
    const able = navigator.locks !== undefined && typeof BroadcastChannel === "function";
    const shares = share && able;
    this.#who = this.#options.key || null;
    if (shares && this.#who === null && token === null) {
      this.#who = await askWho(this.#options, presence.signal);
      if (presence.signal.aborted) return;
    }
    if (shares && this.#who !== null) this.#join(presence.signal);
    else this.#lead();
    this.#readHistories();
  }

  /** Take channels in: after a cursor, or with their newest events, or from now on. */
  #begin(channels, after, last) {
    if (after !== null && typeof after !== "string") {
      throw new TypeError(`after is a cursor, such as 3f2a9c01:42, not ${after}`);
    }
    if (!Number.isInteger(last) || last < 0) {
      throw new TypeError(`last is a number of events, not ${last}`);
    }
    let from = after;
    if (after !== null && resetsOf(this.#options.url).before.has(after)) {
      console.warn(
        `live.js: this tab was reset just now, and its page has the cursor ${after} again, as if ` +
          "it came from a cache. It begins from now on, and what it shows may be old.",
      );
      rememberResets(this.#options.url, [after]);
      from = null;
    }
    for (const channel of channels) {
      if (from !== null) {
        this.#places.set(channel, from);
        this.#given.set(channel, from);
        this.#histories.delete(channel);
      } else if (!this.#places.has(channel)) {
        if (last > 0) this.#histories.set(channel, last);
        else this.#places.set(channel, null);
      }
    }
  }

  #join(signal) {
    this.#name = `flasknado-live ${PROTOCOL} ${this.#options.url.href} ${this.#who}`;
    this.#radio = new BroadcastChannel(this.#name);
    this.#radio.onmessage = ({ data }) => {
      this.#hear(data);
      this.#leader?.hear(data);
    };
    // The first lock says that this page lives, the second that it leads. Who watches the first
    // learns of the end of the page however it ends, so it is held before anything is said.
    hold(`${this.#name} ${this.#id}`, signal, () => {
      this.#hello();
      this.#compete();
      this.#checkedAt = Date.now();
      this.#checking = setInterval(() => this.#checkLeader(), this.#checkMs);
    });
  }

  /** Lead once nobody else does; or at once, taking the lock from who has it. */
  #compete({ steal = false } = {}) {
    this.#bid?.abort();
    const bid = (this.#bid = new AbortController());
    const onStolen = () => this.#stepDown();
    hold(this.#name, bid.signal, () => this.#lead(), { steal, onStolen });
  }

  /** Another page has overtaken this one, which was frozen. */
  #stepDown() {
    this.#leader?.stop();
    this.#leader = null;
    this.#compete();
    this.#hello();
  }

  get #checkMs() {
    return this.#options.overtakeMs / (PINGS + 1);
  }

  /**
   * For how long the timers of the page that leads may not have run. A page that is looked at does
   * not wait for one whose timers the browser has slowed down.
   */
  get #maxIdleMs() {
    return Math.max(this.#options.overtakeMs, document.hidden ? SLOWED_FURTHER_MS : SLOWED_MS);
  }

  /** Overtake a page that leads but does not answer; its connection is of no use to anybody. */
  #checkLeader() {
    const now = Date.now();
    const late = now - this.#checkedAt > 3 * this.#checkMs;
    this.#checkedAt = now;
    if (this.#leader) return;
    if (this.#heardLeader) this.#unanswered = 0;
    // After a sleep this page has heard nothing, and asks. If an answer is missing at the next late
    // tick, too, this is a page whose timers the browser has slowed down to one tick a minute.
    else if (late) this.#unanswered = this.#unanswered > 0 ? PINGS + 1 : 1;
    else this.#unanswered += 1;
    this.#heardLeader = false;
    if (this.#unanswered > PINGS) {
      this.#unanswered = 0;
      this.#compete({ steal: true });
      return;
    }
    if (this.#unanswered > 0) this.#radio.postMessage({ type: "ping" });
    // The leader may be a hidden page, which notices late that the server is silent.
    const silent = now - this.#heardServerAt > silenceMsOf(this.#options);
    if (this.#status.state === "connecting" || silent) this.#nudge("due");
  }

  #leave() {
    if (!this.#presence) return;
    this.#giveUpReplies();
    clearTimeout(this.#nudging);
    clearInterval(this.#checking);
    this.#tell({ type: "bye", from: this.#id });
    this.#leader?.stop();
    this.#leader = null;
    this.#radio?.close();
    this.#radio = null;
    this.#bid?.abort();
    this.#bid = null;
    this.#presence.abort();
    this.#presence = null;
  }

  #lead() {
    const announce = (message) => {
      this.#radio?.postMessage(message);
      this.#hear(message);
    };
    const watch = this.#radio !== null && ((id, gone) => this.#watch(id, gone));
    // A connection that is shared gets what any of its pages has caused, for the others.
    const connection = this.#radio === null ? this.#page.id : null;
    const options = { ...this.#options, connection };
    this.#leader = new Leader(options, this.#who, announce, watch || (() => {}));
    announce({ type: "leader" });
  }

  /** Have `gone()` called when the page `id` has ended. */
  #watch(id, gone) {
    const { signal } = this.#presence;
    if (id !== this.#id) {
      navigator.locks.request(`${this.#name} ${id}`, { signal }, gone).catch(() => {});
    }
  }

  // Talking with the leader.

  #tell(message) {
    if (this.#leader) this.#leader.hear(message);
    else this.#radio?.postMessage(message);
  }

  #hello() {
    this.#asked = Date.now();
    const presence = Boolean(this.#options.onPresence);
    this.#tell({ type: "hello", from: this.#id, places: [...this.#places], presence });
  }

  /**
   * Have the leader do what is due; and at once, where there is reason to. `why` is `online` if the
   * network has changed, `visible` if this page is looked at again, else `due`.
   */
  #nudge(why) {
    this.#tell({ type: "nudge", now: why !== "due", why });
  }

  #hear(message) {
    if (SIGNS_OF_LIFE.includes(message.type)) this.#heardLeader = true;
    if (SIGNS_OF_LIFE.includes(message.type) || message.type === "head") {
      this.#heardServerAt = Date.now();
    }
    switch (message.type) {
      case "ping":
        if (this.#leader) {
          this.#radio.postMessage({ type: "pong", idleMs: Date.now() - this.#checkedAt });
        }
        return undefined;
      case "pong":
        if (message.idleMs <= this.#maxIdleMs) this.#heardLeader = true;
        return undefined;
      case "leader":
        return this.#hello();
      case "stranger":
        return this.#onStranger();
      case "event":
        return this.#take(message);
      case "presence":
        return this.#places.has(message.event.channel) && this.#call("onPresence", message.event);
      case "reply":
        return this.#settle(message.ref, message.error, message.data);
      case "head":
        this.#places.meet(message.from, message.to);
        return this.#forgetSoon();
      case "reset": {
        const before = new Map(this.#places);
        const channels = this.#places.reset(message.head, message.asked);
        const unmoved = channels.filter((name) => before.get(name) === this.#given.get(name));
        rememberResets(this.#options.url, unmoved.map((name) => before.get(name)));
        if (channels.length) this.#call("onReset", { cursor: message.head, channels });
        return undefined;
      }
      case "refused":
        if (this.#places.delete(message.channel)) {
          const { channel, code, message: text } = message;
          this.#call("onError", { channel, code, message: text });
        }
        return undefined;
      case "status":
        return this.#showStatus(message.status);
      default:
        return undefined;
    }
  }

  /** The connection is of somebody else than has loaded this page: another has logged in. */
  #onStranger() {
    const wasNobody = !this.#options.key && this.#who === ANONYMOUS;
    this.#leave();
    if (wasNobody) {
      // It belongs to nobody yet: go on with fresh credentials.
      this.#enter();
      return;
    }
    const channels = [...this.#places.keys(), ...this.#histories.keys()];
    this.#places.clear();
    this.#histories.clear();
    this.#barred = true;
    this.#showStatus({ state: "closed", transport: null, retryMs: null });
    const message = "this page was loaded by another user than is logged in now: load it again";
    for (const channel of channels) this.#call("onError", { channel, code: 401, message });
  }

  /** Take an event; `from` says for each name that it comes under from where on that is complete. */
  #take({ from, event }) {
    const name = this.#places.nameOf(event.channel);
    let lags = false;
    for (const [each, since] of from) {
      const news = this.#places.advance(each, since, event.id);
      // A channel that is also followed by its own name is where that is.
      if (news && each === name) this.#give(event);
      lags ||= !news && this.#places.lags(each, since);
    }
    if (lags && Date.now() - this.#asked > ASK_AGAIN_MS) {
      this.#hello(); // the leader does not know how far this page is
    }
  }

  #give(event) {
    const own = event.by !== undefined && event.by === this.#digest;
    if (!own && !this.#hasSeen(event)) this.#call("onEvent", event);
  }

  // What channels begin with.

  /**
   * Read the newest events of channels that begin with them, and follow these from there on. In
   * requests of this page's own: a connection that it shares is further than that.
   */
  async #readHistories() {
    if (this.#reading || (this.#leader === null && this.#radio === null)) return;
    const { signal } = this.#presence;
    let waitMs = this.#options.retryMs;
    let alone = false;
    this.#reading = true;
    while (this.#histories.size > 0 && !signal.aborted) {
      const [[first, last]] = this.#histories;
      const alike = [...this.#histories].filter((each) => each[1] === last);
      const channels = alone ? [first] : alike.map(([channel]) => channel);
      const problem = await this.#readHistory(channels, last, signal).catch(() => ({}));
      if (signal.aborted || problem === null) continue;
      if (isFinal(problem.code)) {
        // Asked for each alone, so that one that is refused does not hold up the others.
        alone = true;
        if (channels.length === 1 && this.#histories.delete(first)) {
          const { code, message } = problem;
          this.#call("onError", { channel: first, code, message });
        }
        continue;
      }
      const leastMs = Math.max(problem.retryMs ?? 0, waitMs / 2);
      await new Promise((done) => setTimeout(done, leastMs + (Math.random() * waitMs) / 2));
      waitMs = Math.min(2 * waitMs, MAX_ASKING_MS);
    }
    this.#reading = false;
    // This page may have left, and be back, while it read.
    if (signal.aborted) this.#readHistories();
  }

  /**
   * Read the newest events of some channels; returns null, or why that failed.
   * @returns {Promise<any>}
   */
  async #readHistory(channels, last, signal) {
    const more = { last, timeout_s: 0 };
    const options = { ...this.#options, connection: this.#page.id };
    const response = await request(options, "poll", channels, null, more, signal);
    if (!response.ok) return failure(response);
    if (this.#who !== null && response.headers.get(WHO_FIELD) !== this.#who) {
      if (response.headers.get(WHO_FIELD)) this.#onStranger();
      return {};
    }
    const { events, cursor } = await response.json();
    if (signal.aborted || cursor === null) return {};
    const begun = new Places();
    for (const channel of channels) {
      if (!this.#histories.delete(channel)) continue;
      begun.set(channel, cursor);
      this.#places.set(channel, cursor);
    }
    for (const event of events) {
      const name = begun.nameOf(event.channel);
      if (name !== null && this.#places.has(name)) this.#give(event);
    }
    this.#hello();
    return null;
  }

  // Requests of this page's own.

  /** Send a message in a request, after those that wait. */
  async #post(channel, data) {
    this.#unposted += 1;
    const message = { channel, data, ...(this.#who !== null && { who: this.#who }) };
    const sent = this.#posting.then(() => this.#request("send", message));
    this.#posting = sent.catch(() => {});
    try {
      return (await sent).data;
    } finally {
      this.#unposted -= 1;
    }
  }

  /** Post a body to an endpoint, once; returns its answer. */
  async #request(path, body) {
    const presence = this.#presence;
    if (presence === null) throw failed({ message: "the connection is closed" });
    const limit = new AbortController();
    const end = () => limit.abort();
    presence.signal.addEventListener("abort", end);
    const timer = setTimeout(end, SEND_MS);
    try {
      const { url, credentials } = this.#options;
      const token = await tokenOf(this.#options);
      const headers = {
        "Content-Type": "application/json",
        [CONNECTION_FIELD]: this.#page.id,
        ...(token && { Authorization: `Bearer ${token}` }),
      };
      const response = await fetch(new URL(path, url), {
        method: "POST",
        body: JSON.stringify(body),
        headers,
        credentials,
        signal: limit.signal,
      });
      if (response.ok) return await response.json();
      const { code = response.status, message = "the server did not take it" } =
        await failure(response);
      throw failed({ code, message });
    } catch (error) {
      if (error.code >= 400) throw error;
      throw failed({ message: "the server did not answer: it may not have arrived" });
    } finally {
      clearTimeout(timer);
      presence.signal.removeEventListener("abort", end);
    }
  }

  // What the page has read after its cursor.

  #remember(seen) {
    clearTimeout(this.#forgetting);
    this.#forgetting = null;
    for (const name of seen) this.#seen.add(String(name));
  }

  /** Forget once everything that the page can have read must have come as an event, too. */
  #forgetSoon() {
    if (this.#forgetting !== null || this.#seen.size === 0) return;
    this.#forgetting = setTimeout(() => this.#seen.clear(), SEEN_MS);
  }

  /** Whether the page shows what an event creates; said once of each. */
  #hasSeen(event) {
    if (this.#seen.size === 0) return false;
    const name = this.#call("identify", event) ?? null;
    return name !== null && this.#seen.delete(String(name));
  }

  #settle(ref, error, data) {
    const reply = this.#replies.get(ref);
    this.#replies.delete(ref);
    if (error) reply?.reject(failed(error));
    else reply?.resolve(data);
  }

  #giveUpReplies() {
    const error = { message: "the connection was lost: the message may not have arrived" };
    for (const ref of [...this.#replies.keys()]) this.#settle(ref, error);
  }

  #showStatus(status) {
    if (status.state !== "open") this.#giveUpReplies();
    const shown = { ...this.#status, ...status, leader: this.#leader !== null };
    const changed = Object.keys(shown).some((name) => shown[name] !== this.#status[name]);
    this.#status = shown;
    clearTimeout(this.#nudging);
    if (shown.state === "waiting" && !this.#leader && !document.hidden) {
      // The leader may be a hidden page, whose timers a browser slows down.
      this.#nudging = setTimeout(() => this.#nudge("due"), shown.retryMs + 100);
    }
    if (changed) this.#call("onStatus", { ...shown });
  }

  #call(name, argument) {
    try {
      return this.#options[name]?.(argument);
    } catch (error) {
      // The page's own mistake: told to the console, and the next event still comes.
      if (typeof reportError === "function") reportError(error);
      else console.error(error);
      return undefined;
    }
  }
}

/**
 * What is defined of some options, such as those of a component that were left out.
 * @returns {any}
 */
function defined(options) {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
}

/**
 * The error that a page is given.
 * @param {{ code?: number, message: string }} error
 */
function failed({ code, message }) {
  return Object.assign(new Error(message), { code });
}

// --- What is the page's, and not one connection's --------------------------------------------

let ownPage = null;

/** This page's random id, and what stands for it in events; null where that cannot be had. */
function thisPage() {
  if (ownPage === null) {
    const numbers = crypto.getRandomValues(new Uint32Array(4));
    const id = Array.from(numbers, (number) => number.toString(16).padStart(8, "0")).join("");
    // Where this is missing, a page has a connection of its own, and the server knows its id.
    ownPage = { id, digest: crypto.subtle ? digestOf(id) : Promise.resolve(null) };
  }
  return ownPage;
}

/** What the server notes for a page that has caused an event: base64url of a SHA-256, shortened. */
async function digestOf(id) {
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(id));
  const text = btoa(String.fromCharCode(...new Uint8Array(digest)));
  return text.slice(0, DIGEST_CHARS).replaceAll("+", "-").replaceAll("/", "_");
}

const resets = new Map(); // url -> what resetsOf() returns

/**
 * The cursors that this tab was reset from: `before` this page was loaded; and all of them, as
 * cursor -> until when they are `kept` in mind.
 */
function resetsOf({ href }) {
  if (!resets.has(href)) {
    let kept = [];
    try {
      const text = sessionStorage.getItem(`flasknado-live resets ${href}`);
      kept = JSON.parse(text).filter(([, until]) => Date.now() < until);
    } catch {
      // Nothing there, or the page may keep nothing.
    }
    resets.set(href, { before: new Set(kept.map(([cursor]) => cursor)), kept: new Map(kept) });
  }
  return resets.get(href);
}

/** Note for the page that is loaded next in this tab what this one was reset from. */
function rememberResets(url, cursors) {
  if (cursors.length === 0) return;
  const { kept } = resetsOf(url);
  for (const cursor of cursors) {
    kept.delete(cursor);
    kept.set(cursor, Date.now() + RESET_AGAIN_MS);
  }
  const text = JSON.stringify([...kept].slice(-MAX_RESETS));
  try {
    sessionStorage.setItem(`flasknado-live resets ${url.href}`, text);
  } catch {
    // Then a page that reloads may do so again.
  }
}

/**
 * Hold a lock until the signal aborts; `onHeld()` is called once it is held, and `onStolen()` when
 * another page has taken it. With `steal` it is taken from whoever holds it.
 */
function hold(name, signal, onHeld, { steal = false, onStolen = () => {} } = {}) {
  let isHeld = false;
  const held = () =>
    new Promise((release) => {
      if (signal.aborted) {
        release();
        return;
      }
      signal.addEventListener("abort", release, { once: true });
      isHeld = true;
      onHeld();
    });
  navigator.locks.request(name, steal ? { steal } : { signal }, held).catch((error) => {
    if (error.name !== "AbortError") throw error;
    if (isHeld && !signal.aborted) onStolen();
  });
}

/** Ask the server whose page this is, until it answers; null if it does not say. */
async function askWho(options, signal) {
  const { url, credentials, retryMs, timeoutMs } = options;
  for (let waitMs = retryMs; ; waitMs = Math.min(2 * waitMs, MAX_ASKING_MS)) {
    const limit = AbortSignal.timeout?.(timeoutMs);
    try {
      const answer = await fetch(new URL("who", url), {
        credentials,
        cache: "no-store",
        signal: limit,
      });
      if (answer.ok) return (await answer.json()).who ?? null;
      if (isFinal(answer.status)) return null;
    } catch {
      // No answer, or not one of ours: asked again.
    }
    await new Promise((done) => setTimeout(done, (waitMs * (1 + Math.random())) / 2));
    if (signal.aborted) return null;
  }
}

// --- The leader ----------------------------------------------------------------------------

/** Holds the connection for all pages, and chooses its transport. */
class Leader {
  #options;
  #who; // whose pages these are; null if that is not known
  #announce;
  #watch;
  #pages = new Map(); // id -> Places, moved as the page itself moves them
  #counting = new Set(); // ids of the pages that want presence
  #presence = new Map(); // channel -> who is there, in the words of the server
  #ticket = { text: null, until: 0 }; // what lets us back in after a deploy
  #reached = new Places(); // how far each channel has been announced
  #head = null; // the furthest place in the log that is known of
  #status = { state: "connecting", transport: null, retryMs: null };
  #connection = null; // the one that has delivered
  #candidate = null; // the one that has not yet
  #plan = []; // transports still to try in this round
  #bound = null;
  #boundAt = 0;
  #renewedAt = 0;
  #waiting = null;
  #dueAt = 0;
  #failures = 0;
  #shortLives = 0;
  #openedAt = 0;
  #upgrading = null;
  #upgradeMs;
  #gathering = null;
  #checking = false;
  #stopped = false;

  constructor(options, who, announce, watch) {
    this.#options = options;
    this.#who = who;
    this.#announce = announce;
    this.#watch = watch;
    this.#upgradeMs = options.upgradeMs;
  }

  stop() {
    this.#stopped = true;
    this.#disconnect();
    clearTimeout(this.#gathering);
  }

  /** The browser has lost its network: what seems open is not. */
  offline() {
    this.#plan = [];
    this.#candidate?.end();
    this.#connection?.end();
  }

  hear(message) {
    if (this.#stopped) return;
    if (message.type === "hello") {
      this.#welcome(message);
    } else if (message.type === "bye") {
      this.#pages.delete(message.from);
      this.#counting.delete(message.from);
      this.#updateSoon();
    } else if (message.type === "nudge") {
      this.#nudged(message);
    } else if (message.type === "send") {
      const { ref } = message.message;
      // What has waited while this page was frozen has been given up by who sent it.
      const late = Date.now() - message.at > this.#options.overtakeMs;
      if (late) this.onReply(ref, { message: "the message waited too long, and was not sent" });
      else if (this.#connection?.send) this.#connection.send(message.message);
      else this.onReply(ref, { message: "there is no WebSocket at present" });
    }
  }

  #nudged({ now, why }) {
    // The timers of this page may be slow, if it is hidden: do what they would have done.
    const tried = this.#candidate;
    if (tried !== null && Date.now() > this.#boundAt) this.#giveUp(tried);
    this.#connection?.endIfSilent();
    if (this.#waiting !== null) {
      if (now || Date.now() >= this.#dueAt) this.#startRound();
    } else if (why === "online") {
      this.#renew();
    } else if (why === "visible") {
      const connection = this.#connection;
      connection?.prove(() => {
        connection.end();
        if (this.#waiting !== null) this.#startRound();
      });
    }
  }

  /** The network has changed: what was made over the old one is not worth waiting for. */
  #renew() {
    const now = Date.now();
    if (now - this.#renewedAt < FRESH_MS) return; // each page says so
    this.#renewedAt = now;
    this.#candidate?.close();
    this.#candidate = null;
    if (this.#connection === null) {
      if (this.#wanted().size > 0) this.#startRound();
      return;
    }
    // Beside the old connection, which may be good: the new one takes over without a gap.
    clearTimeout(this.#upgrading);
    this.#plan = [this.#connection.kind];
    this.#tryNext();
  }

  #welcome({ from, places, presence }) {
    const known = this.#pages.get(from);
    if (!known) this.#watch(from, () => this.hear({ type: "bye", from }));
    this.#pages.set(from, new Places(places));
    this.#announce({ type: "status", status: this.#status });
    if (presence) {
      this.#counting.add(from);
      for (const [channel] of places) {
        const event = known?.has(channel) ? null : this.#presence.get(channel);
        if (event) this.#announce({ type: "presence", event });
      }
    }
    for (const [channel, at] of places) {
      const reached = this.#reached.get(channel) ?? null;
      // Who has no place yet begins where the others are.
      if (at === null && reached !== null) this.#move([[channel, null]], reached);
    }
    this.#checkEpochs();
    this.#updateSoon();
  }

  /** What all pages together want: channel -> cursor that misses nothing for any of them. */
  #wanted() {
    const wanted = new Places();
    for (const page of this.#pages.values()) {
      for (const [channel, at] of page) {
        wanted.set(channel, wanted.has(channel) ? earlier(wanted.get(channel), at) : at);
      }
    }
    return wanted;
  }

  /** Update once all who speak at the same time have spoken; a hidden page's timers are slow. */
  #updateSoon() {
    if (this.#gathering !== null) return;
    const update = () => {
      this.#gathering = null;
      this.#update();
    };
    if (document.hidden) {
      this.#gathering = 0;
      queueMicrotask(update);
    } else {
      this.#gathering = setTimeout(update, GATHER_MS);
    }
  }

  #update() {
    if (this.#stopped) return;
    const wanted = this.#wanted();
    for (const channel of this.#reached.keys()) {
      if (!wanted.has(channel)) {
        this.#reached.delete(channel);
        this.#presence.delete(channel);
      }
    }
    if (wanted.size === 0) {
      this.#disconnect();
      this.#showStatus("connecting");
    } else if (this.#connection || this.#candidate) {
      this.#connection?.follow(wanted, this.#counting.size > 0);
      this.#candidate?.follow(wanted, this.#counting.size > 0);
    } else if (this.#waiting === null) {
      this.#startRound();
    }
  }

  #disconnect() {
    for (const timer of [this.#bound, this.#waiting, this.#upgrading]) clearTimeout(timer);
    this.#waiting = null;
    this.#connection?.close();
    this.#candidate?.close();
    this.#connection = this.#candidate = null;
  }

  #showStatus(state, retryMs = null) {
    const transport = state === "open" ? this.#connection.kind : null;
    this.#status = { state, transport, retryMs };
    this.#announce({ type: "status", status: this.#status });
  }

  // Choosing a transport. A round tries each, beginning with what worked last.

  #startRound() {
    clearTimeout(this.#waiting);
    this.#waiting = null;
    const kinds = this.#options.transports;
    const first = Math.max(0, kinds.indexOf(this.#remembered()));
    this.#plan = [...kinds.slice(first), ...kinds.slice(0, first)];
    this.#showStatus("connecting");
    this.#tryNext();
  }

  #tryNext() {
    clearTimeout(this.#bound);
    const wanted = this.#wanted();
    if (wanted.size === 0) return;
    const kind = this.#plan.shift();
    if (kind === undefined) {
      if (this.#connection) this.#upgradeLater();
      else this.#wait();
      return;
    }
    const ticket = Date.now() < this.#ticket.until ? this.#ticket.text : null;
    const connection = new CONNECTIONS[kind](this.#options, this, ticket);
    this.#candidate = connection;
    this.#boundAt = Date.now() + this.#options.timeoutMs;
    this.#bound = setTimeout(() => this.#giveUp(connection), this.#options.timeoutMs);
    connection.follow(wanted, this.#counting.size > 0);
  }

  #giveUp(connection) {
    connection.close();
    this.onEnd(connection, {});
  }

  /** A connection has delivered: the first sign that its transport works here. */
  onLive(connection) {
    if (connection !== this.#candidate) return;
    clearTimeout(this.#bound);
    this.#connection?.close();
    this.#connection = connection;
    this.#candidate = null;
    this.#openedAt = Date.now();
    this.#remember(connection.kind);
    this.#showStatus("open");
    if (connection.kind === this.#options.transports[0]) this.#upgradeMs = this.#options.upgradeMs;
    this.#upgradeLater();
  }

  /**
   * A connection has ended. `retryMs` is how long the server asks to wait, `withinMs` the time in
   * which it wants us back, with the `ticket` if it gave one.
   */
  onEnd(connection, { retryMs = null, withinMs = null, ticket = null }) {
    if (ticket) this.#ticket = { text: ticket, until: Date.now() + TICKET_MS };
    if (connection === this.#candidate) {
      this.#candidate = null;
      if (retryMs === null || this.#connection) {
        this.#tryNext();
      } else {
        clearTimeout(this.#bound);
        this.#wait(retryMs); // the server spoke, so the transport works
      }
    } else if (connection === this.#connection) {
      this.#connection = null;
      clearTimeout(this.#upgrading);
      this.#judge(connection.kind, retryMs ?? withinMs);
      if (this.#candidate) this.#showStatus("connecting");
      else this.#wait(retryMs, withinMs);
    }
  }

  /** Record a transport that connects but does not last: a proxy may cut it. */
  #judge(kind, retryMs) {
    const lived = Date.now() - this.#openedAt;
    if (lived >= SHORT_LIFE_MS) {
      this.#failures = this.#shortLives = 0;
    } else if (retryMs === null && ++this.#shortLives >= SHORT_LIVES) {
      const kinds = this.#options.transports;
      const next = kinds[kinds.indexOf(kind) + 1];
      if (next) this.#remember(next);
      this.#shortLives = 0;
    }
  }

  #wait(retryMs = null, withinMs = null) {
    const { retryMs: firstMs, maxRetryMs } = this.#options;
    const backOffMs = Math.min(firstMs * 2 ** this.#failures++, maxRetryMs);
    // What the server asks for is the least; the rest keeps a crowd from coming at once.
    let waitMs = Math.max(retryMs ?? 0, backOffMs / 2) + (Math.random() * backOffMs) / 2;
    if (withinMs !== null && backOffMs === firstMs) waitMs = Math.random() * withinMs;
    clearTimeout(this.#waiting);
    this.#dueAt = Date.now() + waitMs;
    this.#waiting = setTimeout(() => this.#startRound(), waitMs);
    this.#showStatus("waiting", Math.round(waitMs));
  }

  #upgradeLater() {
    clearTimeout(this.#upgrading);
    const kinds = this.#options.transports;
    const index = kinds.indexOf(this.#connection.kind);
    if (index <= 0) return;
    this.#upgrading = setTimeout(() => {
      this.#upgradeMs = Math.min(2 * this.#upgradeMs, Math.max(MAX_UPGRADE_MS, this.#upgradeMs));
      this.#plan = kinds.slice(0, index);
      this.#tryNext();
    }, this.#upgradeMs);
  }

  #remembered() {
    try {
      const { kind, until } = JSON.parse(localStorage.getItem(this.#memory));
      return Date.now() < until ? kind : null;
    } catch {
      return null; // nothing there, or the page may keep nothing
    }
  }

  #remember(kind) {
    try {
      const until = Date.now() + this.#upgradeMs;
      localStorage.setItem(this.#memory, JSON.stringify({ kind, until }));
    } catch {
      // Then every page finds out for itself.
    }
  }

  get #memory() {
    return `flasknado-live ${this.#options.url.href}`;
  }

  // What connections tell.

  /** Whether a connection is of the user whose pages these are, as the server says. */
  isOurs(who) {
    if (this.#who === null || who === this.#who) return true;
    if (who) {
      this.#disconnect();
      this.#announce({ type: "stranger" });
    }
    return false;
  }

  /** An event has come; `from` says for each name that it comes under where that was. */
  onEvent(event, from) {
    for (const [name, since] of from) {
      this.#reach(name, event.id);
      for (const page of this.#pages.values()) page.advance(name, since, event.id);
    }
    this.#announce({ type: "event", from, event });
  }

  onPresence(event) {
    this.#presence.set(event.channel, together(this.#presence.get(event.channel), event));
    this.#announce({ type: "presence", event });
  }

  onReply(ref, error, data) {
    this.#announce({ type: "reply", ref, error, data });
  }

  onHead(head, from) {
    this.#move(from, head);
    this.#checkEpochs();
    this.#checkAhead().catch(() => {}); // the next head asks again
  }

  /** Announce that channels are complete from the places in `from` up to `to`. */
  #move(from, to) {
    for (const [channel] of from) this.#reach(channel, to);
    for (const page of this.#pages.values()) page.meet(from, to);
    this.#announce({ type: "head", from, to });
  }

  #reach(channel, cursor) {
    const reached = this.#reached.get(channel) ?? null;
    if (reached === null || !isBefore(cursor, reached)) this.#reached.set(channel, cursor);
    if (this.#head === null || !isBefore(cursor, this.#head)) this.#head = cursor;
  }

  onReset(head, asked) {
    this.#head = head;
    for (const page of this.#pages.values()) page.reset(head, asked);
    for (const channel of this.#reached.keys()) this.#reached.set(channel, head);
    this.#announce({ type: "reset", head, asked });
    // Pages whose place was good still want what comes after it.
    this.#updateSoon();
  }

  /** A page with a cursor of another log than the server's would wait for ever. */
  #checkEpochs() {
    if (this.#head === null) return;
    const { epoch } = place(this.#head);
    for (const page of this.#pages.values()) {
      for (const cursor of page.values()) {
        if (cursor !== null && place(cursor).epoch !== epoch) {
          this.onReset(this.#head, cursor);
          return;
        }
      }
    }
  }

  /**
   * Ask the server about a page whose cursor is ahead of the head. It may only have been quick;
   * but if the log is an older one, restored, the page would take what comes for repetitions.
   */
  async #checkAhead() {
    if (this.#checking) return;
    this.#checking = true;
    try {
      const places = [...this.#pages.values()].flatMap((page) => [...page]);
      const ahead = places.find(([, at]) => at !== null && isBefore(this.#head, at));
      if (ahead === undefined) return;
      const [channel, cursor] = ahead;
      const response = await request(this.#options, "poll", [channel], cursor, { timeout_s: 0 });
      if (this.#stopped || !response.ok) return;
      const { events } = await response.json();
      const reset = events.find((event) => event.channel === null && event.event === "reset");
      // Events may have come since that answer was made.
      if (reset) this.onReset(isBefore(reset.id, this.#head) ? this.#head : reset.id, cursor);
    } finally {
      this.#checking = false;
    }
  }

  /** The server refused a channel. `fresh` says that the connection was made for this. */
  onRefused(connection, channel, { code, message }, fresh) {
    if (!fresh && connection === this.#connection) {
      // Somebody may have logged in since it was opened: ask again with fresh credentials.
      this.#disconnect();
      this.#startRound();
      return;
    }
    for (const page of this.#pages.values()) page.delete(channel);
    this.#announce({ type: "refused", channel, code, message });
    this.#updateSoon();
  }
}

// --- Connections ---------------------------------------------------------------------------

/** What the transports share: how far each channel has come on this one connection. */
class Connection {
  kind;
  places = new Places();
  closed = false;
  owner;
  options;
  ticket;
  presence = false; // whether it asks who is there
  #settled = false; // complete up to the head since it last asked for anything
  #heardAt = 0;
  #listening = null;
  #proving = null;

  constructor(options, owner, ticket) {
    this.options = options;
    this.owner = owner;
    this.ticket = ticket;
  }

  close() {
    this.closed = true;
    clearInterval(this.#listening);
    clearTimeout(this.#proving);
  }

  end(reason = {}) {
    if (this.closed) return;
    this.close();
    this.owner.onEnd(this, reason);
  }

  /** Note that something came, and end the connection when nothing comes any more. */
  heard() {
    this.#heardAt = Date.now();
    if (this.#listening !== null) return;
    this.#listening = setInterval(() => this.endIfSilent(), silenceMsOf(this.options) / 16);
  }

  endIfSilent() {
    const silentMs = Date.now() - this.#heardAt;
    if (this.#listening !== null && silentMs > silenceMsOf(this.options)) this.end();
  }

  /** Find out whether this connection is alive; `failed()` is called if it does not answer soon. */
  prove(failed) {
    if (this.closed) return;
    const askedAt = Date.now();
    if (!this.ping()) {
      // It cannot be asked, but a heartbeat that is late says something.
      if (askedAt - this.#heardAt > this.options.heartbeatMs + ANSWER_MS) failed();
      return;
    }
    clearTimeout(this.#proving);
    this.#proving = setTimeout(() => this.#heardAt < askedAt && failed(), ANSWER_MS);
  }

  /** Ask the server for a sign of life; returns whether this transport can. */
  ping() {
    return false;
  }

  /** Note that channels are followed from these places on. */
  begin(places) {
    for (const [channel, at] of places) this.places.set(channel, at);
    this.#settled = false;
  }

  /** Deal with an object of the protocol: an event, or what the server says itself. */
  accept(message) {
    if (this.closed) return;
    this.owner.onLive(this);
    const { id, channel, event, data } = message;
    if (channel === null) {
      if (event === "reset") this.reset(id);
      else if (event === "heartbeat") this.head(id);
      else if (event === "reconnect") this.sentAway(id, data);
    } else if (event === "presence") {
      if (this.places.has(channel)) this.owner.onPresence(message);
    } else {
      const from = [];
      for (const name of this.places.namesOf(channel)) {
        const at = this.places.get(name);
        // What comes again under one name may have come under another.
        if (at !== null && !isBefore(at, id)) continue;
        from.push([name, at]);
        this.places.set(name, id);
      }
      if (from.length) this.owner.onEvent(message, from);
    }
  }

  /** The server goes: everything up to `id` has come, and we are to be back in some time. */
  sentAway(id, { retry_s: retryS, ticket }) {
    if (id !== null) this.head(id);
    this.end({ withinMs: 1000 * retryS, ticket });
  }

  head(id) {
    this.#settled = true;
    const from = [...this.places];
    for (const [channel] of from) this.places.set(channel, id);
    this.owner.onHead(id, from);
  }

  reset(id) {
    // The server resumes from the least of the places, or from none if they are of several logs.
    const foreign = (cursor) => cursor !== null && place(cursor).epoch !== place(id).epoch;
    const asked = [...this.places.values()].find(foreign) ?? this.places.least;
    const refused = this.#settled ? null : asked;
    this.#settled = true;
    for (const channel of this.places.keys()) this.places.set(channel, id);
    this.owner.onReset(id, refused);
  }

  /** The part of `wanted` that this connection does not follow, or not from early enough. */
  missing(wanted, underway = new Map()) {
    const missing = new Places();
    for (const [channel, at] of wanted) {
      const has = underway.has(channel) ? underway.get(channel) : this.places.get(channel);
      if (has !== undefined && at === null) continue;
      if (has === undefined || has === null || isBefore(at, has)) missing.set(channel, at);
    }
    return missing;
  }
}

/** Who is there after another event of presence: what a page that comes now has to be told. */
function together(before, event) {
  const { count, users, join = [], leave = [] } = event.data;
  const had = before?.data.users;
  if (users || !had) return { ...event, data: { count, ...(users && { users }) } };
  const moved = new Set([...join, ...leave].map(({ user }) => user));
  const staying = had.filter(({ user }) => !moved.has(user));
  return { ...event, data: { count, users: [...staying, ...join] } };
}

/** After how long without a byte a connection is taken for dead. */
function silenceMsOf({ silenceMs, heartbeatMs }) {
  return silenceMs ?? HEARTBEATS_MISSED * heartbeatMs;
}

async function tokenOf({ token }) {
  return typeof token === "function" ? token() : token;
}

/** Make a request of a live endpoint about some channels. */
async function request(options, path, channels, after, more, signal, ticket = null) {
  const url = new URL(path, options.url);
  for (const channel of channels) url.searchParams.append("channel", channel);
  if (after !== null) url.searchParams.set("after", after);
  if (options.connection) url.searchParams.set("connection", options.connection);
  for (const [name, value] of Object.entries(more)) url.searchParams.set(name, value);
  const token = await tokenOf(options);
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  // Behind the cursor, where it is in nobody's log.
  if (ticket && after !== null) headers["Last-Event-ID"] = after + TICKET_MARK + ticket;
  return fetch(url, { headers, credentials: options.credentials, signal, cache: "no-store" });
}

class SocketConnection extends Connection {
  kind = "websocket";
  #socket = null;
  #wanted = null;
  #underway = []; // what was asked for and not answered, oldest first
  #unsent = []; // messages to channels that are not followed yet
  #opening = true; // everything asked for up to now was asked for at the beginning

  follow(wanted, presence) {
    this.#wanted = wanted;
    if (presence && !this.presence) {
      // Said with each channel, so all that is followed is asked for again, from its place.
      this.presence = true;
      for (const [after, channels] of byPlace(this.places)) this.#subscribe(channels, after);
    }
    if (this.#socket === null) {
      this.#open().catch(() => this.end());
    } else if (this.#socket.readyState === WebSocket.OPEN) {
      this.#ask();
    }
  }

  async #open() {
    const url = new URL("socket", this.options.url);
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    this.#socket = { readyState: WebSocket.CONNECTING, close() {} };
    const token = await tokenOf(this.options);
    if (this.closed) return;
    if (token) url.searchParams.set("access_token", token);
    const socket = (this.#socket = new WebSocket(url));
    socket.onopen = () => this.#ask();
    socket.onmessage = ({ data }) => this.#hear(JSON.parse(data));
    socket.onclose = ({ code }) => this.end(goodbye(code));
  }

  #ask() {
    const dropped = [...this.places.keys()].filter((channel) => !this.#wanted.has(channel));
    if (dropped.length) {
      for (const channel of dropped) this.places.delete(channel);
      this.#say({ type: "unsubscribe", channels: dropped });
    }
    const underway = new Map(this.#underway.flatMap(({ places }) => [...places]));
    const missing = this.missing(this.#wanted, underway);
    for (const [after, channels] of byPlace(missing)) this.#subscribe(channels, after);
    this.#opening = false;
  }

  #subscribe(channels, after) {
    const places = new Map(channels.map((channel) => [channel, after]));
    this.#underway.push({ places, fresh: this.#opening });
    this.#say({
      type: "subscribe",
      channels,
      ...(after !== null && { after }),
      ...(this.presence && { presence: true }),
      ...(this.options.connection && { connection: this.options.connection }),
      ...(this.#opening && this.ticket && { ticket: this.ticket }),
    });
  }

  ping() {
    const able = this.#socket?.readyState === WebSocket.OPEN;
    if (able) this.#say({ type: "ping" });
    return able;
  }

  #say(message) {
    this.#socket.send(JSON.stringify(message));
  }

  send(message) {
    if (this.places.nameOf(message.channel)) this.#say({ type: "message", ...message });
    else if (this.#unsent.length < MAX_UNSENT) this.#unsent.push(message);
    else this.owner.onReply(message.ref, { code: 429, message: "too many messages wait" });
  }

  /** Send what waited for its channel, or answer it if the channel is refused. */
  #sendWaiting(channels, error) {
    const waiting = this.#unsent;
    this.#unsent = [];
    for (const message of waiting) {
      if (error && channels.has(message.channel)) this.owner.onReply(message.ref, error);
      else this.send(message);
    }
  }

  #hear(message) {
    if (this.closed) return;
    this.heard();
    if (message.type === undefined) {
      this.accept(message);
    } else if (message.type === "subscribed") {
      if (!this.owner.isOurs(message.who)) {
        this.end();
        return;
      }
      const { places } = this.#underway.shift();
      this.begin(places);
      this.owner.onLive(this);
      this.#sendWaiting(places);
    } else if (message.type === "reply") {
      this.owner.onReply(message.ref, null, message.data);
    } else if (message.type === "error" && message.ref) {
      this.owner.onReply(message.ref, message);
    } else if (message.type === "error" && message.channels) {
      this.#onRefused(message);
    }
  }

  #onRefused(error) {
    const { places, fresh } = this.#underway.shift();
    if (!isFinal(error.code)) {
      this.end({ retryMs: this.options.retryMs });
      return;
    }
    const [[channel, after]] = places;
    if (places.size === 1) {
      this.owner.onLive(this);
      this.#sendWaiting(places, error);
      this.owner.onRefused(this, channel, error, fresh);
      return;
    }
    this.#opening = fresh;
    for (const each of places.keys()) this.#subscribe([each], after);
    this.#opening = false;
  }

  close() {
    super.close();
    this.#socket?.close();
  }
}

/** Channels by the cursor that they are at. */
function byPlace(places) {
  const channels = new Map();
  for (const [channel, at] of places) channels.set(at, [...(channels.get(at) ?? []), channel]);
  return channels;
}

/** How to go on after a closing code. */
function goodbye(code) {
  if (code === CLOSE_ACCESS_ENDED) return { withinMs: ACCESS_ENDED_MS };
  return CLOSES_OF_A_LOST_CONNECTION.includes(code) ? {} : { retryMs: 0 };
}

/** Whether asking again would get the same answer. */
function isFinal(code) {
  // Nothing is final that is not said by the server itself, which has a code.
  return code >= 400 && code < 500 && code !== 408 && code !== 429;
}

/** Over ordinary requests: each names all the channels, so another choice is another request. */
class RequestConnection extends Connection {
  #request = null;
  #wanted = null;

  follow(wanted, presence) {
    if (this.#request !== null) {
      const followed = this.places.size ? this.places : this.#wanted;
      const dropped = [...followed.keys()].some((channel) => !wanted.has(channel));
      const same = !dropped && this.presence === presence;
      if (same && this.missing(wanted, followed).size === 0) return;
      this.#request.abort();
    }
    const underway = (this.#request = new AbortController());
    this.#wanted = wanted;
    this.presence = presence;
    this.places.clear();
    this.#run(new Places(wanted), underway.signal)
      .then((reason) => reason && this.end(reason))
      .catch(() => underway.signal.aborted || this.end())
      .finally(() => this.#request === underway && (this.#request = null));
  }

  /** Follow; returns why it ended, or nothing if the owner will say how to go on. */
  async #run(wanted, signal) {
    const transport = /** @type {any} */ (this); // run() is each transport's own
    const failed =
      (await this.#findPlaces(wanted, signal)) ?? (await transport.run(wanted, signal));
    if (signal.aborted || this.closed || failed === undefined) return undefined;
    if (!isFinal(failed.code)) return failed;
    return this.#findRefused(wanted, failed, signal);
  }

  /** Give channels that begin "from now on" a place, since a request has one cursor for all. */
  async #findPlaces(wanted, signal) {
    const placeless = [...wanted.keys()].filter((channel) => wanted.get(channel) === null);
    if (placeless.length) {
      const answer = await this.poll(placeless, null, 0, signal);
      if (answer.failed ?? answer.cursor === null) return answer.failed ?? {};
      for (const channel of placeless) wanted.set(channel, answer.cursor);
      this.owner.onHead(answer.cursor, placeless.map((channel) => [channel, null]));
    }
    const after = wanted.least;
    for (const channel of wanted.keys()) wanted.set(channel, after);
    this.begin(wanted);
    return undefined;
  }

  /** Ask for each channel alone, so that one that is refused does not hold up the others. */
  async #findRefused(wanted, failed, signal) {
    const refusals = [];
    for (const channel of wanted.keys()) {
      const alone = wanted.size === 1;
      const answer = alone ? { failed } : await this.poll([channel], null, 0, signal);
      if (isFinal(answer.failed?.code)) refusals.push([channel, answer.failed]);
    }
    if (refusals.length === 0) return {};
    this.owner.onLive(this);
    for (const [channel, refusal] of refusals) this.owner.onRefused(this, channel, refusal, true);
    return undefined;
  }

  async poll(channels, after, timeoutS, signal) {
    const response = await this.get("poll", channels, after, signal, { timeout_s: timeoutS });
    return response.ok ? response.json() : { failed: await failure(response) };
  }

  async get(path, channels, after, signal, more = {}) {
    const { options, ticket } = this;
    const response = await request(options, path, channels, after, more, signal, ticket);
    this.heard();
    if (response.ok && !this.owner.isOurs(response.headers.get(WHO_FIELD))) {
      throw new Error("not an answer to the user of this page");
    }
    return response;
  }

  close() {
    super.close();
    this.#request?.abort();
  }
}

/** What an answer that is no success says: `code` only if it is the server's own. */
async function failure(response) {
  const said = await response.json().catch(() => null);
  const after = Number(response.headers.get("Retry-After") ?? NaN);
  const retryMs = Number.isFinite(after) ? 1000 * after : null;
  const own = said?.success === false && typeof said.message === "string";
  return own ? { code: response.status, message: said.message, retryMs } : { retryMs };
}

/** Server-sent events, read by fetch: EventSource hides statuses, waits and heartbeats. */
class StreamConnection extends RequestConnection {
  kind = "sse";

  async run(wanted, signal) {
    const more = this.presence ? { presence: 1 } : {};
    const response = await this.get("events", wanted.keys(), wanted.least, signal, more);
    this.ticket = null;
    if (!response.ok) return failure(response);
    let retryMs = null;
    for await (const block of blocksOf(response.body)) {
      // What a request that was given up still had says nothing about the places of the next.
      if (signal.aborted) break;
      this.heard();
      if (block.retry !== undefined) retryMs = Number(block.retry);
      const [id, ticket] = (block.id ?? "").split(TICKET_MARK);
      if (block.data !== undefined) this.accept(JSON.parse(block.data));
      else if (ticket) this.sentAway(id, { retry_s: retryMs / 1000, ticket });
      else if (id) this.accept({ id, channel: null, event: "heartbeat" });
    }
    return { retryMs };
  }
}

/** The blocks of an event stream (HTML standard, section 9.2.6), as field -> value. */
async function* blocksOf(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  let block = {};
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const lines = (text + value).split("\n");
    text = lines.pop();
    for (const line of lines) {
      const [, name, said] = /^([^:\r]*):? ?(.*?)\r?$/.exec(line);
      if (name !== "") {
        block[name] = name in block && name === "data" ? `${block.data}\n${said}` : said;
      } else if (!line.startsWith(":")) {
        yield block;
        block = {};
      }
    }
  }
}

/** Long-poll, for networks that pass on nothing but whole answers. */
class PollConnection extends RequestConnection {
  kind = "poll";

  async run(wanted, signal) {
    let after = wanted.least;
    let timeoutS = 0; // the first answer comes at once, and proves that this works
    while (!signal.aborted) {
      const answer = await this.poll(wanted.keys(), after, timeoutS, signal);
      if (answer.failed) return answer.failed;
      if (signal.aborted) break;
      for (const event of answer.events) this.accept(event);
      if (answer.cursor === null) return { retryMs: this.options.retryMs };
      this.accept({ id: answer.cursor, channel: null, event: "heartbeat" });
      after = answer.cursor;
      timeoutS = Math.min(POLL_TIMEOUT_S, this.options.heartbeatMs / 1000);
    }
    return undefined;
  }
}

const CONNECTIONS = { websocket: SocketConnection, sse: StreamConnection, poll: PollConnection };
