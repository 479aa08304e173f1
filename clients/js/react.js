// useLive() for React: follows channels for as long as the component is there.

import { useEffect, useRef, useState } from "react";

import { CONNECTING, connected, identityOf } from "./hooks.js";

/** @type {typeof import("./react.js").useLive} */
export function useLive(options) {
  const latest = useRef(options);
  const connection = useRef(null);
  const [live, setLive] = useState(null);
  const [status, setStatus] = useState(CONNECTING);
  useEffect(() => {
    latest.current = options;
  });
  useEffect(() => {
    connection.current = connected(() => latest.current, setStatus);
    setLive(connection.current.live);
    return () => connection.current.live.close();
  }, [identityOf(options)]);
  useEffect(() => connection.current.follow(), [options.channels?.join(" ")]);
  return { live, status };
}
