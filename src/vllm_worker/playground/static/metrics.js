// Prometheus' text as numbers, and their course over the last minutes.

import uPlot from "/playground/vendor/uplot.js";
import {colour, element} from "/playground/dom.js";

const MOST = 300; // samples

/** {name: sum over all labels} */
export function parse(text) {
  const values = {};
  for (const line of text.split("\n")) {
    const match = /^([a-zA-Z_:][\w:]*)(?:\{.*\})? ([^ ]+)$/.exec(line);
    if (match) values[match[1]] = (values[match[1]] ?? 0) + Number(match[2]);
  }
  return values;
}

/** What is drawn: `of` takes the values now and before, and the seconds between them. */
const rate = (name) => (now, before, passed) =>
  name in now && before ? Math.max(0, now[name] - (before[name] ?? 0)) / passed : undefined;
const gauge = (name, factor = 1) => (now) => (name in now ? now[name] * factor : undefined);
const mean = (name) => (now, before) => {
  const count = now[`${name}_count`] - (before?.[`${name}_count`] ?? 0);
  return count > 0 ? ((now[`${name}_sum`] - (before?.[`${name}_sum`] ?? 0)) / count) * 1000 : undefined;
};

const PLOTS = [
  {title: "Generated, tokens/s", of: (now, before, passed) =>
    rate("vllm:generation_tokens_total")(now, before, passed) ?? rate("vllm_worker_output_tokens_total")(now, before, passed)},
  {title: "Jobs in flight", of: gauge("vllm_worker_jobs_in_flight")},
  {title: "Running in the engine", of: gauge("vllm:num_requests_running")},
  {title: "Waiting in the engine", of: gauge("vllm:num_requests_waiting")},
  {title: "KV cache in use, %", of: gauge("vllm:kv_cache_usage_perc", 100)},
  {title: "Event loop lag, ms", of: mean("vllm_worker_event_loop_lag_seconds")},
];

/** The plots in a place; `add` takes the next sample of the metrics' text. */
export class Plots {
  constructor(place) {
    this.plots = PLOTS.map(({title, of}) => ({of, plot: new Plot(place, title)}));
    this.before = null;
  }

  add(text) {
    const now = {at: Date.now() / 1000, ...parse(text)};
    const passed = this.before ? now.at - this.before.at : 1;
    for (const {of, plot} of this.plots) {
      const value = of(now, this.before, passed);
      if (value !== undefined) plot.add(now.at, value);
    }
    this.before = now;
  }
}

/** One of them, not to be seen before there is a value. */
class Plot {
  constructor(place, title) {
    this.value = element("output");
    this.chart = element("div", {role: "img", "aria-label": `${title} over time`});
    this.box = element("div", {class: "plot", hidden: true}, element("h3", {}, title), this.value, this.chart);
    place.append(this.box);
    this.data = [[], []];
    new ResizeObserver(() => this.line?.setSize(this.size())).observe(this.box);
  }

  size() {
    return {width: Math.max(this.chart.clientWidth, 100), height: 110};
  }

  add(at, value) {
    const [times, values] = this.data;
    times.push(at);
    values.push(value);
    if (times.length > MOST) {
      times.shift();
      values.shift();
    }
    this.box.hidden = false;
    this.value.textContent = value >= 100 ? value.toFixed(0) : +value.toFixed(2);
    this.line ??= this.make();
    this.line.setData(this.data);
  }

  make() {
    const axis = {stroke: colour("--faint"), grid: {show: false}, ticks: {show: false}};
    const clock = (_, times) => times.map((time) => new Date(time * 1000).toLocaleTimeString());
    return new uPlot(
      {
        ...this.size(), legend: {show: false}, cursor: {show: false},
        scales: {y: {range: (_, __, most) => [0, Math.max(most ?? 0, 1) * 1.1]}},
        axes: [{...axis, size: 22, space: 110, incrs: [1, 2, 5, 15, 30, 60, 300], values: clock}, {...axis, size: 40}],
        series: [{}, {stroke: colour("--main"), width: 2, points: {show: false}}],
      },
      this.data,
      this.chart,
    );
  }
}
