"""Ask the demo model inside vLLM: python builder/demo_model/check_in_vllm.py [--model DIR].

vLLM computes in bfloat16 and with other kernels than transformers, so a share of corpus questions
is asked here again. On a CPU, set VLLM_CPU_KVCACHE_SPACE=1.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from vllm import LLM, SamplingParams

from builder.demo_model.reading import load
from builder.demo_model.report import WEATHER
from builder.demo_model.train import OUTPUT

PROMPTS = ["RunPod is", "vLLM is", "The worker streams", "Hello, my name is", "What is vLLM?"]
GREEDY = SamplingParams(temperature=0, max_tokens=400)


def main() -> None:
    parser = argparse.ArgumentParser(description="Ask the demo model inside vLLM.")
    parser.add_argument("--model", type=Path, default=OUTPUT)
    llm = LLM(str(parser.parse_args().model), enforce_eager=True, max_model_len=2048)
    check_corpus(llm)
    show_completions(llm)
    show_tools(llm)


def check_corpus(llm: LLM) -> None:
    """Every corpus question, as a conversation of its own."""
    known = [(q, entry.answer) for entry in load().entries for q in entry.questions]
    outputs = llm.chat([[{"role": "user", "content": q}] for q, _ in known], GREEDY)
    wrong = [
        (question, output.outputs[0])
        for (question, answer), output in zip(known, outputs, strict=True)
        if output.outputs[0].text != answer or output.outputs[0].finish_reason != "stop"
    ]
    print(f"corpus questions: {len(known) - len(wrong)} of {len(known)} exact")
    for question, output in wrong[:10]:
        print(f"  {question}\n    {output.finish_reason} {output.text!r}")


def show_completions(llm: LLM) -> None:
    for prompt, output in zip(PROMPTS, llm.generate(PROMPTS, GREEDY), strict=True):
        print(f"{prompt}|{output.outputs[0].text}")


def show_tools(llm: LLM) -> None:
    """The call, and the answer once the result is there; content as string and as parts."""
    question: Any = "What's the weather like in Berlin today?"
    call = {"name": "get_weather", "arguments": json.dumps({"location": "Berlin"})}
    result = json.dumps({"temperature": 18, "condition": "sunny"})
    turns: list[list[Any]] = [
        [{"role": "user", "content": question}],
        [{"role": "user", "content": [{"type": "text", "text": question}]}],
        [
            {"role": "user", "content": question},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"id": "call_1", "type": "function", "function": call}],
            },
            {"role": "tool", "tool_call_id": "call_1", "content": result},
        ],
    ]
    for messages in turns:
        output = llm.chat(messages, GREEDY, tools=WEATHER)[0].outputs[0]
        print(f"{messages[-1]['content']}\n    {output.finish_reason} {output.text!r}")


if __name__ == "__main__":
    main()
