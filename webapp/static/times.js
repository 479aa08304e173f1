// Times as people say them ("3 minutes ago"), exact ones in the reader's own zone on hover.

const REFRESH_MS = 30_000;
const STEPS = [
  ["second", 60],
  ["minute", 60],
  ["hour", 24],
  ["day", 7],
  ["week", 4.35],
  ["month", 12],
  ["year", Infinity],
];

const exact = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
const relative = new Intl.RelativeTimeFormat(document.documentElement.lang, { numeric: "auto" });

function ago(moment) {
  let amount = (moment.getTime() - Date.now()) / 1_000;
  if (Math.abs(amount) < 10) return "just now";
  for (const [unit, most] of STEPS) {
    if (Math.abs(Math.round(amount)) < most) return relative.format(Math.round(amount), unit);
    amount /= most;
  }
  return exact.format(moment);
}

export function showTime(element) {
  const moment = new Date(element.dateTime);
  if (Number.isNaN(moment.getTime())) return;
  element.title = exact.format(moment);
  element.textContent = ago(moment);
}

/** Show every time of the page, and keep them right while it is open. */
export function showTimes() {
  const all = () => document.querySelectorAll("time[datetime]").forEach(showTime);
  all();
  setInterval(all, REFRESH_MS);
}
