// Reloads the page when the server says that it has changed (development mode).
// The address of this script has the version of the page that it is in.

const own = new URL(import.meta.url);
const events = new URL("events", own);
const RETRY_MS = 500;

let version = own.searchParams.get("version");
let source = null;
let timer = 0;

const swapStyles = (name) => {
  for (const link of document.querySelectorAll("link[rel~=stylesheet]")) {
    const url = new URL(link.href, document.baseURI);
    if (url.origin === own.origin && url.pathname.split("/").pop() === name) {
      url.searchParams.set("flasknado-version", version);
      link.href = url.href;
    }
  }
};

const open = () => {
  if (source !== null) return;
  source = new EventSource(events);
  source.addEventListener("version", ({ data }) => {
    if (data !== version) location.reload();
  });
  source.addEventListener("style", ({ data }) => {
    const style = JSON.parse(data);
    version = style.version;
    swapStyles(style.name);
  });
  source.addEventListener("error", () => {
    // A browser connects again by itself, but not after an answer that is an error.
    if (source?.readyState === EventSource.CLOSED) {
      close();
      timer = setTimeout(open, RETRY_MS);
    }
  });
};

const close = () => {
  clearTimeout(timer);
  source?.close();
  source = null;
};

// A browser opens few connections to one server, so those of hidden pages are not kept.
document.addEventListener("visibilitychange", () => (document.hidden ? close() : open()));
addEventListener("pagehide", close);
addEventListener("pageshow", () => {
  if (!document.hidden) open();
});
if (!document.hidden) open();
