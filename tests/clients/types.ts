// What the package's types let an application write. Checked by tsc, never run.

import { connect, type Live, type Status } from "flasknado-live";
import { useLive } from "flasknado-live/react";
import { useLive as useLiveOfVue } from "flasknado-live/vue";

interface Post {
  title: string;
}

const titles: string[] = [];
const options = { channels: ["posts"], onEvent: ({ data }: { data: Post }) => titles.push(data.title) };

export const live: Live = connect<Post>(options);
export const { status }: { status: Status } = useLive<Post>(options);
export const state = (): boolean => useLiveOfVue<Post>(() => options).status.value.state === "open";

// @ts-expect-error: there is none before the component has been mounted
useLive(options).live.close();
// @ts-expect-error: an option that does not exist
useLive({ chanels: ["posts"] });
