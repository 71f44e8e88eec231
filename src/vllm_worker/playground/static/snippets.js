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
  return lines.join(" \\\n  ");
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
  return `${key ? "import os\n" : ""}import urllib.request, json

request = urllib.request.Request(
    "${origin}${path}",
    json.dumps(${python(body)}).encode(),
    {"Content-Type": "application/json"${key ? `, "Authorization": "Bearer " + ${secret}` : ""}},
)
print(urllib.request.urlopen(request).read().decode())
`;
}

export function inJavaScript({origin, path, body}, key) {
  const secret = key ? `, Authorization: \`Bearer \${process.env.API_KEY}\`` : "";
  return `const response = await fetch("${origin}${path}", {
  method: "POST",
  headers: {"Content-Type": "application/json"${secret}},
  body: JSON.stringify(${indented(body)}),
});
for await (const part of response.body) process.stdout.write(part);
`;
}
