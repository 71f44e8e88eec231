"""best_of and beam search on the engine, native and through vLLM's OpenAI routes."""

import asyncio
import contextlib
import time
from typing import Any

import pytest
from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
from vllm.entrypoints.openai.completion.protocol import CompletionRequest
from vllm.sampling_params import BeamSearchParams, SamplingParams

from tests.support import asking
from tests.support.asking import CHAT, COMPLETIONS
from vllm_worker.decoding.parameters import NEUTRAL
from vllm_worker.engine.vllm_engine import VLLMEngine

PROMPT = asking.QUESTION
BEAMS = {"use_beam_search": True, "n": 2, "best_of": 4, "max_tokens": 12}
SAMPLES = {"n": 2, "best_of": 8, "max_tokens": 8, "temperature": 1.5, "seed": 7}
ROUTES = {CHAT: {"messages": PROMPT}, COMPLETIONS: {"prompt": PROMPT}}


async def run(engine: VLLMEngine, job: dict[str, Any]) -> dict[str, Any]:
    """The one output of a job, or its error."""
    try:
        (output,) = await asking.run(engine, job)
    except asking.Refused as refused:
        return refused.error
    return output


async def native(engine: VLLMEngine, **sampling: Any) -> dict[str, Any]:
    return await run(engine, {"prompt": PROMPT, "sampling_params": sampling})


async def openai(engine: VLLMEngine, route: str, **body: Any) -> dict[str, Any]:
    body = {"model": "demo"} | ROUTES[route] | body
    return await run(engine, {"openai_route": route, "openai_input": body})


def texts(answer: dict[str, Any]) -> list[str]:
    return [asking.text_of(choice) for choice in answer["choices"]]


async def test_beams_are_the_same_on_both_paths_and_at_any_temperature(engine: VLLMEngine) -> None:
    beams = await native(engine, **BEAMS)
    assert beams["usage"]["output"] > 0
    assert len(set(texts(beams))) == 2
    assert texts(await openai(engine, COMPLETIONS, **BEAMS)) == texts(beams)
    assert texts(await native(engine, **BEAMS, temperature=0)) == texts(beams)


async def test_beams_do_what_greedy_search_does_not(engine: VLLMEngine) -> None:
    """A search finds a text at least as likely as the greedy one."""

    async def likelihood(**parameters: Any) -> float:
        answer = await openai(
            engine, COMPLETIONS, prompt="Once", max_tokens=6, ignore_eos=True, logprobs=1,
            **parameters,
        )  # fmt: skip
        return sum(answer["choices"][0]["logprobs"]["token_logprobs"])

    assert await likelihood(use_beam_search=True, best_of=8) >= await likelihood(temperature=0)


async def test_length_penalty_and_early_stopping_change_the_beams(engine: VLLMEngine) -> None:
    search = BEAMS | {"n": 1, "max_tokens": 40}
    lengths = {
        penalty: (await native(engine, **search, length_penalty=penalty))["usage"]["output"]
        for penalty in (-8.0, 8.0)
    }
    assert lengths[-8.0] < lengths[8.0]
    bold = await native(engine, **search, length_penalty=8.0, early_stopping=True)
    patient = await native(engine, **search, length_penalty=8.0, early_stopping="never")
    assert bold["usage"]["output"] < patient["usage"]["output"]
    chat = await openai(engine, COMPLETIONS, **search, length_penalty=8.0, early_stopping=True)
    assert texts(chat) == texts(bold)


@pytest.mark.parametrize("route", ROUTES)
async def test_best_of_takes_the_likeliest_samples(engine: VLLMEngine, route: str) -> None:
    drawn = await openai(engine, route, **SAMPLES | {"n": 8, "best_of": None, "logprobs": True})
    best = await openai(engine, route, **SAMPLES)
    asked = await openai(engine, route, **SAMPLES, logprobs=True)

    def logprob(choice: dict[str, Any]) -> float:
        logprobs = choice["logprobs"]
        if "content" in logprobs:
            return sum(token["logprob"] for token in logprobs["content"])
        return sum(logprobs["token_logprobs"])

    order = sorted(drawn["choices"], key=logprob, reverse=True)
    assert texts(best) == texts({"choices": order[:2]})
    assert [choice["index"] for choice in best["choices"]] == [0, 1]
    assert [choice["logprobs"] for choice in best["choices"]] == [None, None]
    assert logprob(asked["choices"][0]) >= logprob(asked["choices"][1])
    assert best["usage"]["completion_tokens"] == drawn["usage"]["completion_tokens"]


async def test_best_of_is_the_same_on_both_paths(engine: VLLMEngine) -> None:
    best = await native(engine, **SAMPLES)
    completion = await openai(engine, COMPLETIONS, **SAMPLES)
    assert texts(best) == texts(completion)
    assert best["usage"]["output"] == completion["usage"]["completion_tokens"]
    assert [choice["finish_reason"] for choice in best["choices"]] == ["length"] * 2


async def test_best_of_is_chosen_for_each_prompt(engine: VLLMEngine) -> None:
    both = await openai(engine, COMPLETIONS, **SAMPLES | {"prompt": [PROMPT, "Hello"]})
    first = await openai(engine, COMPLETIONS, **SAMPLES)
    second = await openai(engine, COMPLETIONS, **SAMPLES | {"prompt": "Hello"})
    assert texts(both) == [*texts(first), *texts(second)]
    assert [choice["index"] for choice in both["choices"]] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("parameters", "field", "says"),
    [
        ({"best_of": 1, "n": 2}, "best_of", "must be at least n, which is 2"),
        ({"best_of": 0}, "best_of", "should be greater than or equal to 1, not 0"),
        ({"best_of": "2"}, "best_of", "should be a valid integer, not a string"),
        ({"best_of": 3, "n": "2"}, "n", "should be a valid integer, not a string"),
        ({"best_of": 3, "n": -1}, "n", "should be greater than or equal to 1, not -1"),
        ({"best_of": 3, "stream": True}, "stream", "cannot be combined with a best_of above n"),
        ({"best_of": 3, "temperature": 0}, "best_of", "must be n with a temperature of 0"),
        (
            {"use_beam_search": True, "stream": True},
            "stream",
            "cannot be combined with a best_of above n",
        ),
        ({"use_beam_search": "yes"}, "use_beam_search", "should be a valid boolean"),
        (
            {"use_beam_search": True, "guided_choice": ["a", "b"]},
            "structured_outputs",
            "cannot be combined with beam search",
        ),
        ({"use_beam_search": True, "top_p": 0.5}, "top_p", "cannot be combined with beam search"),
        ({"use_beam_search": True, "stop": ["x"]}, "stop", "cannot be combined with beam search"),
        ({"use_beam_search": True, "best_of": 11}, "best_of", "can be 10 wide on this worker"),
        ({"early_stopping": True}, "early_stopping", "is a parameter of beam search"),
        ({"early_stopping": "soon"}, "early_stopping", 'must be true, false or "never"'),
        ({"length_penalty": 2.0}, "length_penalty", "is a parameter of beam search"),
    ],
)
async def test_what_cannot_be_honoured_is_an_error(
    engine: VLLMEngine, parameters: dict[str, Any], field: str, says: str
) -> None:
    stream = {"stream": True} if "stream" in parameters else {}
    sampling = {name: value for name, value in parameters.items() if name != "stream"}
    error = await run(engine, {"prompt": PROMPT, "sampling_params": sampling} | stream)
    named = field if field == "stream" else f"sampling_params.{field}"
    assert (error["code"], error["param"]) == (400, named)
    assert says in error["message"]
    for route in ROUTES:
        error = await openai(engine, route, **parameters)
        assert (error["code"], error["param"]) == (400, field)
        assert says in error["message"]


@pytest.mark.parametrize(
    ("route", "name", "value"),
    [
        ("/v1/responses", "best_of", 2),
        ("/v1/responses", "early_stopping", "never"),
        ("/v1/responses", "use_beam_search", True),
        ("/v1/messages", "length_penalty", 2.0),
        ("/v1/messages", "structured_outputs", {"choice": ["a"]}),
        ("/cohere/v2/chat", "guided_regex", "a"),
        ("/v1/audio/transcriptions", "best_of", 2),
    ],
)
async def test_other_routes_do_not_drop_them_silently(
    engine: VLLMEngine, route: str, name: str, value: Any
) -> None:
    body = {"model": "demo", "input": "hi", name: value}
    error = await run(engine, {"openai_route": route, "openai_input": body})
    assert error["code"] == 400
    assert error["param"] == name.replace("guided_regex", "structured_outputs")


@pytest.mark.snapshot
def test_every_parameter_of_sampling_is_weighed_for_beams() -> None:
    """What vLLM samples by and its beam search does not: a new one must be decided on."""
    requests = ChatCompletionRequest.model_fields.keys() | CompletionRequest.model_fields.keys()
    sampling = requests & set(SamplingParams.__struct_fields__)
    beams = set(BeamSearchParams.__struct_fields__)
    decided = NEUTRAL.keys() | {"n", "seed", "logprobs"}
    assert sampling - beams <= decided


async def test_a_choice_of_tool_is_refused_with_beams(engine: VLLMEngine) -> None:
    choice = {"type": "function", "function": {"name": "x"}}
    for tool_choice in ("required", choice):
        error = await openai(engine, CHAT, **BEAMS, tool_choice=tool_choice)
        assert error["param"] == "tool_choice"


async def test_best_of_that_draws_no_more_than_n_can_stream(engine: VLLMEngine) -> None:
    body = {"model": "demo", "prompt": PROMPT, "best_of": 1, "stream": True, "max_tokens": 3}
    job = {"openai_route": COMPLETIONS, "openai_input": body}
    events = "".join(await asking.run(engine, job))
    assert '"logprobs":{' not in events
    assert events.endswith("data: [DONE]\n\n")


async def test_logprobs_of_none_but_the_chosen_tokens_are_kept(engine: VLLMEngine) -> None:
    (choice, _) = (await openai(engine, COMPLETIONS, **SAMPLES, logprobs=0))["choices"]
    assert len(choice["logprobs"]["token_logprobs"]) == SAMPLES["max_tokens"]


async def test_an_echoed_prompt_brings_no_logprobs_along(engine: VLLMEngine) -> None:
    plain = await openai(engine, COMPLETIONS, **SAMPLES)
    echoed = await openai(engine, COMPLETIONS, **SAMPLES, echo=True)
    assert texts(echoed) == [PROMPT + text for text in texts(plain)]
    for choice in echoed["choices"]:
        assert choice["logprobs"] is choice["prompt_logprobs"] is None


@pytest.mark.parametrize("form", ["native", COMPLETIONS])
async def test_a_cancelled_search_leaves_no_request_behind(engine: VLLMEngine, form: str) -> None:
    search = BEAMS | {"max_tokens": 800, "ignore_eos": True}
    asked = native(engine, **search) if form == "native" else openai(engine, form, **search)
    task = asyncio.create_task(asked)
    while not engine.unfinished_requests:
        await asyncio.sleep(0.01)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    async with asyncio.timeout(5):
        while engine.unfinished_requests:
            await asyncio.sleep(0.01)


async def test_neutral_values_may_be_given_with_beams(engine: VLLMEngine) -> None:
    neutral = {
        "temperature": 1.0, "top_p": 1.0, "top_k": -1, "min_p": 0.0, "presence_penalty": 0.0,
        "frequency_penalty": 0.0, "repetition_penalty": 1.0, "stop": [], "stop_token_ids": [],
        "skip_special_tokens": True, "spaces_between_special_tokens": True, "seed": 1,
    }  # fmt: skip
    assert texts(await native(engine, **BEAMS, **neutral)) == texts(await native(engine, **BEAMS))
    for route in ROUTES:
        assert texts(await openai(engine, route, **BEAMS, **neutral))


async def test_log_probabilities_of_a_prompt_have_no_place_in_a_native_answer(
    engine: VLLMEngine,
) -> None:
    error = await native(engine, prompt_logprobs=1)
    assert error["param"] == "sampling_params.prompt_logprobs"
    assert "use /v1/completions" in error["message"]


async def keep_busy() -> None:
    """Leave the event loop to others now and then only, as on a machine that is too slow."""
    while True:
        time.sleep(0.05)
        await asyncio.sleep(0)


@pytest.mark.parametrize("size", [1, 3, 50])
@pytest.mark.parametrize("busy", [False, True], ids=["idle", "busy"])
async def test_log_probabilities_of_a_stream_come_with_their_tokens(
    engine: VLLMEngine, size: int, busy: bool
) -> None:
    sampling = {"max_tokens": 20, "temperature": 0, "logprobs": 2, "ignore_eos": True}
    job = {"prompt": PROMPT, "sampling_params": sampling}
    whole = (await run(engine, job))["choices"][0]
    stream = {"stream": True, "min_batch_size": size, "max_batch_size": size}
    others = asyncio.create_task(keep_busy()) if busy else None
    try:
        chunks = [chunk["choices"][0] for chunk in await asking.run(engine, job | stream)]
    finally:
        if others:
            others.cancel()
    assert [len(chunk["logprobs"]) for chunk in chunks] == [
        len(chunk["tokens"]) for chunk in chunks
    ]
    streamed = [each for chunk in chunks for each in chunk["logprobs"]]
    assert [each["token"] for each in streamed] == [each["token"] for each in whole["logprobs"]]
    for each in streamed:
        likeliest = [other["logprob"] for other in each["top_logprobs"]]
        assert likeliest == sorted(likeliest, reverse=True)
        assert len(likeliest) == 2
        assert {"token": each["token"], "logprob": each["logprob"]} in each["top_logprobs"]


async def test_log_probabilities_of_several_choices(engine: VLLMEngine) -> None:
    for sampling in (SAMPLES, SAMPLES | {"best_of": 2}):
        answer = await native(engine, **sampling, logprobs=1)
        assert len(answer["choices"]) == 2
        for choice in answer["choices"]:
            said = "".join(each["token"] for each in choice["logprobs"])
            assert said == asking.text_of(choice)
    assert "logprobs" not in (await native(engine, **SAMPLES))["choices"][0]


async def test_log_probabilities_of_beams_are_refused(engine: VLLMEngine) -> None:
    error = await native(engine, **BEAMS, logprobs=1)
    assert (error["code"], error["param"]) == (400, "sampling_params.logprobs")


async def test_the_capacity_is_what_the_cache_holds(engine: VLLMEngine) -> None:
    """As vLLM counts it, for requests of MAX_MODEL_LEN."""
    config = engine._llm.vllm_config
    cache = config.cache_config
    tokens = cache.num_gpu_blocks * cache.block_size
    most = config.scheduler_config.max_num_seqs
    assert engine.capacity == min(most, tokens // config.model_config.max_model_len)
    assert engine.capacity > 1


async def test_more_log_probabilities_than_the_worker_allows_are_refused(
    engine: VLLMEngine,
) -> None:
    error = await native(engine, logprobs=1000)
    assert (error["code"], error["param"]) == (400, "sampling_params.logprobs")
