// The charts of /pulse: each line is the last minute of one number, once a second.

const POINTS = 60;
const WIDTH = 240;
const HEIGHT = 60;
const SVG = "http://www.w3.org/2000/svg";

const charts = new Map();
for (const element of document.querySelectorAll("[data-chart]")) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("aria-hidden", "true");
  const line = document.createElementNS(SVG, "polyline");
  svg.append(line);
  element.append(svg);
  charts.set(element.dataset.chart, {
    line,
    value: element.querySelector("[data-value]"),
    most: element.querySelector("[data-most]"),
    points: [],
    digits: Number(element.dataset.digits ?? 0),
  });
}

function draw(chart, value) {
  chart.points.push(value);
  if (chart.points.length > POINTS) chart.points.shift();
  const most = Math.max(...chart.points, 10 ** -chart.digits);
  const step = WIDTH / (POINTS - 1);
  const first = POINTS - chart.points.length;
  chart.line.setAttribute(
    "points",
    chart.points
      .map((point, index) => {
        const x = (first + index) * step;
        const y = HEIGHT - 2 - (point / most) * (HEIGHT - 4);
        return `${x.toFixed(1)},${y.toFixed(1)}`;
      })
      .join(" "),
  );
  chart.value.textContent = value.toFixed(chart.digits);
  chart.most.textContent = `peak ${most.toFixed(chart.digits)}`;
}

const { root } = document.querySelector("main").dataset;
const status = document.querySelector("[data-live-status]");
const source = new EventSource(`${root}pulse/stream`);

source.addEventListener("pulse", ({ data }) => {
  const numbers = JSON.parse(data);
  for (const [name, chart] of charts) draw(chart, numbers[name] ?? 0);
});
source.addEventListener("open", () => {
  status.textContent = "Live";
  status.dataset.state = "on";
});
source.addEventListener("error", () => {
  status.textContent = "Reconnecting…";
  status.dataset.state = "off";
});

const said = document.querySelector("[data-said]");

async function press(name) {
  const answer = await fetch(`${root}pulse/${name}`, { method: "POST" }).catch(() => null);
  const { message } = (await answer?.json().catch(() => null)) ?? {};
  return message ?? "The server did not answer.";
}

for (const button of document.querySelectorAll("button[data-do]")) {
  button.addEventListener("click", () => {
    button.disabled = true;
    said.textContent = "";
    press(button.dataset.do).then((message) => {
      said.textContent = message;
      button.disabled = false;
    });
  });
}
