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
  // Each in its place already is left there, with its focus and what is selected in it.
  jobs.map(rowOf).forEach((row, at) => {
    const there = $("job-rows").children[at] ?? null;
    if (row !== there) $("job-rows").insertBefore(row, there);
  });
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
      await post(`/${path}/${job.id}`).catch((error) => {
        event.target.disabled = false;
        alertRow(job.id, error.message);
      });
      await updateJobs();
    }}, name);
  const active = ["IN_QUEUE", "IN_PROGRESS"].includes(job.status);
  const failed = ["FAILED", "TIMED_OUT"].includes(job.status);
  const shown = (value) => (typeof value === "string" ? value : JSON.stringify(value, null, 2));
  const text = job.error ?? job.output;
  return element("tr", {},
    element("td", {"data-label": "Job"}, element("code", {title: job.id}, job.id.slice(0, 13))),
    element("td", {"data-label": "Status", class: job.status}, STATES[job.status].word),
    element("td", {"data-label": "Waited"}, job.delayTime === undefined ? "–" : seconds(job.delayTime / 1000)),
    element("td", {"data-label": "Ran"}, job.executionTime === undefined ? "–" : seconds(job.executionTime / 1000)),
    element("td", {class: "wide"}, element("details", {open},
      element("summary", {}, failed ? brief(job.error) : firstWords(job.input)),
      element("h4", {}, "Input"),
      element("pre", {tabindex: "0"}, shown(job.input)),
      element("h4", {}, job.error ? "Error" : "Output"),
      element("pre", {tabindex: "0"}, none(text) ? `(none${active ? " yet" : ""})` : shown(text)))),
    element("td", {class: "actions"}, active ? action("Cancel", "cancel") : null, failed ? action("Retry", "retry") : null),
  );
}

const none = (value) => value === null || value === undefined || value.length === 0;

/** What was asked, in a line. */
function firstWords(input) {
  const body = input?.openai_input ?? input?.body ?? input;
  const said = body?.messages?.at?.(-1)?.content ?? body?.prompt ?? body?.input;
  const parts = Array.isArray(said) ? said.map((part) => part?.text ?? "").join(" ") : said;
  const text = typeof parts === "string" && parts ? parts : input?.openai_route ?? input?.route ?? "show";
  return text.length > 80 ? `${text.slice(0, 80)}…` : text;
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
