// The fields of a request that a person can set, with the ranges that the worker accepts.

import {$, element} from "/playground/dom.js";

const NUMBERS = [
  {name: "max_tokens", label: "Max tokens", min: 1, step: 1, value: 512},
  {name: "temperature", label: "Temperature", min: 0, step: 0.1},
  {name: "top_p", label: "Top p", min: 0.01, max: 1, step: 0.01},
  {name: "top_k", label: "Top k", min: -1, step: 1},
  {name: "presence_penalty", label: "Presence penalty", min: -2, max: 2, step: 0.1},
  {name: "frequency_penalty", label: "Frequency penalty", min: -2, max: 2, step: 0.1},
  {name: "seed", label: "Seed", step: 1},
];

export function showParameters(context) {
  for (const {name, label, ...range} of NUMBERS) {
    if (name === "max_tokens" && context) range.max = context;
    const input = element("input", {type: "number", id: `p-${name}`, placeholder: "default", ...range});
    $("parameters").append(element("label", {}, label, input));
  }
  $("parameters").append(
    element("label", {}, "Stop", element("input", {type: "text", id: "p-stop", placeholder: "none"})),
  );
}

/** Those that were given; null, with the mistake shown at its field, if one is wrong. */
export function parameters() {
  const given = {};
  for (const {name} of NUMBERS) {
    const input = $(`p-${name}`);
    if (!input.reportValidity()) return null;
    if (input.value !== "") given[name] = Number(input.value);
  }
  if ($("p-stop").value) given.stop = [$("p-stop").value];
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
  const error = $(`${id}-error`);
  error.textContent = "";
  if (!text) return undefined;
  try {
    const value = JSON.parse(text);
    const good = value === null ? "should not be null" : check(value);
    if (good === true) return value;
    error.textContent = `This ${good}.`;
  } catch (mistake) {
    error.textContent = `This is not JSON: ${mistake.message}.`;
  }
  $(id).focus();
  return null;
}
