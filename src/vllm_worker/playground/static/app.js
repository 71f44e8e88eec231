// The page: views, the key, and what is asked for again each second.

import {Refusal, json, setKey} from "/playground/api.js";
import {loadModels, startChat} from "/playground/chat.js";
import {$} from "/playground/dom.js";
import {updateJobs} from "/playground/jobs.js";
import {startWorker, updateWorker} from "/playground/worker.js";

const EVERY_MS = 1000;
const tabs = [...document.querySelectorAll("[role=tab]")];
const shownTabs = () => tabs.filter((tab) => !tab.hidden);
let door = "local";
let hasModels = false;

function choose(tab) {
  for (const each of tabs) {
    const chosen = each === tab;
    each.setAttribute("aria-selected", chosen);
    each.tabIndex = chosen ? 0 : -1;
    $(each.getAttribute("aria-controls")).hidden = !chosen;
  }
  history.replaceState(null, "", `#${tab.getAttribute("aria-controls")}`);
  update();
}

for (const tab of tabs) {
  tab.addEventListener("click", () => choose(tab));
  tab.addEventListener("keydown", ({key}) => {
    const step = {ArrowRight: 1, ArrowLeft: -1}[key];
    if (!step) return;
    const shown = shownTabs();
    const next = shown.at((shown.indexOf(tab) + step) % shown.length);
    next.focus();
    choose(next);
  });
}

let keyWasGiven = false;
let waitsForKey = false;
document.addEventListener("key-refused", () => {
  if ($("key-form").hidden) $("key").focus();
  $("key-form").hidden = false;
  waitsForKey = true;
  $("key-error").textContent = keyWasGiven ? "This key is not accepted." : "";
});
$("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  setKey($("key").value.trim());
  keyWasGiven = true;
  waitsForKey = false;
  update();
});

function isVisible(view) {
  return !$(view).hidden && document.visibilityState === "visible";
}

let updating = false;

async function update() {
  if (updating || waitsForKey) return;
  updating = true;
  try {
    const state = await updateWorker(isVisible("worker"));
    $("key-form").hidden = true;
    $("state").textContent = state;
    if (state === "ready" && !hasModels) {
      await loadModels();
      hasModels = true;
    }
    $("send").title = hasModels ? "" : "The worker is not ready yet.";
    if (door === "local" && isVisible("jobs")) await updateJobs();
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    const line = error.status === 401 ? "a key is needed" : error.message;
    $("state").textContent = line;
    $("worker-state").textContent = line;
    if (error.status === 0) hasModels = false;
  } finally {
    updating = false;
  }
}

async function run() {
  try {
    ({door} = await json("/playground/about.json"));
  } catch {
    // The door of a worker that starts has nothing but its health.
    door = "http";
  }
  $("base-url").textContent = `${location.origin}/v1`;
  $("tab-jobs").hidden = door !== "local";
  startChat({door});
  startWorker();
  const wanted = shownTabs().find((tab) => `#${tab.getAttribute("aria-controls")}` === location.hash);
  choose(wanted ?? tabs[0]);
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, EVERY_MS));
    if (document.visibilityState === "visible") await update().catch(console.error);
  }
}

run();
