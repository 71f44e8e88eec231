"""The limit: AsyncLLMEngine.generate in a bare loop, token by token, with nothing around it.

Reads a number of streams, their tokens and a prompt in a line of JSON, and answers each with
another.
"""

import asyncio
import json
import os
import sys
import time
from typing import Any

import uvloop


async def stream(llm: Any, number: int, tokens: int, asked: Any) -> dict[str, float | list[float]]:
    from vllm.renderers import TokenizeParams
    from vllm.renderers.inputs.preprocess import parse_model_prompt
    from vllm.sampling_params import RequestOutputKind, SamplingParams

    params = SamplingParams(
        max_tokens=tokens, ignore_eos=True, temperature=0, output_kind=RequestOutputKind.DELTA
    )
    begun = time.perf_counter()
    text = asked if isinstance(asked, str) else as_text(llm, asked)
    lengths = TokenizeParams(
        max_total_tokens=llm.model_config.max_model_len, add_special_tokens=text == asked
    )
    parsed = parse_model_prompt(llm.model_config, text)
    (prompt,) = await llm.renderer.render_cmpl_async([parsed], lengths)
    chunks = [
        time.perf_counter() async for _ in llm.generate(prompt, params, f"raw-{begun}-{number}")
    ]
    return {"begun": begun, "chunks": chunks, "ended": time.perf_counter()}


def as_text(llm: Any, messages: list[dict[str, str]]) -> str:
    """A chat under the model's template."""
    tokenizer = llm.renderer.get_tokenizer()
    return tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)


async def main(llm: Any) -> None:
    loop = asyncio.get_running_loop()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        streams, tokens, asked = json.loads(line)
        answers = await asyncio.gather(*(stream(llm, n, tokens, asked) for n in range(streams)))
        sys.stdout.write(json.dumps(answers) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    from vllm_worker.configuration import load_configuration
    from vllm_worker.engine.args import parse_engine_args
    from vllm_worker.engine.vllm_engine import VLLMEngine

    engine = VLLMEngine(parse_engine_args(load_configuration(os.environ)))
    uvloop.run(main(engine._llm))
    engine.shutdown()
