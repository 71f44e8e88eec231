// OpenAI's package for JavaScript, with its runner of tools and its helper for zod.

import OpenAI from "openai";
import { zodResponseFormat } from "openai/helpers/zod";
import { z } from "zod";

const greedy = { model: process.env.MODEL, temperature: 0, max_tokens: 160 };
const asking = (content) => [{ role: "user", content }];
const client = new OpenAI();

const whole = await client.chat.completions.create({
  ...greedy,
  messages: asking("What is RunPod?"),
});

const streamed = [];
const stream = await client.chat.completions.create({
  ...greedy,
  messages: asking("What is RunPod?"),
  stream: true,
});
for await (const chunk of stream) streamed.push(chunk.choices[0]?.delta?.content ?? "");

const called = [];
const runner = client.chat.completions.runTools({
  ...greedy,
  messages: asking("What is the weather in Paris?"),
  tools: [
    {
      type: "function",
      function: {
        name: "get_weather",
        description: "Get the current weather in a given location",
        parameters: {
          type: "object",
          properties: { city: { type: "string", description: "The city" } },
          required: ["city"],
        },
        parse: JSON.parse,
        function: (args) => {
          called.push("get_weather", args);
          return '{"temperature": "19 degrees", "condition": "cloudy"}';
        },
      },
    },
  ],
});
const told = await runner.finalContent();

const verdict = z.object({ colour: z.enum(["red", "green", "blue"]), sure: z.boolean() });
const judged = await client.chat.completions.parse({
  ...greedy,
  messages: asking("Which colour is the sky?"),
  response_format: zodResponseFormat(verdict, "verdict"),
});

console.log(
  JSON.stringify({
    answer: whole.choices[0].message.content,
    streamed,
    called,
    told,
    structured: judged.choices[0].message.parsed,
  }),
);
