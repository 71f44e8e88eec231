// The local endpoint's queue, live.

import {json, post} from "/playground/api.js";
import {$, element, seconds} from "/playground/dom.js";

const STATES = {
  IN_QUEUE: {word: "in queue", always: true},
  IN_PROGRESS: {word: "in progress", always: true},
  COMPLETED: {word: "completed", always: true},
  FAILED: {word: "failed"},
  CANCELLED: {word: "cancelled"},
  TIMED_OUT: {word: "timed out"},
};
const rows = new Map();

export async function updateJobs() {
  const {jobs, counts, workers} = await json("/playground/jobs.json");
  const alive = (workers?.idle ?? 0) + (workers?.running ?? 0);
  const tally = Object.entries(counts).filter(([status, count]) => count || STATES[status].always);
  $("job-counts").textContent = [
    ...tally.map(([status, count]) => `${count} ${STATES[status].word}`),
    `${alive} ${alive === 1 ? "worker" : "workers"}`,
  ].join(" · ");
  $("no-jobs").hidden = jobs.length > 0;
  const known = new Set(jobs.map(({id}) => id));
  for (const [id, row] of rows) {
    if (!known.has(id)) {
      row.remove();
      rows.delete(id);
    }
  }
  $("job-rows").append(...jobs.map(rowOf));
}

function rowOf(job) {
  const stamp = `${job.status} ${JSON.stringify(job.output)?.length}`;
  let row = rows.get(job.id);
  if (row?.dataset.stamp !== stamp) {
    const fresh = draw(job, row?.querySelector("details")?.open);
    row?.replaceWith(fresh);
    row = fresh;
    row.dataset.stamp = stamp;
    rows.set(job.id, row);
  }
  return row;
}

function draw(job, open) {
  const action = (name, path) =>
    element("button", {type: "button", onclick: async (event) => {
      event.target.disabled = true;
      await post(`/${path}/${job.id}`).catch((error) => alertRow(job.id, error.message));
      await updateJobs();
    }}, name);
  const active = ["IN_QUEUE", "IN_PROGRESS"].includes(job.status);
  const failed = ["FAILED", "TIMED_OUT"].includes(job.status);
  const shown = (value) => (typeof value === "string" ? value : JSON.stringify(value, null, 2));
  const text = job.error ?? job.output;
  return element("tr", {},
    element("td", {}, element("code", {title: job.id}, job.id.slice(0, 13))),
    element("td", {class: job.status}, job.status),
    element("td", {}, job.delayTime === undefined ? "–" : seconds(job.delayTime / 1000)),
    element("td", {}, job.executionTime === undefined ? "–" : seconds(job.executionTime / 1000)),
    element("td", {}, element("details", {open}, element("summary", {}, failed ? brief(job.error) : "show"),
      element("pre", {tabindex: "0"}, shown(job.input) ?? "(the input is not kept)"),
      element("pre", {tabindex: "0"}, shown(text) ?? "(no output yet)"))),
    element("td", {}, active ? action("Cancel", "cancel") : null, failed ? action("Retry", "retry") : null),
  );
}

function brief(error) {
  try {
    return JSON.parse(error).message;
  } catch {
    return error ?? "failed";
  }
}

function alertRow(id, message) {
  rows.get(id)?.querySelector("td:last-child").append(element("p", {class: "error", role: "alert"}, message));
}
