// Below an answer: when its parts came, what that means in figures, and the exchange as it was.

import uPlot from "/playground/vendor/uplot.js";
import {colour, element, seconds} from "/playground/dom.js";
import {getKey} from "/playground/api.js";
import {curl, inJavaScript, inPython} from "/playground/snippets.js";

const MOST_SHOWN = 20_000; // characters of a response

/** What came of one request, part by part. `request` is {origin, path, body}. */
export class Exchange {
  constructor(request) {
    this.request = request;
    this.began = performance.now();
    this.parts = [];
    this.raw = "";
    this.usage = null;
    this.delay = null;
  }

  add(part) {
    const at = (performance.now() - this.began) / 1000;
    if (part.text || part.calls.length) {
      this.parts.push({at, tokens: part.tokens, characters: part.text.length});
    }
    if (this.raw.length < MOST_SHOWN) this.raw += part.raw;
    this.usage = part.usage ?? this.usage;
    this.delay = part.delay ?? this.delay;
    this.seconds = at;
  }

  get inTokens() {
    return this.parts.every(({tokens}) => tokens !== null);
  }

  /** One line: first token, tokens per second, parts, usage. */
  summary() {
    if (!this.parts.length) return "Nothing came.";
    const first = this.parts[0].at;
    const output = this.usage?.output ?? 0;
    const after = this.parts.at(-1).at - first;
    const figures = [`first token after ${seconds(first)}`];
    if (output > 1 && after > 0) figures.push(`${((output - 1) / after).toFixed(0)} tokens/s`);
    figures.push(`${this.parts.length} ${this.parts.length === 1 ? "chunk" : "chunks"}`);
    if (this.usage) figures.push(`${this.usage.input} + ${output} tokens`);
    if (this.delay !== null) figures.push(`${seconds(this.delay)} in the queue`);
    return figures.join(" · ");
  }

  /** The element that shows it, drawn when it is opened. */
  view() {
    const inside = element("div");
    const view = element("details", {class: "exchange"}, element("summary", {}, this.summary()), inside);
    view.addEventListener("toggle", () => {
      if (view.open && !inside.hasChildNodes()) this.draw(inside);
    });
    return view;
  }

  draw(inside) {
    const chart = element("div", {role: "img", "aria-label": `Chunks over time: ${this.summary()}`});
    const copy = (name, make) =>
      element("button", {type: "button", onclick: (event) => copied(event.target, make(this.request, getKey()))}, `Copy as ${name}`);
    inside.append(
      chart,
      element("div", {class: "copy"}, copy("curl", curl), copy("Python", inPython), copy("JavaScript", inJavaScript)),
      element("h4", {}, `Request: POST ${this.request.path}`),
      element("pre", {tabindex: "0"}, JSON.stringify(this.request.body, null, 2)),
      element("h4", {}, "Response"),
      element("pre", {tabindex: "0"}, this.raw.slice(0, MOST_SHOWN) || "nothing"),
    );
    keepColours(bars(chart, this.parts, this.inTokens));
  }
}

async function copied(button, text) {
  button.dataset.copied = text;
  const said = button.textContent;
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } catch {
    // Browsers copy on https and on this machine alone; elsewhere the text is there to be selected.
    const shown = element("textarea", {rows: 8, readonly: true, "aria-label": said}, text);
    button.closest(".copy").querySelector("textarea")?.remove();
    button.closest(".copy").append(shown);
    shown.focus();
    shown.select();
    return;
  }
  setTimeout(() => (button.textContent = said), 1500);
}

const drawn = new Set();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawn.forEach((chart) => chart.redraw()));

/** Have a chart drawn again when the colours change; those that are gone from the page are let go. */
function keepColours(chart) {
  for (const each of drawn) if (!each.root.isConnected) drawn.delete(each);
  drawn.add(chart);
}

function bars(place, parts, inTokens) {
  const axis = {stroke: colour("--faint"), grid: {stroke: colour("--line"), width: 1}, ticks: {show: false}};
  const last = Math.max(parts.at(-1)?.at ?? 0, 0.01);
  return new uPlot(
    {
      width: place.clientWidth || 600,
      height: 160,
      legend: {show: false},
      cursor: {show: false},
      scales: {x: {time: false, range: [0, last * 1.05]}, y: {range: (_, __, most) => [0, Math.max(most, 1) * 1.1]}},
      axes: [
        {...axis, values: (_, values) => values.map((value) => `${+value.toFixed(2)} s`)},
        {...axis, label: inTokens ? "tokens" : "characters", labelSize: 18, size: 44},
      ],
      series: [{}, {
        stroke: colour("--main"), fill: colour("--main"), points: {show: false},
        paths: uPlot.paths.bars({size: [0.9, 6, 1]}),
      }],
    },
    [parts.map(({at}) => at), parts.map(({tokens, characters}) => (inTokens ? tokens : characters))],
    place,
  );
}
