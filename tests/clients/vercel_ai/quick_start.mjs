// Vercel's AI SDK with its provider for servers that speak OpenAI's protocol.

import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText, isStepCount, Output, streamText, tool } from "ai";
import { z } from "zod";

const provider = createOpenAICompatible({
  name: "worker",
  baseURL: process.env.OPENAI_BASE_URL,
  apiKey: process.env.OPENAI_API_KEY,
  supportsStructuredOutputs: true,
});
const greedy = {
  model: provider(process.env.MODEL),
  temperature: 0,
  maxOutputTokens: 160,
  maxRetries: 0,
};

const whole = await generateText({ ...greedy, prompt: "What is RunPod?" });

const streamed = [];
for await (const part of streamText({ ...greedy, prompt: "What is RunPod?" }).textStream)
  streamed.push(part);

const called = [];
const told = await generateText({
  ...greedy,
  prompt: "What is the weather in Paris?",
  stopWhen: isStepCount(3),
  tools: {
    get_weather: tool({
      description: "Get the current weather in a given location",
      inputSchema: z.object({ city: z.string().describe("The city") }),
      execute: async (args) => {
        called.push("get_weather", args);
        return { temperature: "19 degrees", condition: "cloudy" };
      },
    }),
  },
});

const verdict = z.object({ colour: z.enum(["red", "green", "blue"]), sure: z.boolean() });
const judged = await generateText({
  ...greedy,
  prompt: "Which colour is the sky?",
  output: Output.object({ schema: verdict }),
});

console.log(
  JSON.stringify({
    answer: whole.text,
    streamed,
    called,
    told: told.text,
    structured: judged.output,
  }),
);
