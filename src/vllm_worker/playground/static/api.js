// Asking the worker: the key, errors as sentences, and streams as they come.

const KEY = "vllm-worker-key";
const FINAL = ["COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT"];

export const getKey = () => sessionStorage.getItem(KEY) ?? "";
export const setKey = (key) => sessionStorage.setItem(KEY, key);

/** An answer that is an error. `status` is that of HTTP, 0 when there was none. */
export class Refusal extends Error {
  constructor(message, status, param = null) {
    super(message);
    this.status = status;
    this.param = param; // the field that is wrong, if it is known
  }
}

function headers() {
  const key = getKey();
  return {"Content-Type": "application/json", ...(key && {Authorization: `Bearer ${key}`})};
}

/** The sentence in an error's body, whichever form it has. */
export function sentence(body) {
  if (typeof body === "string") {
    try {
      return sentence(JSON.parse(body));
    } catch {
      return body.slice(0, 500);
    }
  }
  for (const name of ["message", "error", "detail"]) {
    if (body?.[name]) return sentence(body[name]);
  }
  return "";
}

/** The field that an error's body names, if it does. */
function paramOf(body) {
  if (typeof body !== "string") return body?.param ?? body?.error?.param ?? null;
  try {
    return paramOf(JSON.parse(body) ?? {});
  } catch {
    return null;
  }
}

async function ask(path, {body, ...options} = {}) {
  let response;
  try {
    response = await fetch(path, {
      headers: headers(), body: body && JSON.stringify(body), cache: "no-store",
      method: body ? "POST" : "GET", ...options,
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refusal("The worker does not answer: it has ended, or the network is down.", 0);
  }
  if (!response.ok) {
    const text = await response.text().catch(() => "");
    const said = sentence(text);
    if (response.status === 401) document.dispatchEvent(new Event("key-refused"));
    throw new Refusal(said || `The worker answered with status ${response.status}.`, response.status, paramOf(text));
  }
  return response;
}

/** JSON of a path; with `body`, a POST. */
export async function json(path, options) {
  const response = await ask(path, options);
  try {
    return await response.json();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refusal("The answer is cut off, or comes from something else than the worker.", 0);
  }
}
export const post = (path) => json(path, {method: "POST"});

/** Server-sent events: {data, text, at} for each read from the network, with its events parsed. */
async function* events(path, body, signal) {
  const response = await ask(path, {body, signal});
  const decoder = new TextDecoder();
  let rest = "";
  for await (const bytes of parts(response.body)) {
    const text = decoder.decode(bytes, {stream: true});
    const lines = (rest + text).split("\n\n");
    rest = lines.pop();
    const data = lines
      .filter((event) => event.startsWith("data: ") && event !== "data: [DONE]")
      .map((event) => JSON.parse(event.slice(6)));
    for (const item of data) {
      if (item.error) throw new Refusal(sentence(item.error), item.error.code ?? 500, paramOf(item.error));
    }
    if (data.length) yield {data, text};
  }
}

async function* parts(stream) {
  const reader = stream.getReader();
  try {
    for (;;) {
      const {done, value} = await reader.read();
      if (done) return;
      yield value;
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

/** A chat in OpenAI's form: {text, calls, tokens, usage, raw} for each part as it comes. */
export async function* openaiChat(body, signal) {
  let counted = 0;
  for await (const {data, text: raw} of events("/v1/chat/completions", body, signal)) {
    const part = {text: "", calls: [], tokens: null, usage: null, raw, finish: null};
    for (const event of data) {
      const choice = event.choices?.[0];
      part.text += choice?.delta?.content ?? "";
      part.calls.push(...(choice?.delta?.tool_calls ?? []));
      part.finish = choice?.finish_reason ?? part.finish;
      if (event.usage) {
        part.usage = {input: event.usage.prompt_tokens, output: event.usage.completion_tokens};
      }
    }
    if (part.usage) {
      part.tokens = part.usage.output - counted;
      counted = part.usage.output;
    }
    yield part;
  }
}

const nativePart = (output) => {
  if (output.error) throw new Refusal(sentence(output.error), 500, paramOf(output.error));
  const choice = output.choices?.[0] ?? {};
  const tokens = choice.tokens ?? [];
  return {
    text: tokens.join(""), calls: [], tokens: tokens.length, usage: output.usage ?? null,
    raw: `${JSON.stringify(output)}\n`, finish: choice.finish_reason ?? null,
  };
};

/** The same in the native form: by the queue's /run and /stream, or by the door's /generate. */
export async function* nativeChat(body, signal, door) {
  if (door === "http") {
    for await (const {data} of events("/generate", body, signal)) yield* data.map(nativePart);
    return;
  }
  const {id} = await json("/run", {body: {input: body}, signal});
  let status = "IN_QUEUE";
  try {
    while (!FINAL.includes(status)) {
      const answer = await json(`/stream/${id}`, {signal});
      status = answer.status;
      for (const {output} of answer.stream) yield nativePart(output);
    }
  } finally {
    if (!FINAL.includes(status)) post(`/cancel/${id}`).catch(() => {});
  }
  const job = await json(`/status/${id}`);
  if (status !== "COMPLETED") {
    throw new Refusal(sentence(job.error) || `The job is ${status}.`, 500, paramOf(job.error));
  }
  yield {...nativePart({}), raw: "", delay: job.delayTime / 1000, execution: job.executionTime / 1000};
}
