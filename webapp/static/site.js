// The site's entry: each module below does one thing, and does nothing on pages without it.
//
// Pages work without any of this. A page that updates itself says from which event on, in
// <main data-live-channel data-live-cursor>: the server read that cursor before the page's data,
// so nothing falls between the two. What arrives is put in by textContent, never as HTML.

import { follow } from "./connection.js";
import { keepDrafts } from "./drafts.js";
import { feed } from "./feed.js";
import { main } from "./page.js";
import { post } from "./post.js";
import { chat } from "./chat.js";
import { commenting } from "./commenting.js";
import { preview } from "./preview.js";
import { search } from "./search.js";
import { summary } from "./summary.js";
import { showTimes } from "./times.js";
import { upload } from "./upload.js";
import { news } from "./news.js";

const PAGES = { timeline: feed, profile: feed, post, chat };

showTimes();
keepDrafts();
preview();
upload();
search();
summary();
commenting();

const page = PAGES[main.dataset.page]?.();
follow({
  channel: main.dataset.liveChannel,
  ownChannel: main.dataset.ownChannel,
  after: main.dataset.liveCursor ?? main.dataset.ownCursor,
  key: main.dataset.liveKey ?? main.dataset.ownKey,
  onEvent: page?.onEvent ?? {},
  onPresence: page?.onPresence,
  onOwnEvent: news(),
});
