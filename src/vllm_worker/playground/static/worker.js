// What the worker says of itself: start, versions, configuration, metrics.

import {json} from "/playground/api.js";
import {$, element, seconds} from "/playground/dom.js";
import {Plots} from "/playground/metrics.js";

const SILENT_S = 5;
let plots = null;
let configuration = {};

export function startWorker() {
  $("find").addEventListener("input", drawConfiguration);
  $("only-set").addEventListener("change", drawConfiguration);
}

/** Ask once. Returns the state in a few words, for the head of the page. */
export async function updateWorker(visible) {
  const worker = await json("/playground/worker.json");
  const state = stateOf(worker);
  if (!visible) return state;
  const isSilent = worker.age_s === null && worker.alive;
  $("worker-state").textContent = isSilent ? "Ready. It was started on its own, and says no more here." : state;
  drawTimeline(worker);
  plots ??= new Plots($("plots"));
  if (worker.metrics) plots.add(worker.metrics);
  $("known").hidden = !worker.configuration;
  if (!worker.configuration) return state;
  $("versions").replaceChildren(...Object.entries(worker.versions)
    .flatMap(([name, version]) => [element("dt", {}, name), element("dd", {}, version)]));
  if (JSON.stringify(configuration) !== JSON.stringify(worker.configuration)) {
    configuration = worker.configuration;
    drawConfiguration();
  }
  return state;
}

function stateOf({ready, parts, current_s: current, age_s: age, alive, dead, ending}) {
  if (dead) return "the engine has died, and the worker ends: another one has to be started";
  if (ending) return "the worker is about to end, and finishes its jobs";
  if (current !== undefined && !ready && !parts) return `the worker is starting, ${seconds(current)} so far`;
  if (age === null) return alive ? "ready" : "no worker has been heard of yet";
  if (ready) return age > SILENT_S ? `the worker has been silent for ${seconds(age)}` : "ready";
  if (!parts) return "the worker is starting";
  const total = Object.values(parts).reduce((sum, part) => sum + part, current + (age ?? 0));
  return `the worker is starting, ${seconds(total)} so far`;
}

function drawTimeline({ready, parts = {}, current_s: current = 0, age_s: age = 0}) {
  const rows = Object.entries(parts);
  if (!ready && rows.length) rows.push(["…", current + age]);
  $("start").hidden = !rows.length;
  const most = Math.max(1, ...rows.map(([, value]) => value));
  $("timeline").replaceChildren(...rows.map(([name, value]) =>
    element("div", {class: "bar"}, element("span", {}, name), element("span", {}, seconds(value)),
      element("meter", {min: 0, max: most, value, "aria-label": name}))));
}

function drawConfiguration() {
  const word = $("find").value.toLowerCase();
  const rows = Object.entries(configuration).filter(([name, {value, origin}]) =>
    `${name} ${value}`.toLowerCase().includes(word) &&
    (!$("only-set").checked || !/default/.test(origin)));
  $("configuration").replaceChildren(...rows.map(([name, {value, origin}]) =>
    element("tr", {}, element("td", {}, element("code", {}, name)), element("td", {}, value), element("td", {}, origin))));
}
