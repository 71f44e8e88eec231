// The conversation: turns, answers as they come, stop, edit and retry.

import {json, nativeChat, openaiChat} from "/playground/api.js";
import {$, element} from "/playground/dom.js";
import {Exchange} from "/playground/exchange.js";
import {render} from "/playground/markdown.js";
import {formats, markParam, parameters, showParameters} from "/playground/parameters.js";

let messages = [];
let door = "local";
let running = null;

export function startChat(about) {
  door = about.door;
  $("ask").addEventListener("submit", (event) => {
    event.preventDefault();
    send();
  });
  $("text").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      $("ask").requestSubmit();
    }
  });
  $("stop").addEventListener("click", () => running?.abort());
  $("clear").addEventListener("click", () => keepTurns(0));
  $("images").addEventListener("change", () => {
    $("image-names").textContent = [...$("images").files].map(({name}) => name).join(", ");
  });
  if (matchMedia("(max-width: 46em)").matches) $("settings").open = false;
}

/** Fill in the models; the parameters' ranges depend on them. */
export async function loadModels() {
  const {data} = await json("/v1/models");
  const chosen = $("model").value;
  $("model").replaceChildren(...data.map(({id, parent}) =>
    element("option", {value: id, selected: id === chosen}, parent ? `${id} (adapter of ${parent})` : id)));
  if (!$("parameters").hasChildNodes()) showParameters(data[0]?.max_model_len);
}

async function send() {
  const text = $("text").value.trim();
  if (running || !text) return;
  const images = await Promise.all([...$("images").files].map(dataUrl));
  const content = images.length
    ? [...images.map((url) => ({type: "image_url", image_url: {url}})), {type: "text", text}]
    : text;
  const said = [...messages, {role: "user", content}];
  const request = requestFor(said);
  if (!request) return;
  $("text").value = "";
  $("images").value = "";
  $("image-names").textContent = "";
  await answer(said, request);
}

const dataUrl = (file) =>
  new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(file);
  });

/** The request for `said`; null if something in the settings is wrong. */
function requestFor(said) {
  const given = parameters();
  const shaped = formats();
  if (given === null || shaped === null) return null;
  const system = $("system").value.trim();
  const all = system ? [{role: "system", content: system}, ...said] : said;
  const model = $("model").value;
  if (document.querySelector("[name=form]:checked").value === "openai") {
    const stream_options = {include_usage: true, continuous_usage_stats: true};
    const body = {model, messages: all, ...given, ...shaped, stream: true, stream_options};
    return {origin: location.origin, path: "/v1/chat/completions", body};
  }
  const body = {model, messages: all, sampling_params: given, ...shaped, stream: true};
  return door === "http"
    ? {origin: location.origin, path: "/generate", body}
    : {origin: location.origin, path: "/run", body: {input: body}};
}

/** Ask, and show the answer as it comes. */
async function answer(said, request) {
  messages = said;
  const before = $("turns").querySelectorAll(".turn.user").length;
  if (before < messages.filter(({role}) => role === "user").length) showUser(said.at(-1), said.length - 1);
  const turn = showAnswer(said.length);
  const mine = new AbortController();
  running = mine;
  busy(true);
  const exchange = new Exchange(request);
  let text = "";
  const calls = [];
  try {
    for await (const part of partsOf(request, mine.signal)) {
      exchange.add(part);
      text += part.text;
      part.calls.forEach((call) => merge(calls, call));
      const follows = isAtEnd();
      draw(turn.said, text, calls);
      if (follows) turn.box.scrollIntoView({block: "end"});
    }
    if (!text && !calls.length) turn.said.append(element("p", {class: "empty"}, "The answer is empty."));
  } catch (error) {
    const stopped = error.name === "AbortError";
    const line = stopped ? "Stopped." : error.message;
    if (!stopped) markParam(error.param, error.message);
    turn.said.append(element("p", stopped ? {class: "empty"} : {class: "error", role: "alert"}, line));
  }
  if (running !== mine) return; // its turn was cleared, edited or asked again meanwhile
  running = null;
  busy(false);
  if (text || calls.length) {
    messages = [...said, {role: "assistant", content: text || null, ...(calls.length && {tool_calls: calls})}];
  }
  turn.box.append(exchange.view());
  turn.box.scrollIntoView({block: "nearest"});
}

const partsOf = ({path, body}, signal) =>
  path.startsWith("/v1") ? openaiChat(body, signal) : nativeChat(body.input ?? body, signal, door);

/** Whether the end of the conversation is in sight, so that what comes next should be too. */
const isAtEnd = () => innerHeight + scrollY > document.documentElement.scrollHeight - 120;

function busy(is) {
  $("turns").setAttribute("aria-busy", is); // to be read out when it is complete
  $("stop").hidden = !is;
  $("send").disabled = is;
  if (!is) $("text").focus({preventScroll: true});
}

function merge(calls, part) {
  const call = (calls[part.index ?? 0] ??= {id: "", type: "function", function: {name: "", arguments: ""}});
  call.id = part.id ?? call.id;
  call.function.name += part.function?.name ?? "";
  call.function.arguments += part.function?.arguments ?? "";
}

function draw(place, text, calls) {
  const functions = calls.map((call) => `${call.function.name}(${call.function.arguments})`);
  place.replaceChildren(
    render(text),
    functions.length ? element("pre", {class: "calls"}, functions.join("\n")) : "",
  );
}

function showUser(message, index) {
  const parts = typeof message.content === "string" ? [{type: "text", text: message.content}] : message.content;
  const text = parts.filter(({type}) => type === "text").map((part) => part.text).join("\n");
  const images = parts.filter(({type}) => type === "image_url")
    .map(({image_url}) => element("img", {src: image_url.url, alt: "an image that was sent"}));
  const edit = element("button", {type: "button", onclick: () => {
    keepTurns(index);
    $("text").value = text;
    $("text").focus();
  }}, "Edit");
  show(index, "user", "You", [edit], element("div", {class: "said"}, text, ...images));
}

function showAnswer(index) {
  const said = element("div", {class: "said"});
  const retry = element("button", {type: "button", onclick: () => {
    const said = messages.slice(0, index);
    const request = requestFor(said);
    if (!request) return;
    keepTurns(index);
    answer(said, request);
  }}, "Retry");
  return {said, box: show(index, "assistant", $("model").value, [retry], said)};
}

function show(index, role, who, buttons, said) {
  const box = element("article", {class: `turn ${role}`, "data-index": index},
    element("div", {class: "who"}, element("span", {}, who), ...buttons), said);
  $("turns").querySelector(":scope > .empty")?.remove();
  $("turns").append(box);
  box.scrollIntoView({block: "nearest"});
  return box;
}

/** Forget the turns from `index` on. */
function keepTurns(index) {
  if (running) {
    running.abort();
    running = null;
    busy(false);
  }
  messages = messages.slice(0, index);
  for (const turn of [...$("turns").querySelectorAll(".turn")]) {
    if (Number(turn.dataset.index) >= index) turn.remove();
  }
}
