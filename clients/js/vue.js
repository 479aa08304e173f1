// useLive() for Vue: follows channels for as long as the component is there.

import { onBeforeUnmount, onMounted, shallowRef, toValue, watch } from "vue";

import { CONNECTING, connected, identityOf } from "./hooks.js";

/** @type {typeof import("./vue.js").useLive} */
export function useLive(options) {
  const latest = () => toValue(options);
  const live = shallowRef(null);
  const status = shallowRef(CONNECTING);
  let connection = null;
  const close = () => connection?.live.close();
  const open = () => {
    close();
    connection = connected(latest, (said) => (status.value = said));
    live.value = connection.live;
  };
  onMounted(() => {
    open();
    watch(() => identityOf(latest()), open);
    watch(() => latest().channels?.join(" "), () => connection.follow());
  });
  onBeforeUnmount(close);
  return { live, status };
}
