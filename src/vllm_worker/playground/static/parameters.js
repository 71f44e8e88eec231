// The fields of a request that a person can set, with the ranges that the worker accepts.

import {$, element} from "/playground/dom.js";

const NUMBERS = [
  {name: "max_tokens", label: "Max tokens", min: 1, step: 1, value: 512},
  {name: "temperature", label: "Temperature", min: 0, step: 0.1},
  {name: "top_p", label: "Top p", min: 0.01, max: 1, step: 0.01},
  {name: "top_k", label: "Top k", min: -1, step: 1},
  {name: "min_p", label: "Min p", min: 0, max: 1, step: 0.01},
  {name: "repetition_penalty", label: "Repetition penalty", min: 0.01, step: 0.01},
  {name: "presence_penalty", label: "Presence penalty", min: -2, max: 2, step: 0.1},
  {name: "frequency_penalty", label: "Frequency penalty", min: -2, max: 2, step: 0.1},
  {name: "seed", label: "Seed", step: 1},
];

export function showParameters(context) {
  for (const {name, label, ...range} of NUMBERS) {
    if (name === "max_tokens" && context) range.max = context;
    field(label, element("input", {type: "number", placeholder: hint(range), ...range}), `p-${name}`);
  }
  field("Stop, one a line", element("textarea", {rows: 1, placeholder: "none", spellcheck: "false"}), "p-stop");
}

function field(label, input, id) {
  const error = element("p", {id: `${id}-error`, class: "error", role: "alert"});
  input.id = id;
  input.setAttribute("aria-describedby", error.id);
  input.addEventListener("input", () => mark(id, ""));
  $("parameters").append(element("div", {}, element("label", {}, label, input), error));
}

const hint = ({min, max}) =>
  min !== undefined && max !== undefined ? `${min} to ${max}` : min !== undefined ? `${min} or more` : "default";

/** Show a mistake at its field, or with "" that there is none. */
function mark(id, mistake) {
  $(`${id}-error`).textContent = mistake;
  if (mistake) $(id).setAttribute("aria-invalid", "true");
  else $(id).removeAttribute("aria-invalid");
  if (mistake && !$("settings").open) $("settings").open = true;
}

/** Show at its field what the worker says of it; `param` is as in its error. */
export function markParam(param, mistake) {
  const name = String(param ?? "").split(/[.[]/).filter((word) => word !== "sampling_params")[0];
  const id = {tools: "tools", response_format: "schema", structured_outputs: "schema"}[name] ?? `p-${name}`;
  if ($(`${id}-error`)) mark(id, mistake);
}

/** Those that were given; null, with the mistake shown at its field, if one is wrong. */
export function parameters() {
  const given = {};
  for (const {name} of NUMBERS) {
    const input = $(`p-${name}`);
    // Its step is for the arrows, and only a whole number has to fit it.
    const {valid, stepMismatch} = input.validity;
    const isWrong = !valid && !(stepMismatch && Number(input.step) < 1);
    mark(input.id, isWrong ? input.validationMessage : "");
    if (isWrong) {
      input.focus();
      return null;
    }
    if (input.value !== "") given[name] = Number(input.value);
  }
  mark("p-stop", "");
  const stop = $("p-stop").value.split("\n").filter((line) => line);
  if (stop.length) given.stop = stop;
  return given;
}

/** Tools and schema as fields of a request; null, with the mistake shown at its field. */
export function formats() {
  const tools = parsed("tools", (value) => Array.isArray(value) || "should be a list of tools");
  const schema = parsed("schema", (value) => typeof value === "object" || "should be an object");
  if (tools === null || schema === null) return null;
  return {
    ...(tools && {tools}),
    ...(schema && {response_format: {type: "json_schema", json_schema: {name: "answer", schema}}}),
  };
}

function parsed(id, check) {
  const text = $(id).value.trim();
  mark(id, "");
  if (!text) return undefined;
  try {
    const value = JSON.parse(text);
    const good = value === null ? "should not be null" : check(value);
    if (good === true) return value;
    mark(id, `This ${good}.`);
  } catch (mistake) {
    mark(id, `This is not JSON: ${mistake.message}.`);
  }
  $(id).focus();
  return null;
}
