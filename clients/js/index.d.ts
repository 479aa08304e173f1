import type { Live, Options } from "./live.js";

export type * from "./live.js";

/** Follow channels, as `connect()` of live.js does; `url` is `/live/` by default. */
export function connect<Data = any>(options?: Options<Data>): Live;
