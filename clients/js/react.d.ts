import type { Live, Options, Status } from "./live.js";

/**
 * Follow channels for as long as the component is there. The functions among the options are those of
 * the last rendering; a change of `channels` subscribes and unsubscribes, beginning after `after` as
 * it is then; a change of `url`, `key` or `share` connects anew. `live` is null until the component
 * has been mounted.
 */
export function useLive<Data = any>(options: Options<Data>): { live: Live | null; status: Status };
