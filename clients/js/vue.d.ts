import type { MaybeRefOrGetter, ShallowRef } from "vue";

import type { Live, Options, Status } from "./live.js";

/**
 * Follow channels for as long as the component is there. If `options` is a ref or a getter, a change
 * of `channels` subscribes and unsubscribes, beginning after `after` as it is then, and a change of
 * `url`, `key` or `share` connects anew. `live` is null until the component has been mounted.
 */
export function useLive<Data = any>(options: MaybeRefOrGetter<Options<Data>>): {
  live: ShallowRef<Live | null>;
  status: ShallowRef<Status>;
};
