// Anthropic's package for JavaScript, with its runner of tools and its helper for zod.

import Anthropic from "@anthropic-ai/sdk";
import { zodOutputFormat } from "@anthropic-ai/sdk/helpers/zod";
import { betaZodTool } from "@anthropic-ai/sdk/helpers/beta/zod";
import { z } from "zod";

const greedy = { model: process.env.MODEL, temperature: 0, max_tokens: 160 };
const asking = (content) => [{ role: "user", content }];
const client = new Anthropic();
const text = (message) => message.content.map((block) => block.text ?? "").join("");

const whole = await client.messages.create({ ...greedy, messages: asking("What is RunPod?") });

const streamed = [];
const stream = client.messages.stream({ ...greedy, messages: asking("What is RunPod?") });
stream.on("text", (part) => streamed.push(part));
await stream.finalMessage();

const called = [];
const told = await client.beta.messages.toolRunner({
  ...greedy,
  messages: asking("What is the weather in Paris?"),
  tools: [
    betaZodTool({
      name: "get_weather",
      description: "Get the current weather in a given location",
      inputSchema: z.object({ city: z.string().describe("The city") }),
      run: (args) => {
        called.push("get_weather", args);
        return '{"temperature": "19 degrees", "condition": "cloudy"}';
      },
    }),
  ],
});

const verdict = z.object({ colour: z.enum(["red", "green", "blue"]), sure: z.boolean() });
const judged = await client.messages.parse({
  ...greedy,
  messages: asking("Which colour is the sky?"),
  output_config: { format: zodOutputFormat(verdict) },
});

console.log(
  JSON.stringify({
    answer: text(whole),
    streamed,
    called,
    told: text(told),
    structured: judged.parsed_output,
  }),
);
