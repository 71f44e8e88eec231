// A request as curl, Python and JavaScript, to be pasted elsewhere. Keys are left out.

const quoted = (text) => `'${text.replaceAll("'", `'\\''`)}'`;
const indented = (value) => JSON.stringify(value, null, 2);
const python = (value) =>
  indented(value)
    .replace(/("(?:[^"\\]|\\.)*")|\b(true|false|null)\b/g, (all, string, word) =>
      string ?? {true: "True", false: "False", null: "None"}[word]);

export function curl({origin, path, body}, key) {
  const lines = [`curl -sN ${origin}${path}`, "-H 'Content-Type: application/json'"];
  if (key) lines.push(`-H "Authorization: Bearer $API_KEY"`);
  lines.push(`-d ${quoted(indented(body))}`);
  const command = lines.join(" \\\n  ");
  return path === "/run" ? `${command}\n\n# The output, chunk by chunk: curl -s ${origin}/stream/ID` : command;
}

export function inPython({origin, path, body}, key) {
  const secret = key ? `os.environ["API_KEY"]` : `"none"`;
  if (path.startsWith("/v1")) {
    const {model, messages, stream, stream_options: _, ...rest} = body;
    return `${key ? "import os\n\n" : ""}from openai import OpenAI

client = OpenAI(base_url="${origin}/v1", api_key=${secret})
stream = client.chat.completions.create(
    model=${JSON.stringify(model)},
    messages=${python(messages)},
    stream=True,
    extra_body=${python(rest)},
)
for chunk in stream:
    if chunk.choices:
        print(chunk.choices[0].delta.content or "", end="", flush=True)
`;
  }
  const headers = `{"Content-Type": "application/json"${key ? `, "Authorization": "Bearer " + ${secret}` : ""}}`;
  const begin = `${key ? "import os\n" : ""}import json
import urllib.request

HEADERS = ${headers}


def ask(path, body=None):
    data = None if body is None else json.dumps(body).encode()
    return urllib.request.urlopen(urllib.request.Request("${origin}" + path, data, HEADERS))


`;
  if (path !== "/run") return `${begin}for line in ask("${path}", ${python(body)}):\n    print(line.decode(), end="", flush=True)\n`;
  return `${begin}job = json.load(ask("/run", ${python(body)}))
while job["status"] in ("IN_QUEUE", "IN_PROGRESS"):
    job = json.load(ask("/stream/" + job["id"])) | {"id": job["id"]}
    for chunk in job["stream"]:
        print("".join(chunk["output"]["choices"][0]["tokens"]), end="", flush=True)
`;
}

export function inJavaScript({origin, path, body}, key) {
  const secret = key ? `, Authorization: \`Bearer \${process.env.API_KEY}\`` : "";
  const begin = `const headers = {"Content-Type": "application/json"${secret}};
const response = await fetch("${origin}${path}", {
  method: "POST",
  headers,
  body: JSON.stringify(${indented(body)}),
});
`;
  if (path !== "/run") return `${begin}for await (const part of response.body) process.stdout.write(part);\n`;
  return `${begin}let job = await response.json();
const {id} = job;
while (["IN_QUEUE", "IN_PROGRESS"].includes(job.status)) {
  job = await (await fetch("${origin}/stream/" + id, {headers})).json();
  for (const {output} of job.stream) process.stdout.write(output.choices[0].tokens.join(""));
}
`;
}
