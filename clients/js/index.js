// live.js for applications that are bundled: where the module came from says nothing there of where
// the server is, so that is `/live/` of the page's own origin unless `url` says otherwise.

import { connect as connectFrom } from "./live.js";

/** @type {typeof import("./index.js").connect} */
export function connect(options = {}) {
  return connectFrom({ ...options, url: options.url ?? "/live/" });
}
